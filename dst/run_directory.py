"""The run directory: the one place where a run's results are, and the only thing the analysis reads."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import math
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor

from dst.atomic import atomic_file, disk_full_told
from dst.config import Config, run_id
from dst.errors import UserError
from dst.outcome import read_summary
from dst.records import Damaged, keep_aside

log = logging.getLogger("dst")

LOGS = ("metrics.jsonl", "topology.jsonl")


class RunDirectory:
    """``<output_dir>/runs/<run_id>/``: config, a line an epoch and an update, masks, checkpoint and, last, the summary.

    Every file but the two logs is written atomically. The run is finished exactly when ``summary.json`` says so.
    """

    def __init__(self, config: Config) -> None:
        self.run_id = run_id(config)
        self.path = Path(config.output_dir).absolute() / "runs" / self.run_id
        self._config = config

    def create(self) -> None:
        """Makes the directory and writes ``config.yaml``; raises UserError where that is not allowed."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"output_dir={self._config.output_dir}: cannot be written to ({error.strerror})") from error
        self._write("config.yaml", OmegaConf.to_yaml(OmegaConf.structured(self._config)).encode())

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
            keep_aside(self.path / "summary.json")
        self._write("summary.json", (_json(summary, indent=1) + "\n").encode())

    def write_masks(self, masks: dict[str, Tensor]) -> None:
        """Writes ``masks.pt``: a bool tensor for each sparse weight by parameter name, none for a dense run."""
        self._write("masks.pt", _torch_bytes({name: mask.cpu().contiguous() for name, mask in masks.items()}))

    def append(self, file: str, record: dict[str, Any]) -> None:
        """Adds a line to ``metrics.jsonl`` or ``topology.jsonl``."""
        path = self.path / file
        with disk_full_told(path), open(path, "a") as lines:
            lines.write(_json(record) + "\n")

    def rewind(self, *, epoch: int, step: int) -> None:
        """Forgets what was logged after epoch ``epoch`` and after optimizer step ``step``."""
        self._keep_lines("metrics.jsonl", lambda record: record["epoch"] <= epoch)
        self._keep_lines("topology.jsonl", lambda record: record["step"] <= step)

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Writes ``checkpoint.pt``; the one before stays as ``checkpoint.previous.pt`` in case this one is damaged."""
        current, previous = self.path / "checkpoint.pt", self.path / "checkpoint.previous.pt"
        data = _torch_bytes(state)
        for log_file in LOGS:
            self._sync(log_file)  # a checkpoint that outlives a crashed node finds its lines in the logs
        if current.exists():
            previous.unlink(missing_ok=True)
            os.link(current, previous)
        self._write(current.name, data)

    def load_checkpoint(self) -> dict[str, Any] | None:
        """Returns the newest checkpoint that can be read, tensors on the host, or None; tells of one that cannot."""
        for name in ("checkpoint.pt", "checkpoint.previous.pt"):
            path = self.path / name
            if not path.exists():
                continue
            try:
                with zipfile.ZipFile(path) as archive:  # torch.load does not look at the checksums it wrote
                    if damaged := archive.testzip():
                        raise OSError(f"wrong checksum of {damaged}")
                state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
                return state
            except Exception as error:  # a damaged file fails in many ways, all of which mean the same
                reason = str(error).strip().splitlines()[0][:100]
                log.warning("%s is damaged and passed over (%s)", path, reason)
        return None

    def drop_checkpoints(self, *, previous_only: bool) -> None:
        """Removes the previous checkpoint, or both."""
        (self.path / "checkpoint.previous.pt").unlink(missing_ok=True)
        if not previous_only:
            (self.path / "checkpoint.pt").unlink(missing_ok=True)

    def count(self, file: str) -> int:
        """Returns the number of lines of a log, 0 where there is none."""
        path = self.path / file
        return len(path.read_text().splitlines()) if path.exists() else 0

    def _write(self, name: str, data: bytes) -> None:
        if (self.path / name).is_dir():
            keep_aside(self.path / name)
        with atomic_file(self.path / name) as file:
            file.write(data)

    def _sync(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError), disk_full_told(self.path / name), open(self.path / name) as file:
            os.fsync(file.fileno())

    def _keep_lines(self, name: str, keep: Callable[[dict[str, Any]], bool]) -> None:
        try:
            lines = (self.path / name).read_text().splitlines()
        except FileNotFoundError:
            return
        kept = [line for line in lines if (record := _parsed(line)) is not None and keep(record)]
        self._write(name, "".join(line + "\n" for line in kept).encode())


def _parsed(line: str) -> dict[str, Any] | None:
    """The record of a line, None for one cut short by a kill."""
    try:
        record: dict[str, Any] = json.loads(line)
    except json.JSONDecodeError:
        return None
    return record


def _json(record: dict[str, Any], indent: int | None = None) -> str:
    finite = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in record.items()
    }
    return json.dumps(finite, allow_nan=False, indent=indent)


def _torch_bytes(state: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()
