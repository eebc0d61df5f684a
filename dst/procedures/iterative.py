"""Iterative pruning: train, prune a share of the weights, train again, until the density is reached."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dst.errors import unknown
from dst.procedures.base import Procedure
from dst.procedures.budget import evenly_divided
from dst.training.phase import Phase

if TYPE_CHECKING:
    from dst.training.loop import Training

SCOPES = ("global", "local")
_MOST_LEVELS = 1000


@dataclass(frozen=True)
class LRR(Procedure):
    """Learning-rate rewinding: each level goes on with the weights of the one before (Renda et al., 2020).

    Level 0 is dense; level k has density (1 − ``prune_rate``)^k, the last one exactly the run's. Each has the whole
    learning-rate schedule and a new optimizer. The run's criterion prunes between two levels; within a level the masks
    stay, so ``update_period``, ``growth``, ``initial_mask`` and ``distribution`` have no effect.

    Attributes:
        prune_rate: the share of the remaining weights that each level prunes.
        budget: epochs of all levels together, whose lengths then differ by one epoch at most; None: each
            level has ``recipe.epochs``.
        scope: ``global``: the weights of all layers compete; ``local``: each layer is pruned to the level's density.
    """

    prune_rate: float = 0.2
    budget: int | None = None
    scope: str = "global"

    def __post_init__(self) -> None:
        if not 0 < self.prune_rate < 1:
            raise ValueError(f"procedure.prune_rate={self.prune_rate:g}: must lie between 0 and 1")
        if self.scope not in SCOPES:
            raise ValueError(f"procedure.scope={self.scope}: {unknown(self.scope, SCOPES)}")

    @property
    def rewinds_to(self) -> int | None:
        """The epochs of level 0 after which it had the weights that every later level starts from; None: no rewind."""
        return None

    def phases(self, epochs: int, density: float | None) -> list[Phase]:
        """Returns a phase for each level."""
        if density is None:
            raise ValueError("density=dense: prunes to a density; give a number")
        densities = self._densities(density)
        lengths = [epochs] * len(densities)
        if self.budget is not None:
            counted = f"{len(densities)} levels (density.value={density:g}, procedure.prune_rate={self.prune_rate:g})"
            lengths = evenly_divided(self.budget, len(densities), counted)
        if self.rewinds_to is not None and self.rewinds_to > lengths[0]:
            raise ValueError(
                f"procedure.rewind_epoch={self.rewinds_to}: must be {lengths[0]}, the epochs of a level, or fewer"
            )
        return [
            Phase(f"level {number}", length, level, updates="none", keep_at=self.rewinds_to if number == 0 else None)
            for number, (length, level) in enumerate(zip(lengths, densities, strict=True))
        ]

    def _densities(self, density: float) -> list[float]:
        if (count := math.log(density) / math.log1p(-self.prune_rate)) > _MOST_LEVELS:
            raise ValueError(
                f"procedure.prune_rate={self.prune_rate:g}: takes {count:.0f} levels to density.value={density:g}; "
                f"raise it until {_MOST_LEVELS} are enough"
            )
        found = [1.0]
        while found[-1] * (1 - self.prune_rate) > density * (1 + 1e-9):
            found.append((1 - self.prune_rate) ** len(found))
        return [*found, density] if density < 1 else found

    def between(self, training: Training, following: Phase) -> None:
        """Prunes by the trained weights; then takes back earlier ones if the method does."""
        assert following.density is not None
        training.prune(following.density, self.scope)
        if self.rewinds_to is not None:
            training.model.load_state_dict(training.kept)


@dataclass(frozen=True)
class IMP(LRR):
    """Iterative magnitude pruning: each level starts from the weights at initialization (Frankle & Carbin, 2019).

    Batch-norm parameters and statistics are taken back too. For the attributes see :class:`LRR`.
    """

    @property
    def rewinds_to(self) -> int | None:
        """The start of level 0."""
        return 0


@dataclass(frozen=True)
class WR(LRR):
    """Weight rewinding: each level starts from the weights early in level 0 (Frankle et al., 2020).

    Batch-norm parameters and statistics are taken back too. For the other attributes see :class:`LRR`.

    Attributes:
        rewind_epoch: the epochs of level 0 after which it had these weights.
    """

    rewind_epoch: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rewind_epoch < 0:
            raise ValueError(f"procedure.rewind_epoch={self.rewind_epoch}: must be 0 or more")

    @property
    def rewinds_to(self) -> int | None:
        """``rewind_epoch``."""
        return self.rewind_epoch
