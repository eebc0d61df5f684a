"""A phase: a stretch of training with its own learning-rate schedule, optimizer and topology updates."""

from __future__ import annotations

from dataclasses import dataclass

UPDATES = ("none", "dynamic", "gradual")
"""What may happen to the masks within a phase: nothing, prune and grow, or prune until a density is reached."""


@dataclass(frozen=True)
class Phase:
    """A stretch of training. Phases are known before a run starts, so that plans can count and cost them.

    Attributes:
        name: such as ``cycle 2``.
        epochs: its length.
        updates: one of :data:`UPDATES`; has no effect on a dense run.
        prune_span: of gradual updates: when pruning begins and when it ends, as shares of the phase's steps.
        starts_dense: whether all weights are active at its first step, if it is the first phase; else the masks are
            drawn at the run's density. A later phase goes on with the masks of the one before.
    """

    name: str
    epochs: int
    updates: str = "dynamic"
    prune_span: tuple[float, float] = (0.0, 1.0)
    starts_dense: bool = False

    def __post_init__(self) -> None:
        if self.updates not in UPDATES:
            raise ValueError(f"updates={self.updates}: choose {' or '.join(UPDATES)}")
        if self.epochs < 0:
            raise ValueError(f"epochs={self.epochs}: must be 0 or more")
