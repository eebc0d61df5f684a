"""The processes that train a run together with a training process, its first rank: cluster.gpus_per_run."""

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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from dst.errors import PlaceError, UserError, is_of_place
from dst.files.lock import Locked
from dst.terminal.signals import StopSignals

from .stop_signals import STOP_SIGNALS, signals_blocked

_START_S = 300.0
"""Seconds that followers get to start, which is mostly the import of torch."""

_END_S = 60.0
"""Seconds that ranks get to end after another one has."""

_NEWS_S = 5.0
"""Seconds in which the news of a follower's end arrive after the failure that it leads to."""
_POLL_S = 0.5


@dataclass(frozen=True, order=True)
class _Failure:
    """An error of a follower: when, in Unix time, which kind of exception it is to the first rank, its message."""

    time: float
    kind: type[Exception] = field(compare=False)
    text: str = field(compare=False)


@dataclass(frozen=True)
class Follower:
    """The target of a follower's process, a rank of one run from 1 on; picklable.

    Attributes:
        config: of the run.
        rank: number of this process.
        size: number of processes that train the run.
        port: where they meet.
        threads: number of CPU threads.
        first_pid: process id of the first rank, without which this one ends.
    """

    config: Mapping[str, Any]
    rank: int
    size: int
    port: int
    threads: int
    first_pid: int

    def __call__(self, first: Connection) -> None:
        """Trains its share of the run; sends None once it has started, and how it failed if it does."""
        stop = StopSignals(STOP_SIGNALS)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        threading.Thread(target=self._end_with_first, daemon=True).start()
        multiprocessing.current_process().daemon = False  # daemonic processes cannot start data loader processes
        import torch
        from omegaconf import OmegaConf

        from dst import ranks
        from dst.attempt import Stopped
        from dst.train import run

        torch.set_num_threads(self.threads)
        logging.getLogger("dst").disabled = True  # the first rank tells
        first.send(None)
        try:
            ranks.join_host(self.port, self.rank, self.size)
            run(OmegaConf.create(dict(self.config)), should_stop=stop.received)
            ranks.leave()
        except (Stopped, Locked):
            pass
        except Exception as error:
            failure = _Failure(time.time(), _kind(error), f"rank {self.rank}: {_one_line(error)}")
            with contextlib.suppress(OSError):
                first.send(failure)
            if not isinstance(error, UserError):
                traceback.print_exc()
            sys.exit(1)

    def _end_with_first(self) -> None:
        while os.getppid() == self.first_pid:
            time.sleep(_POLL_S)
        os._exit(1)  # the main thread may wait for the first rank in a collective operation, for ever


