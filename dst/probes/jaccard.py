"""Which weights each criterion would prune, for the Jaccard index of their choices (the paper, Section 5.4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor

from dst.probes.base import Probe, View
from dst.sparsity import Criterion, make_criterion

FIRST = "first"


@dataclass(frozen=True)
class Jaccard(Probe):
    """The sets of weights that a topology update would prune by several criteria, all at the run's present state.

    The sets are chosen by the code of the update itself: same masks, weights, gradient, prune fraction and scope. That
    of the run's own criterion is what the update then prunes. The criterion ``random`` draws from a stream of its own.
    Runs without topology updates by a criterion have the masks of step 1 alone.

    Attributes:
        every: measures at the topology updates whose step is a multiple of it; ``first``: at the first one of each
            phase, as with ``stop``. At step 1 it notes the initial masks.
        criteria: names of the other criteria, each with its default parameters.
        stop: ends the run right after its first topology update; part of the run's id.
    """

    of_updates: ClassVar[bool] = True

    every: int | str = 3200  # type: ignore[assignment]  # also a word
    criteria: list[str] = field(default_factory=list)
    stop: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.every, str):
            if self.every != FIRST:
                raise ValueError(f"probes.{self.name}.every={self.every}: give a number of steps, or {FIRST}")
        else:
            super().__post_init__()
        try:
            self.make_criteria()
        except ValueError as error:
            raise ValueError(f"probes.{self.name}.criteria={self.criteria}: {error}") from error

    def make_criteria(self) -> dict[str, Criterion]:
        """Returns the other criteria by name; raises ValueError for an unknown one."""
        return {name: make_criterion(name) for name in self.criteria}

    def due(self, step: int, update: int) -> bool:
        """Whether to measure at a step; see :meth:`Probe.due`."""
        first = self.stop or isinstance(self.every, str)
        chosen = update == 1 if first else step % int(self.every) == 0
        return step == 1 or (update > 0 and chosen)

    def measure(self, view: View) -> dict[str, Any]:
        """Returns sets of each layer, bool: ``active``, ``removed`` by the own criterion, and by each other one's name.

        Where no update is due, ``active`` alone.
        """
        found: dict[str, Mapping[str, Tensor]] = {"active": {name: mask.clone() for name, mask in view.masks.items()}}
        if view.would_prune:
            found["removed"] = view.would_prune(None)
            found |= {
                name: view.would_prune(criterion)
                for name, criterion in self.make_criteria().items()
                if criterion != view.criterion
            }
        return {"layers": {name: {key: sets[name] for key, sets in found.items()} for name in view.masks}}
