"""The processes that train a run together, cluster.gpus_per_run on each of cluster.nodes, as the first sees them."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from typing import Any

from dst.errors import UserError
from dst.files.lock import Locked

from .followers import Ended, Failed, Follower, GpuGroup, Started, tend
from .nodes import Node

_START_S = 300.0
"""Seconds that followers get to start, which is mostly the import of torch."""

_END_S = 60.0
"""Seconds that ranks get to end after another one has."""

_NEWS_S = 5.0
"""Seconds in which the news of a follower's end arrive after the failure that it leads to."""
_POLL_S = 0.5


@dataclass(frozen=True)
class Crew:
    """The processes that train each run of a training process together, which is the first of them; picklable.

    Attributes:
        group: GPUs of every node that train a run, with a process on each; without a GPU, ``each`` processes.
        threads: CPU threads of a process.
        others: the further nodes.
    """

    group: GpuGroup
    threads: int
    others: tuple[Node, ...] = ()

    @property
    def size(self) -> int:
        """Number of processes."""
        return self.group.each * (1 + len(self.others))

    def followers(self, config: Mapping[str, Any], port: int) -> list[list[Follower]]:
        """Returns the processes that are to follow the first one, by node, this one first.

        Args:
            config: of the run.
            port: where they meet.
        """
        each, cwd = self.group.each, os.getcwd()
        meeting = (self.size, "127.0.0.1", port, self.threads)
        return [
            [
                Follower(config, cwd, node * each + local, local, *meeting, group=self.group if node else None)
                for local in range(each)
                if node or local
            ]
            for node in range(1 + len(self.others))
        ]


class Followers:
    """The followers of one run, as its first rank sees them.

    Started with multiprocessing rather than by torchrun, so that the first rank stays the training process itself,
    which holds the run's lock, reports to its worker and asks a search's pruner. A follower that is killed takes the
    first rank with it, and the worker then treats the run as one whose process crashed.

    Args:
        config: of the run.
        crew: which trains it.
        port: where they meet.
    """

    def __init__(self, config: Mapping[str, Any], crew: Crew, port: int) -> None:
        self._size, self._started, self._ended = crew.size, set[int](), set[int]()
        self._failures: list[Failed] = []
        self._ready, self._over, self._news = threading.Event(), threading.Event(), threading.Event()
        self._failed: tuple[int, float] | None = None
        self._until = 0.0
        self._connections: dict[Connection, str] = {}
        self._here: threading.Thread | None = None
        here, *further = crew.followers(config, port)
        for node, followers in zip(crew.others, further, strict=True):
            self._connections[node.call(followers)] = f"node {node.name}"
        if here:
            ours, theirs = multiprocessing.Pipe()
            self._connections[ours] = "this node"
            self._here = threading.Thread(target=tend, args=(here, theirs), daemon=True)
            self._here.start()
        self._watch = threading.Thread(target=self._listen, daemon=True)
        self._watch.start()

    def wait_started(self) -> None:
        """Waits until all have started.

        Raises:
            TimeoutError: if one has not after some minutes.
            RuntimeError: if one has ended.
        """
        self._ready.wait(_START_S)
        missing = min(set(range(1, self._size)) - self._started, default=None)
        if missing in self._ended:
            raise RuntimeError(f"rank {missing} of {self._size} ended before it had started")
        if missing is not None:
            raise TimeoutError(f"rank {missing} of {self._size} did not start within {_START_S:.0f} s")

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
        if earlier := [failure for failure in self._failures if failure.time < when]:
            first = min(earlier, key=lambda failure: failure.time)
            return first.kind(first.text)
        if lost:
            _crash(str(error), signal.SIGKILL)
        return error

    def end(self, patience_s: float) -> None:
        """Waits for the followers to end and kills those that do not.

        Args:
            patience_s: seconds to wait.
        """
        self._until = time.monotonic() + patience_s
        self._over.set()
        self._watch.join()
        if self._here:
            self._here.join()

    def _listen(self) -> None:
        """Heeds what followers tell; ends this process with one that was killed or whose node is gone.

        This process may wait for it in a collective operation, for ever.
        """
        ahead: dict[Connection, float] = {}  # by how many seconds this machine's clock is ahead of the node's
        open_ones = set(self._connections)
        while len(self._ended) < self._size - 1 and not (self._over.is_set() and time.monotonic() >= self._until):
            for ready in wait(list(open_ones), timeout=_POLL_S):
                assert isinstance(ready, Connection)
                try:
                    message = ready.recv()
                except (EOFError, OSError):
                    open_ones.remove(ready)
                    if not self._over.is_set():
                        _crash(f"{self._connections[ready]} no longer answers", signal.SIGKILL)
                    continue
                if ready in ahead:
                    self._heed(message, ahead[ready])
                else:
                    ahead[ready] = time.time() - message
            if self._failed and not self._over.is_set() and time.monotonic() > self._failed[1] + _END_S:
                rank = self._failed[0]
                _crash(f"rank {rank} failed {_END_S:.0f} s ago and this one still waits for it", signal.SIGKILL)
        for connection in self._connections:
            connection.close()

    def _heed(self, message: Started | Failed | Ended, ahead_s: float) -> None:
        if isinstance(message, Started):
            self._started.add(message.rank)
        elif isinstance(message, Failed):
            self._failures.append(replace(message, time=message.time + ahead_s))
        else:
            code = message.exitcode
            if code < 0 and not self._over.is_set():
                _crash(f"rank {message.rank} was killed by {signal.Signals(-code).name}", -code)
            self._ended.add(message.rank)
            if code > 0:
                self._failed = self._failed or (message.rank, time.monotonic())
                self._news.set()
        if len(self._started | self._ended) == self._size - 1:
            self._ready.set()


@contextlib.contextmanager
def followed(config: Mapping[str, Any], crew: Crew) -> Iterator[None]:
    """Has this process train a run in the block as the first of a crew, whose others end with the block.

    Args:
        config: of the run.
        crew: of this process; alone if it has a size of 1.

    Raises:
        Exception: the error of a follower where that is why this process failed.
    """
    if crew.size == 1:
        yield
        return
    from dst import ranks
    from dst.attempt import Stopped

    (store, port), patience_s = ranks.host(crew.size), 0.0
    followers = Followers(config, crew, port)
    try:
        followers.wait_started()
        ranks.join_first(store, crew.size)
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


def _crash(cause: str, number: int) -> None:
    """Ends this process by a signal, and with it the followers that are left; the worker replaces it."""
    print(f"{cause}: this ends all ranks of the run", flush=True)
    os.kill(os.getpid(), number)
    os._exit(1)  # for a signal that is handled
