"""TensorBoard as a tracker: event files in the run directory, under the names that W&B gets."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from dst.errors import UserError
from dst.run.layout import TENSORBOARD
from dst.run.tracker import Tracker, display_name


class TensorBoardTracker(Tracker):
    """Writes event files to ``<run directory>/tensorboard``; the x axis is the optimizer step.

    Raises:
        UserError: if TensorBoard is not installed.
    """

    def __init__(self) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter  # imported here: slow, and an extra
        except ImportError as error:
            raise UserError(
                "tracker=tensorboard: it is not installed; type pip install 'fantastic-weights[tensorboard]'"
            ) from error
        self._make_writer: Any = SummaryWriter
        self._writer: Any = None

    def start(self, run_id: str, config: dict[str, Any], run_dir: Path, code: Any = None) -> None:
        """Opens an event file in place of earlier attempts', whose lines of the logs an attempt reports again."""
        shutil.rmtree(run_dir / TENSORBOARD, ignore_errors=True)
        self._writer = self._make_writer(run_dir / TENSORBOARD)
        told = {"run_id": run_id, "name": display_name(config), "code": code, "config": config}
        self._writer.add_text("config", _as_code(told))

    def log_epoch(self, metrics: dict[str, Any]) -> None:
        """Writes a line of ``metrics.jsonl``."""
        self._log({key: value for key, value in metrics.items() if key != "step"}, metrics["step"])

    def log_topology(self, update: dict[str, Any]) -> None:
        """Writes a line of ``topology.jsonl`` as ``topology/<layer>/<count>``."""
        metrics = {"topology/prune_fraction": update["prune_fraction"]}
        for layer, counts in update["layers"].items():
            metrics |= {f"topology/{layer}/{key}": count for key, count in counts.items()}
        self._log(metrics, update["step"])

    def finish(self, summary: dict[str, Any]) -> None:
        """Writes the summary as text and closes the file."""
        if self._writer is None:
            return
        if summary:
            self._writer.add_text("summary", _as_code(summary), summary["epochs"])
        self._writer.close()

    def _log(self, metrics: dict[str, Any], step: int) -> None:
        for name, value in metrics.items():
            if value is not None:
                self._writer.add_scalar(name, value, step)


def _as_code(content: dict[str, Any]) -> str:
    return "".join(f"    {line}\n" for line in json.dumps(content, indent=2, default=str).splitlines())
