"""The choices of the config group ``tracker``."""

from __future__ import annotations

from dst.config import TrackerConfig
from dst.run.tracker import Tracker
from dst.run.wandb_tracker import WandbTracker


def make_tracker(cfg: TrackerConfig) -> Tracker:
    """Returns the tracker called ``cfg.name``: ``local`` or ``wandb``."""
    return WandbTracker(cfg) if cfg.name == "wandb" else Tracker()
