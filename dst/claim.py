"""Who is at work on a directory: a numbered claim file with a heartbeat, so that no two processes train one run.

Safe where ``flock`` is not (NFS, Lustre): a claim is an exclusively created file, its owner touches it every few
seconds, and ages are told by the file system's own clock. A claim whose owner died or fell silent is taken over by
creating the next number, which only one can. An owner that wakes up too late finds the next number and stops.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

HEARTBEAT_S = 10.0
SILENT_S = 90.0
"""A claim not touched for so long belongs to nobody any more."""


class Claimed(Exception):
    """Another process is at work there."""


@dataclass(frozen=True)
class Owner:
    """A process, as its claim names it."""

    host: str
    pid: int
    space: str
    """Boot and process namespace, in which ``pid`` means something."""
    job: str
    """SLURM's job id, empty outside a job."""

    @classmethod
    def here(cls) -> Owner:
        """This process."""
        array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
        job = f"{array}_{task}" if array else os.environ.get("SLURM_JOB_ID", "")
        return cls(socket.gethostname(), os.getpid(), _space(), job)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}" + (f", job {self.job}" if self.job else "")

    def died_here(self) -> bool:
        """The process ran on this machine and is gone."""
        if (self.host, self.space) != (socket.gethostname(), _space()):
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return _is_zombie(self.pid)


def holder(directory: Path, clock: Callable[[], float] | None = None) -> tuple[Owner | None, bool]:
    """Returns the latest owner of ``directory``, None if nobody claims it, and whether they are alive.

    Args:
        clock: what time the file system of ``directory`` has; found out when needed if None.
    """
    number = _latest(directory)
    if number is None:
        return None, False
    path = _path(directory, number)
    try:
        age = (clock or (lambda: file_system_time(directory)))() - path.stat().st_mtime
        fields = json.loads(path.read_text() or "{}")
    except FileNotFoundError:  # released in this moment
        return None, False
    except json.JSONDecodeError:
        fields = {}
    owner = Owner(**fields) if fields else Owner("?", 0, "?", "")  # empty: created, not yet written
    return owner, age < SILENT_S and not owner.died_here()


def last_sign(directory: Path) -> tuple[int, float] | None:
    """Returns what changes whenever the owner of ``directory`` gives a sign of life, or changes; None without owner."""
    number = _latest(directory)
    try:
        return None if number is None else (number, _path(directory, number).stat().st_mtime)
    except FileNotFoundError:  # released in this moment
        return None


@contextlib.contextmanager
def claimed(directory: Path) -> Iterator[Claim]:
    """Claims ``directory``, which exists, for the time of the block; raises :class:`Claimed` if another has it."""
    number = _latest(directory)
    if number is not None:
        owner, alive = holder(directory)
        if alive:
            raise Claimed(f"{directory.name} is in the hands of {owner}")
    claim = Claim(directory, 0 if number is None else number + 1)
    try:
        yield claim
    finally:
        claim.release()


class Claim:
    """A claim held; ``lost`` once another has taken it over."""

    def __init__(self, directory: Path, number: int) -> None:
        self._directory, self._number = directory, number
        self._text = json.dumps(asdict(Owner.here()))
        self.lost = False
        taken = f"{directory.name} was claimed by another process this moment"
        try:
            with open(_path(directory, number), "x") as file:
                file.write(self._text)
        except FileExistsError as error:
            raise Claimed(taken) from error
        if _latest(directory) != number:  # a listing taken while files come and go may miss the latest
            _path(directory, number).unlink(missing_ok=True)
            raise Claimed(taken)
        for old in _numbers(directory):
            if old < number:
                _path(directory, old).unlink(missing_ok=True)
        self._released = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="claim", daemon=True)
        self._heart.start()

    def _beat(self) -> None:
        while not self._released.wait(HEARTBEAT_S):
            self._beat_once()

    def _beat_once(self) -> None:
        with contextlib.suppress(OSError):
            os.utime(_path(self._directory, self._number))
        self.lost = self.lost or not self._is_ours()

    def _is_ours(self) -> bool:
        """No higher number is there, and ours was not released by whoever took over and used once more."""
        try:
            text = _path(self._directory, self._number).read_text()
        except FileNotFoundError:
            return False
        return text == self._text and _latest(self._directory) == self._number

    def check(self) -> None:
        """Raises :class:`Claimed` if the claim is lost, which happens to processes that were stopped for long."""
        if self.lost:
            raise Claimed(f"{self._directory.name} was taken over by another process while this one was silent")

    def release(self) -> None:
        """Gives the directory back."""
        self._released.set()
        self._heart.join()
        if self._is_ours():
            _path(self._directory, self._number).unlink(missing_ok=True)


def file_system_time(directory: Path) -> float:
    """Returns the time by the clock that stamps files in ``directory``; by this machine's where it is read-only."""
    try:
        with tempfile.NamedTemporaryFile(dir=directory, prefix=".clock.") as probe:
            return os.fstat(probe.fileno()).st_mtime
    except OSError:
        return time.time()


def _path(directory: Path, number: int) -> Path:
    return directory / f"claim.{number}"


def _numbers(directory: Path) -> list[int]:
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    return [int(number) for name in names if name.startswith("claim.") and (number := name[6:]).isdigit()]


def _latest(directory: Path) -> int | None:
    return max(_numbers(directory), default=None)


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
