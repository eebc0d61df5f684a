"""Cyclic training: the learning-rate schedule again and again (Gadhikar et al., 2024)."""

from __future__ import annotations

from dataclasses import dataclass

from dst.procedures.base import Procedure
from dst.training.phase import Phase


@dataclass(frozen=True)
class Cyclic(Procedure):
    """Trains ``cycles`` times with the whole learning-rate schedule; weights and masks go on, the optimizer is new.

    With topology updates each cycle has its own prune-fraction schedule.

    Attributes:
        cycles: how many, 1 or more.
        budget: epochs of all cycles together, which are of equal length then, the last one taking the rest; None: each
            cycle has ``recipe.epochs``.
    """

    cycles: int = 5
    budget: int | None = None

    def __post_init__(self) -> None:
        if self.cycles < 1:
            raise ValueError(f"procedure.cycles={self.cycles}: must be 1 or more")
        if self.budget is not None and self.budget < self.cycles:
            raise ValueError(
                f"procedure.budget={self.budget}: must be {self.cycles} epochs or more, one for each of "
                f"procedure.cycles={self.cycles}"
            )

    def phases(self, epochs: int, density: float | None) -> list[Phase]:
        """Returns a phase for each cycle."""
        lengths = [epochs] * self.cycles
        if self.budget is not None:
            lengths = [self.budget // self.cycles] * self.cycles
            lengths[-1] += self.budget % self.cycles
        return [Phase(f"cycle {number}", length, density) for number, length in enumerate(lengths, start=1)]
