"""A process that trains runs one after another and reports to the worker that started it."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import random
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from dst.errors import UserError, is_of_place, place_faults_told
from dst.files.lock import Locked
from dst.run.layout import PRINTED
from dst.run.outcome import write_failure
from dst.run.plan import PlannedRun
from dst.terminal.signals import StopSignals

from .cancelled import cancelled
from .crew import Crew, followed
from .plan import Plan
from .readiness import READY, WAIT, Readiness
from .state import failure_of
from .stop_signals import STOP_SIGNALS

_POLL_S = 2.0
"""Seconds between looks at runs that are locked, or whose parents are in training."""


@dataclass(frozen=True)
class TrainingProcess:
    """The target of a training process; picklable.

    Attributes:
        sweep: name of the plan.
        output_dir: where sweeps and runs are stored.
        own_runs: ids of the runs to train first; afterwards any unfinished run of the plan.
        crew: the processes that train each run together, this one included.
        deadline: when the job ends, Unix time in seconds; None without a time limit.
        where: expression that selects the runs of the plan to train, with their parents; None for all.
    """

    sweep: str
    output_dir: Path
    own_runs: Sequence[str]
    crew: Crew
    deadline: float | None
    where: str | None = None

    def __call__(self, worker: Connection) -> None:
        """Trains until no run is left, the deadline is near or a signal arrives; sends ``(event, run_id, text)``."""
        stop = StopSignals(STOP_SIGNALS, with_parent=True)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        multiprocessing.current_process().daemon = False  # daemonic processes cannot start data loader processes
        self.crew.group.enter()
        import torch  # after the signal handlers, as the import takes seconds
        from tqdm import tqdm

        torch.set_num_threads(self.crew.threads)
        tqdm.set_lock(
            threading.RLock()
        )  # tqdm's default lock needs multiprocessing's resource tracker, which SIGHUP ends
        try:
            with place_faults_told():
                for plan, run in self._candidates(stop):
                    self._train(plan, run, stop, worker)
        except UserError as error:
            _send_event(worker, "unfit", "", _one_line(error))
        else:
            _send_event(worker, "stopped" if stop.received() else "done", "", "")

    def _candidates(self, stop: StopSignals) -> Iterator[tuple[Plan, PlannedRun]]:
        """Yields the plan's runs to train, and, when none are left, those that were added to the plan meanwhile.

        Additions that were planned with other code, or that need other modules, are left to jobs submitted for them.
        """
        first = plan = self._read_plan()
        looked_at: set[str] = set()
        while new := [run for run in plan.runs if run.run_id not in looked_at]:
            looked_at |= plan.by_id.keys()
            yield from ((plan, run) for run in self._rounds(plan, new, stop))
            if stop.received():
                return
            plan = self._read_plan()
            if plan.code != first.code or not set(plan.modules) <= set(first.modules):
                return

    def _read_plan(self) -> Plan:
        """Reads the plan and enters its directory; raises UserError if its runs cannot be trained on this machine."""
        from dst.training.device import choose_device

        plan = Plan.read(self.sweep, self.output_dir).select(self.where, with_parents=True)
        os.chdir(plan.cwd)
        for device in {run.config["device"] for run in plan.runs}:
            choose_device(device)
        return plan

    def _rounds(self, plan: Plan, runs: Sequence[PlannedRun], stop: StopSignals) -> Iterator[PlannedRun]:
        """Yields the runs to train: first its own, then the others, none before its parent.

        Skips runs that are finished, failed, cancelled or locked by a live process. Ends on a stop signal;
        once the time left is shorter than the longest run so far, only its own runs are begun.
        """
        new_ids, own_ids = {run.run_id for run in runs}, set(self.own_runs)
        own = [plan.by_id[run_id] for run_id in self.own_runs if run_id in new_ids]
        others = [run for run in runs if run.run_id not in own_ids]
        random.shuffle(others)  # so that idle training processes do not compete for the same run
        left, longest = [*own, *others], 0.0
        readiness, has_trained = Readiness(plan), False
        while left:
            readiness.look_again(left, has_trained=has_trained)
            waiting: list[PlannedRun] = []
            has_trained = False
            for run in left:
                if stop.received():
                    return
                if run.run_id not in own_ids and self.deadline is not None and time.time() + longest > self.deadline:
                    continue
                now = readiness(run)
                if now == READY and run.run_id not in cancelled(plan):
                    began, has_trained = time.time(), True
                    yield run
                    longest = max(longest, time.time() - began)
                elif now == WAIT:
                    waiting.append(run)
            left = waiting
            if left and not has_trained:
                time.sleep(_POLL_S)

    def _train(self, plan: Plan, run: PlannedRun, stop: StopSignals, worker: Connection) -> None:
        from omegaconf import OmegaConf

        from dst.attempt import Stopped
        from dst.train import run as train

        directory = plan.run_dir(run.run_id)
        directory.mkdir(parents=True, exist_ok=True)
        _send_event(worker, "began", run.run_id, "")
        with _redirect_output(directory / PRINTED):
            print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {run.command}", flush=True)
            try:
                _refuse_without_parent(plan, run)
                config = _config(plan, run)
                with followed(config, self.crew):
                    summary: dict[str, Any] = train(OmegaConf.create(config), **self._hooks(run, stop))
            except (Stopped, Locked) as reason:
                print(f"stopped: {reason}" if isinstance(reason, Stopped) else reason, flush=True)
                _send_event(worker, "left", run.run_id, "")
            except Exception as error:
                line = _one_line(error)
                if is_of_place(error):
                    print(f"not possible here: {line}", flush=True)
                    _send_event(worker, "left", run.run_id, "")
                    raise
                if not isinstance(error, UserError):
                    traceback.print_exc()
                print(f"failed: {line}", flush=True)
                write_failure(directory, line, f"{os.uname().nodename} {os.environ.get('SLURM_JOB_ID', '')}".strip())
                _send_event(worker, "failed", run.run_id, line)  # whatever failed, the next runs are still trained
            else:
                print(f"{summary['status']}: test accuracy {summary['test_acc']}", flush=True)
                _send_event(worker, "finished", run.run_id, summary["status"])

    def _hooks(self, run: PlannedRun, stop: StopSignals) -> dict[str, Any]:
        """Returns the arguments of :func:`dst.train.run` besides the config."""
        return {"should_stop": stop.received}


def _config(plan: Plan, run: PlannedRun) -> dict[str, Any]:
    """Returns the run's config with the sweep as a tag and without ``rerun``, which would restart a resumed run."""
    tracker = run.config["tracker"]
    tags = list(dict.fromkeys([*tracker.get("tags", ()), plan.name]))
    return {**run.config, "rerun": False, "tracker": {**tracker, "tags": tags}}


def _send_event(worker: Connection, event: str, run_id: str, text: str) -> None:
    """Reports to the worker, if it still exists; without one this process stops at its next step."""
    with contextlib.suppress(BrokenPipeError, ConnectionError):
        worker.send((event, run_id, text))


def _refuse_without_parent(plan: Plan, run: PlannedRun) -> None:
    if run.parent_id in plan.by_id and (failure := failure_of(plan.run_dir(run.parent_id))):
        raise UserError(f"its parent, run {run.parent_id}, failed: {failure['error']}")


@contextlib.contextmanager
def _redirect_output(path: Path) -> Iterator[None]:
    """Appends everything that this process prints to ``path``, including output of C libraries."""
    sys.stdout.flush()
    sys.stderr.flush()
    original = [os.dup(1), os.dup(2)]
    log = logging.StreamHandler()
    logging.getLogger("dst").addHandler(log)
    logging.getLogger("dst").setLevel(logging.DEBUG)
    with open(path, "a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        logging.getLogger("dst").removeHandler(log)
        sys.stdout.flush()
        sys.stderr.flush()
        for number, descriptor in enumerate(original, start=1):
            os.dup2(descriptor, number)
            os.close(descriptor)


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())[:300]
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"
