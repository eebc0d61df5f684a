"""The logs of a run directory: JSON lines that are appended while it trains and rewound to a checkpoint.

A checkpoint holds a checksum of every line that it stands on. Resuming from it drops the lines logged later, and
replaces the files, so that a process that lost its lock can no longer append to them.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from dst.files.atomic import write_faults_told
from dst.files.lock import Locked
from dst.files.records import read_lines
from dst.run.layout import METRICS, PHASES, PROBES, TOPOLOGY

LOGS = {METRICS: "epoch", TOPOLOGY: "step", PHASES: "epoch"}
"""The key of each log by which its lines are ordered; those of probes are too, by ``step``."""


class Logs:
    """The logs of one run, as far as this process may write them.

    Args:
        folder: the run directory.
        guard: called before each write; raises if the directory is not this process's any more.
        write: replaces a file of the run directory atomically.
    """

    def __init__(self, folder: Path, guard: Callable[[], None], write: Callable[[str, bytes], None]) -> None:
        self.folder, self._guard, self._write = folder, guard, write
        self._inodes: dict[str, int] = {}  # of the logs that are ours
        self.checksums: dict[str, list[int]] = {name: [] for name in LOGS}

    def append(self, file: str, *records: dict[str, Any]) -> None:
        """Appends lines to a log.

        Args:
            file: one of :data:`LOGS`, or the log of a probe.
            records: a line each.

        Raises:
            Locked: if another process has replaced the log since this one last wrote to it.
        """
        self._guard()
        path, lines = self.folder / file, [to_json(record).encode() for record in records]
        with write_faults_told(path), self._open(file) as log_file:
            log_file.write(b"".join(line + b"\n" for line in lines))
            self._inodes[file] = os.fstat(log_file.fileno()).st_ino
        self.checksums.setdefault(file, []).extend(map(zlib.crc32, lines))

    def _open(self, name: str) -> IO[bytes]:
        """Opens a log for appending; raises Locked if another process took the run over, which replaces the logs."""
        path, known = self.folder / name, self._inodes.get(name)
        path.parent.mkdir(exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | (os.O_CREAT | os.O_EXCL if known is None else 0)
        try:
            file = open(os.open(path, flags, 0o666), "ab")  # noqa: SIM115  # closed by the caller
        except (FileExistsError, FileNotFoundError) as error:
            raise Locked(f"{path} was changed by another process") from error
        if known is not None and os.fstat(file.fileno()).st_ino != known:
            file.close()
            raise Locked(f"{path} was replaced by another process")
        return file

    def rewind(self, *, epoch: int = 0, step: int = 0, checksums: Mapping[str, list[int]] | None = None) -> None:
        """Drops the lines that were logged after a checkpoint, also those of probes that the run no longer has.

        Args:
            epoch, step: how far the checkpoint is.
            checksums: :attr:`checksums` at that time; None for a checkpoint of an earlier version, without them.

        Raises:
            ValueError: if lines are missing that were logged before the checkpoint.
        """
        reached = {"epoch": epoch, "step": step}
        kept = {}
        for name in dict.fromkeys((*LOGS, *self._probe_logs(), *(checksums or ()))):
            lines = _lines(self.folder / name)
            if checksums is None:
                key = LOGS.get(name, "step")
                kept[name] = _until(lines, key, reached[key])
                continue
            expected = checksums.get(name, [])  # an earlier version, or attempt, may not have had the log
            kept[name] = _matching(lines, expected)
            if len(kept[name]) < len(expected):
                raise ValueError(f"of {len(expected)} lines in {name} {len(kept[name])} are there as they were written")
        for name, lines in kept.items():
            path = self.folder / name
            if path.exists():  # replaced even if unchanged, so that an earlier owner can no longer append
                self._write(name, b"".join(line + b"\n" for line in lines))
                self._inodes[name] = path.stat().st_ino
            self.checksums[name] = [zlib.crc32(line) for line in lines]

    def _probe_logs(self) -> Iterator[str]:
        return (f"{PROBES}/{path.name}" for path in sorted((self.folder / PROBES).glob("*.jsonl")))

    def read(self, file: str) -> list[dict[str, Any]]:
        """Returns the lines of a log as records."""
        return read_lines(self.folder / file)

    def count(self, file: str) -> int:
        """Returns the number of lines that this run has in a log."""
        return len(self.checksums[file])

    def sync(self) -> None:
        """Flushes the logs to the disk, so that a checkpoint that outlives a crashed node finds its lines there."""
        for name in self.checksums:
            path = self.folder / name
            with contextlib.suppress(FileNotFoundError), write_faults_told(path), open(path) as file:
                os.fsync(file.fileno())


def to_json(record: Mapping[str, Any], indent: int | None = None) -> str:
    """Returns a record as JSON; NaN and infinity become null.

    Args:
        record: of plain values.
        indent: see :func:`json.dumps`.
    """
    return json.dumps(_finite(record), allow_nan=False, indent=indent)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _lines(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []


def _matching(lines: list[bytes], sums: list[int]) -> list[bytes]:
    """The lines of these checksums in this order; what is between them is of nobody."""
    kept: list[bytes] = []
    for line in lines:
        if len(kept) < len(sums) and zlib.crc32(line) == sums[len(kept)]:
            kept.append(line)
    return kept


def _until(lines: list[bytes], key: str, last: int) -> list[bytes]:
    """The lines that are records with a number under ``key``, up to ``last``; others were cut short or are foreign."""
    kept = []
    for line in lines:
        with contextlib.suppress(ValueError, RecursionError):
            record = json.loads(line)
            number = record.get(key) if isinstance(record, dict) else None
            if isinstance(number, (int, float)) and number <= last:
                kept.append(line)
    return kept