class Followers:
    """The followers of one run, as its first rank sees them.

    Started with multiprocessing rather than by torchrun, so that the first rank stays the training process itself,
    which holds the run's lock, reports to its worker and asks a search's pruner. A follower that is killed takes the
    first rank with it, and the worker then treats the run as one whose process crashed.

    Args:
        config: of the run.
        size: number of processes that train it, the first one included.
        threads: CPU threads of each.
        port: where they meet.
    """

    def __init__(self, config: Mapping[str, Any], size: int, threads: int, port: int) -> None:
        self._started: list[tuple[BaseProcess, Connection]] = []
        self._over, self._news = threading.Event(), threading.Event()
        context = multiprocessing.get_context("spawn")
        for rank in range(1, size):
            ours, theirs = multiprocessing.Pipe(duplex=False)
            target = Follower(config, rank, size, port, threads, os.getpid())
            process = context.Process(target=target, args=(theirs,), daemon=True)
            with signals_blocked():
                process.start()
            theirs.close()
            self._started.append((process, ours))
        self._watch = threading.Thread(target=self._watch_ends, daemon=True)
        self._watch.start()

    def wait_started(self) -> None:
        """Waits until all have started.

        Raises:
            TimeoutError: if one has not after some minutes.
            EOFError: if one has ended.
        """
        until = time.monotonic() + _START_S
        for rank, (_, connection) in enumerate(self._started, start=1):
            if not connection.poll(max(0.0, until - time.monotonic())):
                raise TimeoutError(f"rank {rank} of {len(self._started) + 1} did not start within {_START_S:.0f} s")
            connection.recv()

    def cause_of(self, error: Exception) -> Exception:
        """Returns what the failure of the first rank goes back to: the earliest error of a follower, or itself.

        Does not return if a follower was killed, or if the others do not answer and none tells why: see the class.
        """
        from dst.ranks import Lost

        when, lost = time.time(), isinstance(error, Lost)
        if isinstance(error, UserError) and not lost:
            return error
        self._news.wait(_NEWS_S)
        time.sleep(_POLL_S)  # for the watching thread to end this process
        told = [failure for _, connection in self._started for failure in _failures(connection)]
        if earlier := [failure for failure in told if failure.time < when]:
            return (first := min(earlier)).kind(first.text)
        if lost:
            _crash(str(error), signal.SIGKILL)
        return error

    def end(self, patience_s: float) -> None:
        """Waits for the followers to end and kills those that do not.

        Args:
            patience_s: seconds to wait.
        """
        self._over.set()
        self._watch.join(patience_s)
        for process, connection in self._started:
            process.kill()  # without effect on one that has ended
            connection.close()
        self._watch.join()

    def _watch_ends(self) -> None:
        """Ends this process with a follower that was killed: it may wait for it in a collective operation, for ever."""
        ranks = {process.sentinel: (rank, process) for rank, (process, _) in enumerate(self._started, start=1)}
        failed = None
        while ranks:
            for sentinel in wait(list(ranks), timeout=_POLL_S):
                assert isinstance(sentinel, int)
                rank, process = ranks.pop(sentinel)
                process.join()
                code = process.exitcode or 0
                if code < 0 and not self._over.is_set():
                    _crash(f"rank {rank} was killed by {signal.Signals(-code).name}", -code)
                if code > 0:
                    failed = failed or (rank, time.monotonic())
                    self._news.set()
            if failed and not self._over.is_set() and time.monotonic() > failed[1] + _END_S:
                _crash(f"rank {failed[0]} failed {_END_S:.0f} s ago and this one still waits for it", signal.SIGKILL)


@contextlib.contextmanager
def followed(config: Mapping[str, Any], size: int, threads: int) -> Iterator[None]:
    """Has this process train a run in the block as the first of ``size`` processes, which end with the block.

    Args:
        config: of the run.
        size: number of processes, 1 for this one alone.
        threads: CPU threads of each.

    Raises:
        Exception: the error of a follower where that is why this process failed.
    """
    if size == 1:
        yield
        return
    from dst import ranks
    from dst.attempt import Stopped

    (store, port), patience_s = ranks.host(size), 0.0
    followers = Followers(config, size, threads, port)
    try:
        followers.wait_started()
        ranks.join_first(store, size)
        yield
        patience_s = _END_S
    except Stopped:
        patience_s = _END_S
        raise
    except Locked:
        raise
    except Exception as error:
        cause = followers.cause_of(error)
        if cause is error:
            raise
        raise cause from None
    finally:
        followers.end(patience_s)
        late = threading.Timer(_END_S, _crash, (f"the ranks have not parted after {_END_S:.0f} s", signal.SIGKILL))
        late.daemon = True
        late.start()
        ranks.leave()
        late.cancel()


def _kind(error: Exception) -> type[Exception]:
    from dst.ranks import Lost

    if isinstance(error, Lost):
        return RuntimeError
    return PlaceError if is_of_place(error) else UserError if isinstance(error, UserError) else RuntimeError


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())[:300]
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"


def _failures(connection: Connection) -> Iterator[_Failure]:
    with contextlib.suppress(EOFError, OSError):
        while connection.poll():
            if message := connection.recv():
                yield message


def _crash(cause: str, number: int) -> None:
    """Ends this process by a signal, and with it the followers that are left; the worker replaces it."""
    print(f"{cause}: this ends all ranks of the run", flush=True)
    os.kill(os.getpid(), number)
    os._exit(1)  # for a signal that is handled
