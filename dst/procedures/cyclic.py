"""Cyclic training: the learning-rate schedule again and again (Gadhikar et al., 2024)."""

from __future__ import annotations

from dataclasses import dataclass

from dst.errors import unknown
from dst.procedures.base import Procedure
from dst.procedures.budget import divided
from dst.procedures.cycle_lengths import STRATEGIES
from dst.training.phase import Phase


@dataclass(frozen=True)
class Cyclic(Procedure):
    """Trains ``cycles`` times with the whole learning-rate schedule; weights and masks go on, the optimizer is new.

    With topology updates each cycle has its own prune-fraction schedule.

    Attributes:
        cycles: how many, 1 or more.
        budget: epochs of all cycles together, the last one taking the rest; None: each cycle has ``recipe.epochs``.
        strategy: how the budget is divided, one of :data:`~dst.procedures.cycle_lengths.STRATEGIES`.
    """

    cycles: int = 5
    budget: int | None = None
    strategy: str = "constant"

    def __post_init__(self) -> None:
        if self.cycles < 1:
            raise ValueError(f"procedure.cycles={self.cycles}: must be 1 or more")
        if self.strategy not in STRATEGIES:
            raise ValueError(f"procedure.strategy={self.strategy}: {unknown(self.strategy, STRATEGIES)}")
        if self.strategy != "constant" and self.budget is None:
            raise ValueError(f"procedure.strategy={self.strategy}: divides a budget; give procedure.budget=… epochs")
        self.phases(1, None)

    def phases(self, epochs: int, density: float | None) -> list[Phase]:
        """Returns a phase for each cycle."""
        lengths = [epochs] * self.cycles
        if self.budget is not None:
            shares = STRATEGIES[self.strategy](self.cycles)
            lengths = divided(self.budget, shares, f"procedure.cycles={self.cycles}")
        return [Phase(f"cycle {number}", length, density) for number, length in enumerate(lengths, start=1)]
