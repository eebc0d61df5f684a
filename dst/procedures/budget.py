"""Divides the epochs of a run among its phases."""

from __future__ import annotations

import math
from collections.abc import Sequence


def divided(budget: int, shares: Sequence[float], counted: str) -> list[int]:
    """Returns the epochs of each phase, in proportion to ``shares``, rounded down; the last phase takes the rest.

    Args:
        budget: epochs of all phases together.
        shares: above 0, one for each phase.
        counted: what says how many phases there are, for the error.

    Raises:
        ValueError: if a phase would have no epoch; says the smallest budget that is enough.
    """
    enough = math.ceil(round(sum(shares) / min(shares), 6))
    if budget < enough:
        raise ValueError(f"procedure.budget={budget}: must be {enough} epochs or more, one for each of {counted}")
    lengths = [int(round(budget * share / sum(shares), 6)) for share in shares]
    return [*lengths[:-1], budget - sum(lengths[:-1])]


def evenly_divided(budget: int, count: int, counted: str) -> list[int]:
    """Returns the epochs of phases of equal length; those of the rest go one each to the last phases.

    Args:
        budget: epochs of all phases together.
        count: number of phases.
        counted: what says how many phases there are, for the error.

    Raises:
        ValueError: if a phase would have no epoch.
    """
    divided(budget, equal(count), counted)  # refuses one that is too small
    each, rest = divmod(budget, count)
    return [each] * (count - rest) + [each + 1] * rest


def equal(count: int) -> list[float]:
    """Returns shares of phases of equal length."""
    return [1.0] * count
