"""The processes of a node that train a run together with its first rank, and how it hears of them."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from dst.errors import PlaceError, UserError, is_of_place
from dst.files.lock import Locked
from dst.terminal.signals import StopSignals

from .stop_signals import STOP_SIGNALS, signals_blocked

_LOOK_S = 0.1
"""Seconds between looks at what followers tell."""
_POLL_S = 0.5


@dataclass(frozen=True)
class GpuGroup:
    """The GPUs of a node that train one run at a time.

    Attributes:
        index: number of the group, from 0; counted over if it is above the last.
        each: GPUs of a group.
        gpus: that the job may use on the node, 0 for none.
    """

    index: int = 0
    each: int = 1
    gpus: int = 0

    def enter(self) -> None:
        """Restricts this process to the group, unless the node has one GPU; before the process uses any GPU."""
        if self.gpus > 1:
            visible = os.environ.get("CUDA_VISIBLE_DEVICES")
            names = (visible.split(",") if visible else [str(number) for number in range(self.gpus)])[: self.gpus]
            first = self.index % max(1, len(names) // self.each) * self.each
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(names[first : first + self.each])


@dataclass(frozen=True)
class Started:
    """A follower has started."""

    rank: int


@dataclass(frozen=True)
class Failed:
    """An error of a follower: when, in Unix time, which kind of exception it is to the first rank, its message."""

    rank: int
    time: float
    kind: type[Exception]
    text: str


@dataclass(frozen=True)
class Ended:
    """A follower's process has ended, with the exit code of :mod:`multiprocessing`: below 0 by a signal."""

    rank: int
    exitcode: int


@dataclass(frozen=True)
class Follower:
    """The target of a follower's process, a rank of one run from 1 on; picklable.

    Attributes:
        config: of the run.
        cwd: the run's working directory.
        rank: number of this process.
        local_rank: number among those of its node.
        size: number of processes that train the run.
        host: address of the first rank's node.
        port: where they meet there.
        threads: number of CPU threads.
        group: GPUs to choose on this node; None if the parent process has chosen.
    """

    config: Mapping[str, Any]
    cwd: str
    rank: int
    local_rank: int
    size: int
    host: str
    port: int
    threads: int
    group: GpuGroup | None = None

    def __call__(self, told: Connection) -> None:
        """Trains its share of the run; sends :class:`Started`, and :class:`Failed` if it fails."""
        stop = StopSignals(STOP_SIGNALS)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        threading.Thread(target=_end_with_parent, daemon=True).start()
        multiprocessing.current_process().daemon = False  # daemonic processes cannot start data loader processes
        os.chdir(self.cwd)
        if self.group:
            self.group.enter()
        import torch
        from omegaconf import OmegaConf

        from dst import ranks
        from dst.attempt import Stopped
        from dst.train import run

        torch.set_num_threads(self.threads)
        logging.getLogger("dst").disabled = True  # the first rank tells
        told.send(Started(self.rank))
        try:
            ranks.join_host(self.host, self.port, self.rank, self.local_rank, self.size)
            run(OmegaConf.create(dict(self.config)), should_stop=stop.received)
            ranks.leave()
        except (Stopped, Locked):
            pass
        except Exception as error:
            failure = Failed(self.rank, time.time(), _kind(error), f"rank {self.rank}: {_one_line(error)}")
            with contextlib.suppress(OSError):
                told.send(failure)
            if not isinstance(error, UserError):
                traceback.print_exc()
            sys.exit(1)


def tend(followers: Sequence[Follower], first: Connection) -> None:
    """Starts followers on this machine, tells their first rank of them, and kills them when it hangs up.

    Args:
        followers: to be started.
        first: gets this machine's Unix time in seconds, then :class:`Started`, :class:`Failed` and :class:`Ended`.
    """
    context = multiprocessing.get_context("spawn")
    running: dict[int, tuple[Follower, BaseProcess, Connection]] = {}
    try:
        first.send(time.time())
        for follower in followers:
            ours, theirs = multiprocessing.Pipe(duplex=False)
            process: BaseProcess = context.Process(target=follower, args=(theirs,), daemon=True)
            with signals_blocked():
                process.start()
            theirs.close()
            running[process.sentinel] = (follower, process, ours)
        while True:
            ready = wait([first, *running], timeout=_LOOK_S)
            if first in ready:
                return
            for sentinel, (follower, ended, ours) in list(running.items()):
                for message in _waiting_in(ours):
                    first.send(message)
                if sentinel in ready:
                    ended.join()
                    first.send(Ended(follower.rank, ended.exitcode or 0))
                    del running[sentinel]
                    ours.close()
    except ConnectionError:
        pass  # the first rank is gone
    finally:
        for _, left, ours in running.values():
            left.kill()
            ours.close()
        first.close()


def _waiting_in(connection: Connection) -> Iterator[Any]:
    with contextlib.suppress(EOFError, OSError):  # the process was killed while it sent
        while connection.poll():
            yield connection.recv()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    while parent and os.getppid() == parent.pid:
        time.sleep(_POLL_S)
    os._exit(1)  # the main thread may wait for the first rank in a collective operation, for ever


def _kind(error: Exception) -> type[Exception]:
    from dst.ranks import Lost

    if isinstance(error, Lost):
        return RuntimeError
    return PlaceError if is_of_place(error) else UserError if isinstance(error, UserError) else RuntimeError


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())[:300]
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"
