"""A worker: the program of a job. It runs training processes and replaces those that crash."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from dst.errors import UserError
from dst.run.layout import NODES, run_dir, sweep_dir
from dst.run.outcome import write_failure

from .crew import Crew
from .ending import run_on_end
from .followers import GpuGroup
from .nodes import Node, further_nodes, is_further_node, lend
from .plan import Plan
from .state import is_settled, write_problem
from .stop_signals import signals_blocked
from .training_process import TrainingProcess

REQUEUE_STATUS = os.EX_TEMPFAIL
"""Exit status of a worker whose batch script is to requeue the job."""
_MAX_CRASHES = 3
"""Crashes of its training process (out of memory, a fault in a library) after which a run counts as failed."""

Listener = Callable[[str, str, str], None]


@dataclass
class Worker:
    """Parallel training processes that train the job's own runs, then any unfinished run of the sweep.

    submitit calls it on a node; before the time limit it calls :meth:`checkpoint` and requeues the job.

    Attributes:
        sweep: name of the plan.
        output_dir: where sweeps and runs are stored.
        chunk: ids of the job's own runs, trained first.
        runs_per_gpu: training processes on each GPU; without a GPU, in total.
        gpus: GPUs of the job on each node, 0 for none; the training processes are distributed over them.
        seconds: time limit of the job; None for no limit.
        grace_s: seconds that training processes get to write their checkpoints.
        where: expression that selects the runs of the plan to train, with their parents; None for all.
        on_end: shell command to run once when every run of the sweep has finished or failed; None for none.
        gpus_per_run: GPUs that train each run together, a process on each; without a GPU, processes.
        nodes: nodes of the job, each of which has those GPUs for each run.
    """

    sweep: str
    output_dir: str  # not a Path, whose pickles differ between Python versions
    chunk: list[str]
    runs_per_gpu: int
    gpus: int = 1
    seconds: float | None = None
    grace_s: float = 60.0
    where: str | None = None
    on_end: str | None = None
    gpus_per_run: int = 1
    nodes: int = 1
    _running: list[tuple[BaseProcess, Connection]] = field(default_factory=list, init=False, repr=False)
    _current: dict[int, str] = field(default_factory=dict, init=False, repr=False)
    _others: tuple[Node, ...] = field(default=(), init=False, repr=False)

    def __call__(self) -> dict[str, int]:
        """Runs :meth:`train` and prints its events; records for ``status`` if the machine cannot train at all.

        On a further node of the job it starts followers instead.
        """
        try:
            if self.nodes > 1 and is_further_node():
                lend(self._meeting_place)
                return {}
            return self.train(lambda event, run_id, text: print(*filter(None, (event, run_id, text)), flush=True))
        except UserError as error:
            with contextlib.suppress(OSError, UserError):  # the folder itself may be the fault
                write_problem(sweep_dir(Path(self.output_dir), self.sweep), str(error))
            sys.exit(f"error: {error}")

    def train(self, listener: Listener) -> dict[str, int]:
        """Trains until no run is left.

        Args:
            listener: called with ``(event, run_id, text)`` when a run began, finished, failed or was left, a
                training process died, or the command at the end of the sweep was run (``on_end``).

        Returns:
            The number of runs by outcome: ``finished``, ``diverged``, ``failed``, ``left``.

        Raises:
            UserError: if the machine cannot train at all.
            RuntimeError: if training processes die before they begin a run.
        """
        with further_nodes(self._meeting_place, self.nodes - 1) as self._others:
            return self._train(listener)

    def _train(self, listener: Listener) -> dict[str, int]:
        ended: Counter[str] = Counter()
        crashes: Counter[str] = Counter()
        unfit = ""
        try:
            for index in range(min(self._runs_at_once, self._remaining())):
                self._start(index)
            for process, event, run_id, text in self._events():
                if event == "began":
                    self._current[process.pid or 0] = run_id
                elif event in ("finished", "failed", "left"):
                    self._current.pop(process.pid or 0, None)
                    ended[text if event == "finished" else event] += 1
                elif event == "unfit":
                    unfit = text
                elif event == "died":
                    self._handle_crash(process, run_id, text, crashes)
                listener(event, run_id, text)
        except KeyboardInterrupt:
            self.stop()
            raise
        if self.on_end and (how := run_on_end(Plan.read(self.sweep, Path(self.output_dir)), self.on_end)):
            listener("on_end", "", how)
        if unfit:
            raise UserError(unfit)
        if crashes[""] >= _MAX_CRASHES:
            raise RuntimeError("the training processes die before they begin a run; see above in this log")
        return dict(ended)

    def checkpoint(self) -> Any:
        """Stops the training processes, which write checkpoints; returns what submitit is to requeue.

        In a container without SLURM's commands it ends this process instead, and the batch script requeues.
        """
        from submitit.helpers import DelayedSubmission

        self.stop()
        if shutil.which("scontrol") is None:  # submitit could not requeue
            sys.exit(REQUEUE_STATUS)
        return DelayedSubmission(type(self)(*(getattr(self, name) for name in _ARGUMENTS)))

    def stop(self) -> None:
        """Terminates the training processes at their next step; kills those still alive after ``grace_s``."""
        for process, _ in self._running:
            if process.is_alive():
                process.terminate()
        until = time.monotonic() + self.grace_s
        for process, _ in self._running:
            process.join(max(0.0, until - time.monotonic()))
            if process.is_alive():
                process.kill()

    @property
    def _meeting_place(self) -> Path:
        return sweep_dir(Path(self.output_dir), self.sweep) / NODES

    @property
    def _runs_at_once(self) -> int:
        return self.runs_per_gpu * max(1, self.gpus // self.gpus_per_run)

    def _remaining(self) -> int:
        plan = Plan.read(self.sweep, Path(self.output_dir)).select(self.where, with_parents=True)
        return sum(not is_settled(plan.run_dir(run.run_id)) for run in plan.runs)

    def _start(self, index: int) -> None:
        mine = self.chunk[index :: self._runs_at_once]
        others = [run_id for run_id in self.chunk if run_id not in set(mine)]
        crew = Crew(GpuGroup(index, self.gpus_per_run, self.gpus), self._threads(), self._others)
        training = self._training_process([*mine, *others], crew)
        ours, theirs = multiprocessing.Pipe(duplex=False)
        context = multiprocessing.get_context("spawn")
        process = context.Process(target=training, args=(theirs,), name=str(index), daemon=True)
        with signals_blocked():
            process.start()
            self._running.append((process, ours))
        theirs.close()

    def _training_process(self, own_runs: list[str], crew: Crew) -> TrainingProcess:
        return TrainingProcess(self.sweep, Path(self.output_dir), own_runs, crew, self._deadline(), self.where)

    def _events(self) -> Iterator[tuple[BaseProcess, str, str, str]]:
        """Yields the events of the training processes, and ``died`` for each that crashed, until all have ended."""
        open_processes = self._running
        ended_cleanly: set[int] = set()
        while open_processes:
            by_connection = {connection: process for process, connection in open_processes}
            for ready in wait(list(by_connection)):
                assert isinstance(ready, Connection)
                process = by_connection[ready]
                try:
                    event, run_id, text = ready.recv()
                    if event in ("done", "stopped", "unfit"):
                        ended_cleanly.add(process.pid or 0)
                    yield process, event, run_id, text
                except (EOFError, OSError):  # OSError: killed while sending a message
                    self._running.remove((process, ready))
                    process.join()
                    if (process.pid or 0) not in ended_cleanly:
                        yield process, "died", self._current.pop(process.pid or 0, ""), _exit_cause(process.exitcode)

    def _handle_crash(self, process: BaseProcess, run_id: str, cause: str, crashes: Counter[str]) -> None:
        """Replaces a crashed training process; its run resumes from its checkpoint, or fails after several crashes."""
        crashes[run_id] += 1
        if run_id and crashes[run_id] >= _MAX_CRASHES:
            directory = run_dir(Path(self.output_dir), run_id)
            write_failure(directory, f"its process {cause} {_MAX_CRASHES} times", os.uname().nodename)
        if run_id or crashes[""] < _MAX_CRASHES:
            self._start(int(process.name))

    def _threads(self) -> int:
        return max(1, available_cpus() // (self._runs_at_once * self.gpus_per_run))

    def _deadline(self) -> float | None:
        return None if self.seconds is None else time.time() + self.seconds


_ARGUMENTS = (
    *("sweep", "output_dir", "chunk", "runs_per_gpu", "gpus", "seconds", "grace_s", "where", "on_end"),
    *("gpus_per_run", "nodes"),
)


def available_cpus() -> int:
    """Returns the number of CPU cores that this process may use."""
    granted = os.environ.get("SLURM_CPUS_PER_TASK")
    return (
        int(granted)
        if granted
        else len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 1
    )


def _exit_cause(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        name = signal.Signals(-exitcode).name
        return f"was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    return f"ended with exit code {exitcode}"
