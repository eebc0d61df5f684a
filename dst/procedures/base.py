"""The interface of a procedure, and the phases that a config leads to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from dst.config.components import build
from dst.config.identity import DEFAULTS
from dst.training.phase import Phase

if TYPE_CHECKING:
    from dst.training.loop import Training


@dataclass(frozen=True)
class Procedure:
    """The phases of a run and what happens between them.

    A procedure is a frozen dataclass: its fields are the keys of its YAML file. It writes no files and does not ask
    which model or dataset it trains.
    """

    def phases(self, epochs: int, density: float | None) -> list[Phase]:
        """Returns the phases in order; depends on nothing but the arguments and the fields.

        Args:
            epochs: ``recipe.epochs``, the length of one phase.
            density: of the run at its end; None for a dense run.

        Raises:
            ValueError: for fields that cannot be together; the message names the field and what would be valid.
        """
        raise NotImplementedError

    def left_out(self, accuracies: Sequence[Sequence[float]]) -> int:
        """Returns how many of the phases that would follow are left out; by default none.

        Args:
            accuracies: on the validation split, of each epoch of each phase so far; the last one has just ended.
        """
        return 0

    def between(self, training: Training, following: Phase) -> None:
        """Changes the model between two phases: prunes it, or takes weights back. By default nothing.

        Args:
            training: at the end of a phase; its masks and weights go on into the next one.
            following: the phase that comes next.
        """


def planned_phases(config: Mapping[str, Any]) -> list[Phase]:
    """Returns the phases of a run, those included that it may leave out, without loading torch.

    Args:
        config: a checked config as plain containers; one from before there were procedures has a single phase.
    """
    node = config.get("procedure") or DEFAULTS["procedure"]
    return list(_phases(json.dumps(node, sort_keys=True), config["recipe"]["epochs"], config["density"]["value"]))


def planned_epochs(config: Mapping[str, Any]) -> int:
    """Returns the epochs of all phases of a run, see :func:`planned_phases`."""
    return sum(phase.epochs for phase in planned_phases(config))


@cache
def _phases(node: str, epochs: int, density: float | None) -> tuple[Phase, ...]:
    """Returns the phases of a procedure's node as JSON; cached, as thousands of runs of a plan share a procedure."""
    procedure: Procedure = build("procedure", json.loads(node), Procedure)
    return tuple(procedure.phases(epochs, density))
