"""A lane: a process that trains one run after another and reports each to the worker that started it."""

from __future__ import annotations

import contextlib
import itertools
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
from dst.files.lock import Locked, holder, last_heartbeat
from dst.run.layout import PRINTED
from dst.run.outcome import write_failure
from dst.run.plan import PlannedRun
from dst.terminal.signals import StopSignals
from launch.plan import Plan
from launch.state import is_settled

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_LOOK_S = 2.0
"""Between two looks at claims whose owner may have died."""


@dataclass(frozen=True)
class TrainingProcess:
    """What a lane needs to know.

    Attributes:
        sweep: name of the plan.
        output_dir: where it is.
        first: ids of the runs to begin with; afterwards any run of the plan that is left.
        threads: CPU threads of this lane.
        deadline: when the job ends, seconds since the epoch; None where nothing limits it.
    """

    sweep: str
    output_dir: Path
    first: Sequence[str]
    threads: int
    deadline: float | None

    def __call__(self, worker: Connection) -> None:
        """Trains until nothing is left, time is up or a signal says so; sends ``(event, run_id, text)``."""
        stop = StopSignals(STOP_SIGNALS, with_parent=True)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        multiprocessing.current_process().daemon = False  # or it could have no processes that load data
        import torch  # after the signal handlers: it takes seconds
        from tqdm import tqdm

        from dst.training.device import choose_device

        torch.set_num_threads(self.threads)
        tqdm.set_lock(threading.RLock())  # its own needs multiprocessing's tracker, which a closing terminal ends
        try:
            with place_faults_told():
                plan = Plan.read(self.sweep, self.output_dir)
                os.chdir(plan.cwd)
                for device in {run.config["device"] for run in plan.runs}:
                    choose_device(device)
                for run in self._candidates(plan, stop):
                    self._train(plan, run, stop, worker)
        except UserError as error:
            _tell(worker, "unfit", "", _one_line(error))
        else:
            _tell(worker, "stopped" if stop.received() else "done", "", "")

    def _candidates(self, plan: Plan, stop: StopSignals) -> Iterator[PlannedRun]:
        """The lane's own runs, then those of others while there is time for one like the longest so far.

        Passes over what is finished, failed or claimed by a living process, until a signal says stop.
        """
        own = [plan.by_id[run_id] for run_id in self.first if run_id in plan.by_id]
        mine = set(self.first)
        elsewhere: list[PlannedRun] = []
        longest = 0.0
        others = [run for run in plan.runs if run.run_id not in mine]
        random.shuffle(others)  # or all idle lanes would reach for the same one
        for run in itertools.chain(own, others, _abandoned(plan, elsewhere, stop)):
            if stop.received():
                return
            if run.run_id not in mine and self.deadline is not None and time.time() + longest > self.deadline:
                return
            if is_settled(plan.run_dir(run.run_id)):
                continue
            owner, alive = holder(plan.run_dir(run.run_id))
            if owner is not None and alive:
                elsewhere.append(run)
                continue
            began = time.time()
            yield run
            longest = max(longest, time.time() - began)

    def _train(self, plan: Plan, run: PlannedRun, stop: StopSignals, worker: Connection) -> None:
        from omegaconf import OmegaConf

        from dst.attempt import Stopped
        from dst.train import run as train

        directory = plan.run_dir(run.run_id)
        directory.mkdir(parents=True, exist_ok=True)
        _tell(worker, "began", run.run_id, "")
        with _output_to(directory / PRINTED):
            print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {run.command}", flush=True)
            try:
                summary: dict[str, Any] = train(OmegaConf.create(_config(plan, run)), should_stop=stop.received)
            except (Stopped, Locked) as reason:
                print(f"stopped: {reason}" if isinstance(reason, Stopped) else reason, flush=True)
                _tell(worker, "left", run.run_id, "")
            except Exception as error:
                line = _one_line(error)
                if is_of_place(error):
                    print(f"not possible here: {line}", flush=True)
                    _tell(worker, "left", run.run_id, "")
                    raise
                if not isinstance(error, UserError):
                    traceback.print_exc()
                print(f"failed: {line}", flush=True)
                write_failure(directory, line, f"{os.uname().nodename} {os.environ.get('SLURM_JOB_ID', '')}".strip())
                _tell(worker, "failed", run.run_id, line)  # whatever it is, it is this run's and the next ones go on
            else:
                print(f"{summary['status']}: test accuracy {summary['test_acc']}", flush=True)
                _tell(worker, "finished", run.run_id, summary["status"])


def _config(plan: Plan, run: PlannedRun) -> dict[str, Any]:
    """Returns the run's config with the sweep as a tag, and without a wish that would begin the run again and again."""
    tracker = run.config["tracker"]
    tags = list(dict.fromkeys([*tracker.get("tags", ()), plan.name]))
    return {**run.config, "rerun": False, "tracker": {**tracker, "tags": tags}}


def _tell(worker: Connection, event: str, run_id: str, text: str) -> None:
    """Reports to the worker, if it is still there; a lane without one stops at its next step."""
    with contextlib.suppress(BrokenPipeError, ConnectionError):
        worker.send((event, run_id, text))


def _abandoned(plan: Plan, claimed: list[PlannedRun], stop: StopSignals) -> Iterator[PlannedRun]:
    """Yields those of ``claimed`` whose owner turns out to be dead.

    A claim looks alive for a while after its owner's node died, and the job that takes the node's place may be here
    already. So each is watched until its owner gives a sign of life or has been silent for too long.
    """
    signs = {run.run_id: last_heartbeat(plan.run_dir(run.run_id)) for run in claimed}  # None: not readable just now
    while claimed and not stop.received():
        time.sleep(_LOOK_S)
        for run in list(claimed):
            directory = plan.run_dir(run.run_id)
            _, alive = holder(directory)
            before, sign = signs[run.run_id], last_heartbeat(directory)
            signs[run.run_id] = before or sign
            if not alive or (before and sign and sign != before):
                claimed.remove(run)
            if not alive:
                yield run


@contextlib.contextmanager
def _output_to(path: Path) -> Iterator[None]:
    """Sends all that this process prints, C libraries included, to the end of ``path``."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
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
        for number, descriptor in enumerate(kept, start=1):
            os.dup2(descriptor, number)
            os.close(descriptor)


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())[:300]
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"
