"""Makes the trackers of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dst.config import TrackerConfig
from dst.run.tensorboard_tracker import TensorBoardTracker
from dst.run.tracker import Tracker
from dst.run.wandb_tracker import WandbTracker


class Trackers(Tracker):
    """Several trackers at once.

    Args:
        trackers: called in this order.
    """

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self.trackers = trackers

    def start(self, run_id: str, config: dict[str, Any], run_dir: Path, code: Any = None) -> None:
        """Starts all; see :meth:`Tracker.start`."""
        for tracker in self.trackers:
            tracker.start(run_id, config, run_dir, code)

    def log_epoch(self, metrics: dict[str, Any]) -> None:
        """Reports a line of ``metrics.jsonl`` to all."""
        for tracker in self.trackers:
            tracker.log_epoch(metrics)

    def log_step(self, measures: dict[str, Any]) -> None:
        """Reports the measures of a step to all."""
        for tracker in self.trackers:
            tracker.log_step(measures)

    def finish(self, summary: dict[str, Any]) -> None:
        """Ends all reports."""
        for tracker in self.trackers:
            tracker.finish(summary)


def make_tracker(cfg: TrackerConfig) -> Tracker:
    """Returns the tracker called ``cfg.name``, ``local`` or ``wandb``, with TensorBoard beside it if that is chosen."""
    own = WandbTracker(cfg) if cfg.name == "wandb" else Tracker()
    return Trackers([TensorBoardTracker(), own]) if cfg.tensorboard else own
