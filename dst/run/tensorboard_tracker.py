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
        self._log(metrics)

    def log_step(self, measures: dict[str, Any]) -> None:
        """Writes the measures of a step; see :meth:`Tracker.log_step`."""
        self._log(measures)

    def finish(self, summary: dict[str, Any]) -> None:
        """Writes the summary as text and closes the file."""
        if self._writer is None:
            return
        if summary:
            self._writer.add_text("summary", _as_code(summary), summary["epochs"])
        self._writer.close()

    def _log(self, values: dict[str, Any]) -> None:
        for name, value in values.items():
            if name != "step" and value is not None:
                self._writer.add_scalar(name, value, values["step"])


def _as_code(content: dict[str, Any]) -> str:
    return "".join(f"    {line}\n" for line in json.dumps(content, indent=2, default=str).splitlines())
