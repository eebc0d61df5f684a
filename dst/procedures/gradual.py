"""Gradual magnitude pruning: dense at first, pruned while it trains (Zhu & Gupta, 2017)."""

from __future__ import annotations

from dataclasses import dataclass

from dst.procedures.base import Procedure
from dst.training.phase import Phase


@dataclass(frozen=True)
class Gradual(Procedure):
    """One phase that starts dense; every ``update_period`` steps the criterion prunes until ``density`` is reached.

    See :class:`dst.sparsity.GradualPruning` for the cubic schedule.

    Attributes:
        start: when pruning begins, as a share of all optimizer steps.
        stop: when the density is reached, as a share of all optimizer steps.
    """

    start: float = 0.25
    stop: float = 0.75

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop <= 1:
            raise ValueError(
                f"procedure.start={self.start:g}, procedure.stop={self.stop:g}: must be shares of the training in "
                "[0, 1], start below stop"
            )

    def phases(self, epochs: int, density: float | None) -> list[Phase]:
        """Returns one phase of ``epochs``."""
        return [Phase("gradual", epochs, density, updates="gradual", prune_span=(self.start, self.stop))]
