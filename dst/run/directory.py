"""The run directory: the one place where a run's results are, and the only thing the analysis reads."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import math
import os
import shutil
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import torch
from omegaconf import OmegaConf
from torch import Tensor

from dst.config import Config, run_id
from dst.errors import PlaceError, UserError, is_of_place
from dst.files.atomic import atomic_file, write_faults_told
from dst.files.lock import Locked
from dst.files.records import Damaged, keep_aside, read_lines
from dst.run.layout import (
    CHECKPOINT,
    CONFIG,
    MASKS,
    METRICS,
    PHASES,
    PREVIOUS_CHECKPOINT,
    SUMMARY,
    TOPOLOGY,
    run_dir,
)
from dst.run.outcome import read_summary

log = logging.getLogger("dst")

LOGS = (METRICS, TOPOLOGY, PHASES)


class RunDirectory:
    """``<output_dir>/runs/<run_id>/``: config, logs, masks, checkpoints and, written last, the summary.

    Every file but the logs is written atomically. The run is finished exactly when ``summary.json`` says so.
    """

    def __init__(self, config: Config) -> None:
        self.run_id = run_id(config)
        self.path = run_dir(Path(config.output_dir).absolute(), self.run_id)
        self.guard: Callable[[], None] = lambda: None
        """Called before each write; raises if the directory is not this process's any more."""
        self._config = config
        self._logs: dict[str, int] = {}  # the inodes of the logs that are ours
        self._sums: dict[str, list[int]] = {name: [] for name in LOGS}

    def create(self) -> None:
        """Makes the directory; raises PlaceError where that is not allowed."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            line = f"output_dir={self._config.output_dir}: cannot be written to ({error.strerror})"
            raise PlaceError(line) from error

    def write_config(self) -> None:
        """Writes ``config.yaml``."""
        self._write(CONFIG, OmegaConf.to_yaml(OmegaConf.structured(self._config)).encode())

    def summary(self) -> dict[str, Any] | None:
        """Returns the summary of a finished run, None of any other; tells of a damaged one, which counts for nothing.

        Raises:
            UserError: where the file system does not let it be read.
        """
        try:
            return read_summary(self.path)
        except Damaged as error:
            log.warning("%s: %s: the run counts as unfinished", self.path, error)
        except OSError as error:
            raise UserError(f"{self.path / 'summary.json'}: cannot be read ({error.strerror})") from error
        return None

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Writes ``summary.json``, which makes the run finished; NaN and infinity become null.

        A damaged one is kept beside it.
        """
        try:
            read_summary(self.path)
        except Damaged:
            keep_aside(self.path / SUMMARY)
        self._write(SUMMARY, (_json(summary, indent=1) + "\n").encode())

    def write_masks(self, masks: dict[str, Tensor]) -> None:
        """Writes ``masks.pt``: a bool tensor for each sparse weight by parameter name, none for a dense run."""
        self._write(MASKS, _torch_bytes({name: mask.cpu().contiguous() for name, mask in masks.items()}))

    def append(self, file: str, *records: dict[str, Any]) -> None:
        """Appends lines to a log.

        Args:
            file: one of :data:`LOGS`.
            records: a line each.

        Raises:
            Locked: if another process has replaced the log since this one last wrote to it.
        """
        self.guard()
        path, lines = self.path / file, [_json(record).encode() for record in records]
        with write_faults_told(path), self._opened(path) as log_file:
            log_file.write(b"".join(line + b"\n" for line in lines))
            self._logs[file] = os.fstat(log_file.fileno()).st_ino
        self._sums[file] += map(zlib.crc32, lines)

    def _opened(self, path: Path) -> IO[bytes]:
        """Opens a log at its end. Whoever takes a run over replaces the logs, so a file not known is not ours."""
        known = self._logs.get(path.name)
        flags = os.O_WRONLY | os.O_APPEND | (os.O_CREAT | os.O_EXCL if known is None else 0)
        try:
            file = open(os.open(path, flags, 0o666), "ab")  # noqa: SIM115  # closed by the caller
        except (FileExistsError, FileNotFoundError) as error:
            raise Locked(f"{path} was changed by another process") from error
        if known is not None and os.fstat(file.fileno()).st_ino != known:
            file.close()
            raise Locked(f"{path} was replaced by another process")
        return file

    def rewind(self, *, epoch: int = 0, step: int = 0, sums: dict[str, list[int]] | None = None) -> None:
        """Forgets what was logged after a checkpoint; raises ValueError if lines are missing that it stands on.

        Args:
            epoch, step: how far the checkpoint is.
            sums: checksums of the lines of each log up to there, None for a checkpoint that does not say.
        """
        parts = {METRICS: ("epoch", epoch), TOPOLOGY: ("step", step), PHASES: ("epoch", epoch)}
        kept = {}
        for name, (key, last) in parts.items():
            lines = _lines(self.path / name)
            kept[name] = _until(lines, key, last) if sums is None else _matching(lines, sums[name])
            if sums is not None and len(kept[name]) < len(sums[name]):
                raise ValueError(
                    f"of {len(sums[name])} lines in {name} {len(kept[name])} are there as they were written"
                )
        for name, lines in kept.items():
            path = self.path / name
            if path.exists():  # replaced whether or not it changes: an earlier owner's hands are off it then
                self._write(name, b"".join(line + b"\n" for line in lines))
                self._logs[name] = path.stat().st_ino
            self._sums[name] = [zlib.crc32(line) for line in lines]

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Writes ``checkpoint.pt``; the one before becomes ``checkpoint.previous.pt`` once this one is wholly written.

        It also holds the run's id, and checksums of the lines logged so far, without which it would be worth nothing.
        """
        current, previous = self.path / CHECKPOINT, self.path / PREVIOUS_CHECKPOINT
        data = _torch_bytes({"run_id": self.run_id, "logs": self._sums, **state})
        for log_file in LOGS:
            self._sync(log_file)  # a checkpoint that outlives a crashed node finds its lines in the logs

        def before() -> None:
            self.guard()
            if current.exists():
                os.replace(current, previous)

        with atomic_file(current, before=before) as file:
            file.write(data)

    def resume(self, restore: Callable[[dict[str, Any]], None]) -> bool:
        """Hands the newest usable checkpoint, tensors on the host, to ``restore``, rewinds the logs; False if none is.

        One that is damaged, of another run, refused by ``restore`` or without the log lines it stands on is told of and
        kept as ``*.damaged.pt``. Where none is left, the logs begin anew.

        Args:
            restore: may raise anything for what it cannot restore; UserErrors and faults of the place end the resuming.
        """
        for name in (CHECKPOINT, PREVIOUS_CHECKPOINT):
            path = self.path / name
            if not path.exists():
                continue
            try:
                state = _read_checkpoint(path)
                if state.get("run_id", self.run_id) != self.run_id:
                    raise ValueError(f"of run {state['run_id']}")
                restore(state)
                training = state["training"]
                self.rewind(epoch=training["epoch"], step=training["step"], sums=state.get("logs"))
                return True
            except Exception as error:  # a damaged file fails in many ways, all of which mean the same
                if isinstance(error, (UserError, Locked)) or is_of_place(error):
                    raise
                self._set_aside(path, error)
        self.rewind()
        return False

    def _set_aside(self, path: Path, error: Exception) -> None:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:100]
        damaged = path.with_suffix(".damaged.pt")
        log.warning(
            "%s is damaged and passed over (%s: %s); kept as %s", path, type(error).__name__, reason, damaged.name
        )
        if damaged.is_dir() and not damaged.is_symlink():
            shutil.rmtree(damaged)
        os.replace(path, damaged)

    def drop_checkpoints(self, *, previous_only: bool) -> None:
        """Removes the previous checkpoint, or both."""
        (self.path / PREVIOUS_CHECKPOINT).unlink(missing_ok=True)
        if not previous_only:
            (self.path / CHECKPOINT).unlink(missing_ok=True)

    def is_tidy(self, keep: str) -> bool:
        """Whether a finished run's directory holds nothing but what ``checkpoint.keep`` says is kept."""
        left = [self.path / PREVIOUS_CHECKPOINT, *([self.path / CHECKPOINT] if keep == "nothing" else [])]
        return not (any(path.exists() for path in left) or any(self.path.glob("claim.*")) or any(self._litter()))

    def remove_litter(self) -> None:
        """Removes the files that processes killed while they wrote left here."""
        long_ago = time.time() - 3600  # younger ones may be in use
        clocks = [path for path in self.path.glob(".clock.*") if path.stat().st_mtime < long_ago]
        for path in (*self._litter(), *clocks):
            path.unlink(missing_ok=True)

    def _litter(self) -> Iterator[Path]:
        for name in (CONFIG, CHECKPOINT, MASKS, SUMMARY, *LOGS):
            yield from self.path.glob(f".{name}.*.tmp")

    def read(self, file: str) -> list[dict[str, Any]]:
        """Returns the lines of a log as records."""
        return read_lines(self.path / file)

    def count(self, file: str) -> int:
        """Returns the number of lines that this run has in a log."""
        return len(self._sums[file])

    def _write(self, name: str, data: bytes) -> None:
        if (self.path / name).is_dir():
            keep_aside(self.path / name)
        with atomic_file(self.path / name, before=lambda: self.guard()) as file:
            file.write(data)

    def _sync(self, name: str) -> None:
        path = self.path / name
        with contextlib.suppress(FileNotFoundError), write_faults_told(path), open(path) as file:
            os.fsync(file.fileno())


def _read_checkpoint(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:  # torch.load does not look at the checksums it wrote
        if damaged := archive.testzip():
            raise ValueError(f"wrong checksum of {damaged}")
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


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


def _json(record: dict[str, Any], indent: int | None = None) -> str:
    finite = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in record.items()
    }
    return json.dumps(finite, allow_nan=False, indent=indent)


def _torch_bytes(state: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()
