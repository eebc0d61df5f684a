"""A lock on a directory with a heartbeat, so that no two processes train one run.

Safe where ``flock`` is not (NFS, Lustre): a lock is an exclusively created file ``claim.<number>``. Its owner touches
it every few seconds, and ages are measured by the file system's own clock. A lock whose owner died or sent no heartbeat
is taken over by creating the next number, which only one process can. An owner that wakes up too late finds the next
number and stops.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import re
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from dst.errors import PlaceError

HEARTBEAT_S = 10.0
SILENT_S = 90.0
"""A lock without a heartbeat for this long is free."""

GIVE_UP_S = 60.0
"""An owner whose heartbeats have failed for this long stops, while it still holds the lock."""
_LOOKS = 3
_NAME = re.compile(r"claim\.(0|[1-9][0-9]*)")

log = logging.getLogger("dst")


class Locked(Exception):
    """Another process holds the lock."""


@dataclass(frozen=True)
class Owner:
    """The process that holds a lock."""

    host: str
    pid: int
    space: str
    """Boot and process namespace, in which ``pid`` means something."""
    job: str
    """SLURM's job id, empty outside a job."""

    @classmethod
    def parsed(cls, text: bytes) -> Owner:
        """Returns the owner named in a lock file; an unknown one if the content is invalid or still empty."""
        try:
            fields = json.loads(text)
            owner = cls(**{key: fields[key] for key in cls.__dataclass_fields__})
        except (ValueError, TypeError, KeyError, RecursionError):
            return _UNKNOWN
        texts = (owner.host, owner.space, owner.job)
        return owner if type(owner.pid) is int and all(isinstance(text, str) for text in texts) else _UNKNOWN

    @classmethod
    def here(cls) -> Owner:
        """This process."""
        array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
        job = f"{array}_{task}" if array else os.environ.get("SLURM_JOB_ID", "")
        return cls(socket.gethostname(), os.getpid(), _space(), job)

    def __str__(self) -> str:
        if self == _UNKNOWN:
            return "an unknown process"
        return f"process {self.pid} on {self.host}" + (f", job {self.job}" if self.job else "")

    def is_in_this_job(self) -> bool:
        """Returns whether the process belongs to this process's SLURM job, or outside jobs to this machine."""
        here = Owner.here()
        return self.job == here.job if here.job else (self.job, self.host) == ("", here.host)

    def died_here(self) -> bool:
        """Returns whether the process ran on this machine and has ended."""
        if (self.host, self.space) != (socket.gethostname(), _space()):
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except (PermissionError, OverflowError):
            return False
        return _is_zombie(self.pid)


_UNKNOWN = Owner("?", 0, "?", "")


def holder(directory: Path, clock: Callable[[], float] | None = None) -> tuple[Owner | None, bool]:
    """Returns the latest owner of a directory, None if it was never locked, and whether that owner is alive.

    If the lock cannot be read at the moment, its owner counts as alive, so that no run is trained twice.

    Args:
        directory: that may be locked.
        clock: returns the time of the directory's file system; None: measured when needed.
    """
    try:
        found = _found(directory)
        return (found.owner, found.is_alive(directory, clock)) if found else (None, False)
    except OSError:
        return _UNKNOWN, True


def last_heartbeat(directory: Path) -> tuple[int, float] | None:
    """Returns a value that changes with every heartbeat and every new owner of ``directory``.

    None without a lock, or if it cannot be read at the moment.
    """
    try:
        found = _found(directory)
    except OSError:
        return None
    return (found.number, found.touched) if found else None


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[DirectoryLock]:
    """Holds the lock on an existing directory during the block.

    Raises:
        Locked: if another process holds it.
        OSError: if lock files there cannot be read or written.
    """
    found = _found(directory)
    if found and found.is_alive(directory):
        raise Locked(f"{directory.name} is locked by {found.owner}")
    lock = DirectoryLock(directory, found.number + 1 if found else 0)
    try:
        yield lock
    finally:
        lock.release()


