"""SCULPT-ing: cyclic training of a sparse network, then one pruning (Gadhikar et al., 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dst.procedures.base import Procedure
from dst.procedures.budget import evenly_divided
from dst.procedures.enough import AUTO, check_cycles, enough_cycles, most_cycles
from dst.training.phase import Phase

if TYPE_CHECKING:
    from dst.training.loop import Training


@dataclass(frozen=True)
class Sculpt(Procedure):
    """Trains in cycles on masks of ``start_density``, prunes all layers together to ``density``, trains one more cycle.

    ``initial_mask`` and ``distribution`` choose the first masks, the run's criterion prunes. Weights go on, the
    optimizer of each cycle is new. Within a cycle the masks stay, so ``update_period`` and ``growth`` have no effect.

    Attributes:
        start_density: of the first masks, ``density`` or more; 1: dense at first.
        cycles: before the pruning; 0: the first weights are pruned; ``auto``: until two in a row bring no more, see
            :func:`~dst.procedures.enough.enough_cycles`, and at most ``max_cycles``.
        budget: epochs of all cycles together, the last one included, whose lengths then differ by one epoch at most.
            None: each has ``recipe.epochs``.
        extend: a control: the cycles before the pruning become one, as long as they are together.
        max_cycles: of ``auto``; 1 or more.
    """

    start_density: float = 0.5
    cycles: int | str = 4
    budget: int | None = None
    extend: bool = False
    max_cycles: int = 20

    def __post_init__(self) -> None:
        if not 0 < self.start_density <= 1:
            raise ValueError(f"procedure.start_density={self.start_density:g}: must lie in (0, 1]")
        check_cycles(self.cycles, self.max_cycles, self.budget, fewest=0)
        if self.extend and self.cycles == AUTO:
            raise ValueError("procedure.cycles=auto: one cycle in place of several has a length; give a number")

    def phases(self, epochs: int, density: float | None) -> list[Phase]:
        """Returns a phase for each cycle, one without epochs where there is none, and the one after the pruning."""
        if density is None:
            raise ValueError("density=dense: prunes to a density; give a number")
        if self.start_density < density:
            raise ValueError(
                f"procedure.start_density={self.start_density:g}: must be density.value={density:g} or more"
            )
        lengths = [epochs] * (most_cycles(self.cycles, self.max_cycles) + 1)
        if self.budget is not None:
            lengths = evenly_divided(self.budget, len(lengths), f"{len(lengths)} cycles, the last one included")
        *before, last = lengths
        if self.extend or not before:
            before = [sum(before)]
        cycles = [
            Phase(f"cycle {number}", length, self.start_density, updates="none")
            for number, length in enumerate(before, start=1)
        ]
        return [*cycles, Phase("sculpted", last, density, updates="none")]

    def left_out(self, accuracies: Sequence[Sequence[float]]) -> int:
        """Returns the cycles left of ``max_cycles`` once those so far are enough; the pruning follows."""
        enough = self.cycles == AUTO and len(accuracies) <= self.max_cycles and enough_cycles(accuracies)
        return self.max_cycles - len(accuracies) if enough else 0

    def between(self, training: Training, following: Phase) -> None:
        """Prunes before the last cycle."""
        assert following.density is not None
        training.prune(following.density, "global")
