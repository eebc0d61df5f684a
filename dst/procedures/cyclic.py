"""Cyclic training: the learning-rate schedule again and again (Gadhikar et al., 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dst.errors import unknown
from dst.procedures.base import Procedure
from dst.procedures.budget import divided
from dst.procedures.cycle_lengths import STRATEGIES
from dst.procedures.enough import AUTO, check_cycles, enough_cycles, most_cycles
from dst.training.phase import Phase


@dataclass(frozen=True)
class Cyclic(Procedure):
    """Trains ``cycles`` times with the whole learning-rate schedule; weights and masks go on, the optimizer is new.

    With topology updates each cycle has its own prune-fraction schedule.

    Attributes:
        cycles: how many, 1 or more; ``auto``: until two in a row bring no more, see
            :func:`~dst.procedures.enough.enough_cycles`, and at most ``max_cycles``.
        budget: epochs of all cycles together, the last one taking the rest; None: each cycle has ``recipe.epochs``.
        strategy: how the budget is divided, one of :data:`~dst.procedures.cycle_lengths.STRATEGIES`.
        max_cycles: of ``auto``; 1 or more.
    """

    cycles: int | str = 5
    budget: int | None = None
    strategy: str = "constant"
    max_cycles: int = 20

    def __post_init__(self) -> None:
        check_cycles(self.cycles, self.max_cycles, self.budget, fewest=1)
        if self.strategy not in STRATEGIES:
            raise ValueError(f"procedure.strategy={self.strategy}: {unknown(self.strategy, STRATEGIES)}")
        if self.strategy != "constant" and self.budget is None:
            raise ValueError(f"procedure.strategy={self.strategy}: divides a budget; give procedure.budget=… epochs")
        self.phases(1, None)

    def phases(self, epochs: int, density: float | None) -> list[Phase]:
        """Returns a phase for each cycle."""
        cycles = most_cycles(self.cycles, self.max_cycles)
        lengths = [epochs] * cycles
        if self.budget is not None:
            lengths = divided(self.budget, STRATEGIES[self.strategy](cycles), f"procedure.cycles={cycles}")
        return [Phase(f"cycle {number}", length, density) for number, length in enumerate(lengths, start=1)]

    def left_out(self, accuracies: Sequence[Sequence[float]]) -> int:
        """Returns the cycles left of ``max_cycles`` once those so far are enough."""
        enough = self.cycles == AUTO and enough_cycles(accuracies)
        return self.max_cycles - len(accuracies) if enough else 0