class DirectoryLock:
    """A lock that this process holds; ``lost`` once another process took it over or it was removed."""

    def __init__(self, directory: Path, number: int) -> None:
        self._directory, self._number, self._path = directory, number, directory / f"claim.{number}"
        self._text = json.dumps(asdict(Owner.here()))
        self._heard, self._fault = time.monotonic(), ""
        self.lost = False
        self._create()
        self._released = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="lock", daemon=True)
        self._heart.start()

    def _create(self) -> None:
        taken = f"{self._directory.name} was locked by another process at this moment"
        try:
            file = open(self._path, "x")  # noqa: SIM115  # closed below
        except FileExistsError as error:
            raise Locked(taken) from error
        try:
            with file:
                file.write(self._text)
            numbers = _numbers(self._directory)
            # a listing made while files come and go may have missed the latest
            if max(numbers, default=None) != self._number:
                raise Locked(taken)
        except BaseException:  # an empty file left by a full disk would count as a living lock for a while
            with contextlib.suppress(OSError):
                self._path.unlink()
            raise
        for old in numbers:
            if old < self._number:
                with contextlib.suppress(OSError):
                    (self._directory / f"claim.{old}").unlink()

    def _beat(self) -> None:
        while not self._released.wait(HEARTBEAT_S):
            self._renew()

    def _renew(self) -> None:
        """Sends a heartbeat and checks that the lock is still ours; an error of the file system decides neither."""
        now = time.monotonic()
        try:
            os.utime(self._path)
            is_ours = self._is_ours()
        except FileNotFoundError:
            is_ours = False
        except OSError as error:
            self._fault = error.strerror or str(error)
            return
        if is_ours:
            self._heard = now
        else:
            self.lost = True

    def _is_ours(self) -> bool:
        """Returns whether no higher number exists and our file is still the one we wrote."""
        is_mine = self._path.read_bytes() == self._text.encode()
        return is_mine and max(_numbers(self._directory), default=0) <= self._number

    @property
    def silence(self) -> float:
        """Seconds since the last heartbeat that reached the file system."""
        return time.monotonic() - self._heard

    def check(self) -> None:
        """Raises :class:`Locked` if the lock is known to be lost, as happens to a process that was stopped for long."""
        if self.silence > GIVE_UP_S:
            self._renew()  # the heartbeat thread may have been stopped with this one
        if self.lost:
            if not os.path.isdir(self._directory):
                raise PlaceError(f"{self._directory} was removed while a process was at work there")
            raise Locked(f"{self._directory.name} was taken over by another process while this one was silent")

    def confirm(self) -> None:
        """Checks the lock on disk; called before each write.

        Raises:
            Locked: if it is lost.
            PlaceError: if it has been unreadable for so long that another process may have taken over.
        """
        self._renew()
        self.check()
        if self.silence >= SILENT_S:
            raise PlaceError(f"{self._directory} cannot be read and written ({self._fault}); give the command again")

    def should_give_up(self) -> bool:
        """Returns whether heartbeats have failed for so long that another process may soon take over."""
        if self.silence <= GIVE_UP_S:
            return False
        log.warning(
            "%s: no sign of life could be left for %.0f s (%s); stopping before another process takes over",
            *(self._directory, self.silence, self._fault),
        )
        return True

    def release(self) -> None:
        """Releases the lock."""
        self._released.set()
        self._heart.join()
        with contextlib.suppress(OSError):  # it expires by itself
            if self._is_ours():
                self._path.unlink()


def file_system_time(directory: Path) -> float:
    """Returns the time of the file system of ``directory``; this machine's where it is read-only."""
    try:
        with tempfile.NamedTemporaryFile(dir=directory, prefix=".clock.") as probe:
            return os.fstat(probe.fileno()).st_mtime
    except OSError:
        return time.time()


@dataclass(frozen=True)
class _Found:
    """A lock file as read: its number, its owner, and its last heartbeat by the file system's clock."""

    number: int
    owner: Owner
    touched: float

    def is_alive(self, directory: Path, clock: Callable[[], float] | None = None) -> bool:
        """Returns whether the heartbeat is recent; one from the future is as old as one from the past."""
        age = (clock or (lambda: file_system_time(directory)))() - self.touched
        return abs(age) < SILENT_S and not self.owner.died_here()


def _found(directory: Path) -> _Found | None:
    """Returns the latest lock file, None if there is none; raises OSError if it cannot be read."""
    for _ in range(_LOOKS):
        try:
            number = max(_numbers(directory), default=None)
            if number is None:
                return None
            with open(directory / f"claim.{number}", "rb") as file:  # opening has NFS ask its server
                return _Found(number, Owner.parsed(file.read()), os.fstat(file.fileno()).st_mtime)
        except OSError as error:
            if not os.path.isdir(directory):
                return None
            if error.errno not in (errno.ENOENT, errno.ESTALE):  # those: released at this moment, read again
                raise
    raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(directory))


def _numbers(directory: Path) -> list[int]:
    with os.scandir(directory) as entries:
        matches = [_NAME.fullmatch(entry.name) for entry in entries if entry.is_file(follow_symlinks=False)]
    return [int(match[1]) for match in matches if match]


def _space() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False
