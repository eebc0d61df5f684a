"""A worker: what one job does. It keeps its lanes busy with runs and outlives whatever happens to one of them."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.resource_tracker
import os
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
from dst.run.layout import run_dir, sweep_dir
from dst.run.outcome import write_failure
from launch.plan import Plan
from launch.state import is_settled, write_problem
from launch.training_process import STOP_SIGNALS, TrainingProcess

_TRIES = 3
"""So often a run may take its process down (out of memory, a crash in a library) before it counts as failed."""

Listener = Callable[[str, str, str], None]


@dataclass
class Worker:
    """A job: ``lanes`` processes side by side that train the job's own runs, then any of the sweep that is left.

    submitit calls it on a node and, when the job is about to end, calls :meth:`checkpoint` and queues the job again.

    Attributes:
        sweep, output_dir: which plan.
        chunk: ids of the runs to begin with.
        runs_per_gpu: trainings side by side on each GPU, or in all without one.
        gpus: GPUs of the job, 0 for none; the lanes are spread over them.
        seconds: time limit of the job, None where there is none.
        grace_s: how long lanes may take to write their checkpoints.
    """

    sweep: str
    output_dir: str  # no Path: its pickles differ between versions of Python
    chunk: list[str]
    runs_per_gpu: int
    gpus: int = 1
    seconds: float | None = None
    grace_s: float = 60.0
    _running: list[tuple[BaseProcess, Connection]] = field(default_factory=list, init=False, repr=False)
    _current: dict[int, str] = field(default_factory=dict, init=False, repr=False)

    def __call__(self) -> dict[str, int]:
        """What a job does: :meth:`train`; a machine that cannot train is one line in its log and in the status."""
        try:
            return self.train(lambda event, run_id, text: print(*filter(None, (event, run_id, text)), flush=True))
        except UserError as error:
            with contextlib.suppress(OSError, UserError):  # the fault may be the folder's own
                write_problem(sweep_dir(Path(self.output_dir), self.sweep), str(error))
            sys.exit(f"error: {error}")

    def train(self, listener: Listener) -> dict[str, int]:
        """Returns how many runs ended in which way; raises UserError if the machine cannot train them at all.

        Args:
            listener: is told ``(event, run_id, text)``: a run began, finished, failed or was left, a lane died.
        """
        ended: Counter[str] = Counter()
        crashes: Counter[str] = Counter()
        unfit = ""
        try:
            for index in range(min(self.runs_per_gpu * max(1, self.gpus), self._left())):
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
        if unfit:
            raise UserError(unfit)
        if crashes[""] >= _TRIES:
            raise RuntimeError("the training processes die before they begin a run; see above in this log")
        return dict(ended)

    def checkpoint(self) -> Any:
        """Lets the lanes write their checkpoints and returns what submitit is to queue again."""
        from submitit.helpers import DelayedSubmission

        self.stop()
        return DelayedSubmission(Worker(*(getattr(self, name) for name in _ARGUMENTS)))

    def stop(self) -> None:
        """Asks the lanes to stop at their next step and waits, at most ``grace_s``."""
        for process, _ in self._running:
            if process.is_alive():
                process.terminate()
        until = time.monotonic() + self.grace_s
        for process, _ in self._running:
            process.join(max(0.0, until - time.monotonic()))
            if process.is_alive():
                process.kill()

    def _left(self) -> int:
        plan = Plan.read(self.sweep, Path(self.output_dir))
        return sum(not is_settled(plan.run_dir(run.run_id)) for run in plan.runs)

    def _start(self, index: int) -> None:
        mine = self.chunk[index :: self.runs_per_gpu * max(1, self.gpus)]
        others = [run_id for run_id in self.chunk if run_id not in set(mine)]
        lane = TrainingProcess(self.sweep, Path(self.output_dir), [*mine, *others], self._threads(), self._deadline())
        ours, theirs = multiprocessing.Pipe(duplex=False)
        context = multiprocessing.get_context("spawn")
        process = context.Process(target=lane, args=(theirs,), name=str(index), daemon=True)
        with _visible_gpu(index, self.gpus), _signals_held_back():
            process.start()
            self._running.append((process, ours))
        theirs.close()

    def _events(self) -> Iterator[tuple[BaseProcess, str, str, str]]:
        """Yields what the lanes send, and ``died`` for one that ended without a last word, until all have ended."""
        open_processes = self._running
        parted: set[int] = set()
        while open_processes:
            by_connection = {connection: process for process, connection in open_processes}
            for ready in wait(list(by_connection)):
                assert isinstance(ready, Connection)
                process = by_connection[ready]
                try:
                    event, run_id, text = ready.recv()
                    if event in ("done", "stopped", "unfit"):
                        parted.add(process.pid or 0)
                    yield process, event, run_id, text
                except (EOFError, OSError):  # an OSError: killed in the middle of a message
                    self._running.remove((process, ready))
                    process.join()
                    if (process.pid or 0) not in parted:
                        yield process, "died", self._current.pop(process.pid or 0, ""), _cause(process.exitcode)

    def _handle_crash(self, process: BaseProcess, run_id: str, cause: str, crashes: Counter[str]) -> None:
        """After a lane died: its run is tried again from its checkpoint, or failed; another lane takes its place."""
        crashes[run_id] += 1
        if run_id and crashes[run_id] >= _TRIES:
            directory = run_dir(Path(self.output_dir), run_id)
            write_failure(directory, f"its process {cause} {_TRIES} times", os.uname().nodename)
        if run_id or crashes[""] < _TRIES:
            self._start(int(process.name))

    def _threads(self) -> int:
        return max(1, available_cpus() // (self.runs_per_gpu * max(1, self.gpus)))

    def _deadline(self) -> float | None:
        return None if self.seconds is None else time.time() + self.seconds


_ARGUMENTS = ("sweep", "output_dir", "chunk", "runs_per_gpu", "gpus", "seconds", "grace_s")


def available_cpus() -> int:
    """Returns how many cores this process may use."""
    granted = os.environ.get("SLURM_CPUS_PER_TASK")
    return (
        int(granted)
        if granted
        else len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 1
    )


@contextlib.contextmanager
def _signals_held_back() -> Iterator[None]:
    """Keeps signals from this process, and from one started in the block until it is ready to handle them."""
    multiprocessing.resource_tracker.ensure_running()  # or starting it would let them through
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _visible_gpu(index: int, gpus: int) -> Iterator[None]:
    """Shows the process started in the block one of the first ``gpus`` visible GPUs; with one or none, all of them."""
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    if gpus > 1:
        names = before.split(",") if before else [str(number) for number in range(gpus)]
        os.environ["CUDA_VISIBLE_DEVICES"] = names[index % min(gpus, len(names))]
    try:
        yield
    finally:
        if gpus > 1:
            if before is None:
                del os.environ["CUDA_VISIBLE_DEVICES"]
            else:
                os.environ["CUDA_VISIBLE_DEVICES"] = before


def _cause(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        name = signal.Signals(-exitcode).name
        return f"was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    return f"ended with exit code {exitcode}"
