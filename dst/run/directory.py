"""The run directory: the one place where a run's results are, and the only thing the analysis reads."""

from __future__ import annotations

import io
import logging
import os
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor

from dst.config import Config, run_id
from dst.errors import PlaceError, UserError, is_of_place
from dst.files.atomic import atomic_file
from dst.files.lock import Locked
from dst.files.records import Damaged, keep_aside
from dst.run.layout import (
    CHECKPOINT,
    CONFIG,
    MASKS,
    PREVIOUS_CHECKPOINT,
    PROBES,
    SNAPSHOTS,
    SUMMARY,
    run_dir,
    snapshot_name,
)
from dst.run.logs import LOGS, Logs, to_json
from dst.run.outcome import read_summary

log = logging.getLogger("dst")


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
        self.logs = Logs(self.path, lambda: self.guard(), self._write)

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
        self._write(SUMMARY, (to_json(summary, indent=1) + "\n").encode())

    def write_masks(self, masks: Mapping[str, Tensor]) -> None:
        """Writes ``masks.pt``: a bool tensor for each sparse weight by parameter name, none for a dense run."""
        self._write(MASKS, _torch_bytes(_on_host(masks)))

    def write_snapshot(self, step: int, weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
        """Writes ``snapshots/<step>.pt``, which stays when the run is finished.

        Args:
            step: optimizer steps taken.
            weights: parameters and buffers by name.
            masks: as of :meth:`write_masks`.
        """
        (self.path / SNAPSHOTS).mkdir(exist_ok=True)
        state = {"run_id": self.run_id, "step": step, "model": _on_host(weights), "masks": _on_host(masks)}
        self._write(snapshot_name(step), _torch_bytes(state))

    def read_masks(self) -> dict[str, Tensor]:
        """Returns the masks that the finished run ended with; raises UserError where they cannot be read."""
        return self._read_result(MASKS)

    def read_weights(self, step: int | str) -> dict[str, Tensor] | None:
        """Returns parameters and buffers of the finished run by name; None for a step that it kept nothing of.

        Args:
            step: optimizer steps taken, or ``last``.

        Raises:
            UserError: for a file that cannot be read, or weights of the end that were not kept.
        """
        if step != "last":
            name = snapshot_name(step)
            return self._read_result(name)["model"] if (self.path / name).exists() else None
        if not self.has_checkpoint:
            raise UserError(
                f"{self.path}: kept no weights (checkpoint.keep=nothing); train it anew with checkpoint.keep=weights "
                "rerun=true"
            )
        weights: dict[str, Tensor] = self._read_result(CHECKPOINT)["training"]["model"]
        return weights

    def _read_result(self, name: str) -> dict[str, Any]:
        try:
            return read_checkpoint(self.path / name)
        except Exception as error:  # a damaged file fails in many ways
            raise UserError(
                f"{self.path / name}: cannot be read ({error}); train the run anew with rerun=true"
            ) from error

    @property
    def has_checkpoint(self) -> bool:
        """Whether an attempt at the run left a checkpoint, though perhaps a damaged one."""
        return any((self.path / name).exists() for name in (CHECKPOINT, PREVIOUS_CHECKPOINT))

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Writes ``checkpoint.pt``; the one before becomes ``checkpoint.previous.pt`` once this one is wholly written.

        It also holds the run's id, and checksums of the lines logged so far, without which it would be worth nothing.
        """
        current, previous = self.path / CHECKPOINT, self.path / PREVIOUS_CHECKPOINT
        data = _torch_bytes({"run_id": self.run_id, "logs": self.logs.checksums, **state})
        self.logs.sync()

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
                state = read_checkpoint(path)
                if state.get("run_id", self.run_id) != self.run_id:
                    raise ValueError(f"of run {state['run_id']}")
                restore(state)
                training = state["training"]
                self.logs.rewind(epoch=training["epoch"], step=training["step"], checksums=state.get("logs"))
                return True
            except Exception as error:  # a damaged file fails in many ways, all of which mean the same
                if isinstance(error, (UserError, Locked)) or is_of_place(error):
                    raise
                self._set_aside(path, error)
        self.logs.rewind()
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
        yield from self.path.glob(f"{SNAPSHOTS}/.*.tmp")
        yield from self.path.glob(f"{PROBES}/.*.tmp")

    def _write(self, name: str, data: bytes) -> None:
        if (self.path / name).is_dir():
            keep_aside(self.path / name)
        with atomic_file(self.path / name, before=lambda: self.guard()) as file:
            file.write(data)


def _on_host(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Returns the content of a file of tensors, on the host; raises some Exception for a damaged one."""
    with zipfile.ZipFile(path) as archive:  # torch.load does not look at the checksums it wrote
        if damaged := archive.testzip():
            raise ValueError(f"wrong checksum of {damaged}")
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def _torch_bytes(state: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()
