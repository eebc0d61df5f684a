"""SCULPT-ing: cyclic training of a sparse network, then one pruning (Gadhikar et al., 2024)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dst.procedures.base import Procedure
from dst.procedures.budget import divided, equal
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
        cycles: before the pruning; 0: the first weights are pruned.
        budget: epochs of all cycles together, the last one included; they are of equal length then, the last one taking
            the rest. None: each has ``recipe.epochs``.
        extend: a control: the cycles before the pruning become one, as long as they are together.
    """

    start_density: float = 0.5
    cycles: int = 4
    budget: int | None = None
    extend: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.start_density <= 1:
            raise ValueError(f"procedure.start_density={self.start_density:g}: must lie in (0, 1]")
        if self.cycles < 0:
            raise ValueError(f"procedure.cycles={self.cycles}: must be 0 or more")

    def phases(self, epochs: int, density: float | None) -> list[Phase]:
        """Returns a phase for each cycle, one without epochs where there is none, and the one after the pruning."""
        if density is None:
            raise ValueError("density=dense: prunes to a density; give a number")
        if self.start_density < density:
            raise ValueError(
                f"procedure.start_density={self.start_density:g}: must be density.value={density:g} or more"
            )
        lengths = [epochs] * (self.cycles + 1)
        if self.budget is not None:
            lengths = divided(self.budget, equal(len(lengths)), f"{len(lengths)} cycles, the last one included")
        *before, last = lengths
        if self.extend or not before:
            before = [sum(before)]
        cycles = [
            Phase(f"cycle {number}", length, self.start_density, updates="none")
            for number, length in enumerate(before, start=1)
        ]
        return [*cycles, Phase("sculpted", last, density, updates="none")]

    def between(self, training: Training, following: Phase) -> None:
        """Prunes before the last cycle."""
        assert following.density is not None
        training.prune(following.density, "global")
