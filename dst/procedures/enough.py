"""When more cycles bring no more."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, pstdev

AUTO = "auto"

LAST_EPOCHS = 5
"""The epochs at the end of a cycle that tell its accuracy."""

PATIENCE = 2
"""The cycles in a row after which it is enough."""


def enough_cycles(accuracies: Sequence[Sequence[float]]) -> bool:
    """Returns whether the last two cycles brought no more than chance would.

    A cycle's accuracy is the mean over its last five epochs, or all if it has fewer, and its spread their standard
    deviation. A cycle brought more if its accuracy exceeds that of every cycle before it by more than its spread.

    Args:
        accuracies: on the validation split, of each epoch of each cycle so far.
    """
    ends = [epochs[-LAST_EPOCHS:] for epochs in accuracies]
    means = [fmean(end) for end in ends]
    brought_more = [number == 0 or means[number] > max(means[:number]) + pstdev(end) for number, end in enumerate(ends)]
    return len(ends) > PATIENCE and not any(brought_more[-PATIENCE:])


def most_cycles(cycles: int | str, max_cycles: int) -> int:
    """Returns the number of cycles that a plan counts.

    Args:
        cycles: a number or ``auto``.
        max_cycles: of ``auto``.
    """
    return max_cycles if isinstance(cycles, str) else cycles


def check_cycles(cycles: int | str, max_cycles: int, budget: int | None, *, fewest: int) -> None:
    """Checks the fields of a procedure with cycles.

    Args:
        cycles: a number or ``auto``.
        max_cycles: of ``auto``.
        budget: epochs of all cycles together, or None.
        fewest: cycles that the procedure can have.

    Raises:
        ValueError: for values outside these, or a budget of cycles whose number is not known.
    """
    if isinstance(cycles, str) and cycles != AUTO:
        raise ValueError(f"procedure.cycles={cycles}: must be {fewest} or more, or {AUTO}")
    if not isinstance(cycles, str) and cycles < fewest:
        raise ValueError(f"procedure.cycles={cycles}: must be {fewest} or more")
    if max_cycles < 1:
        raise ValueError(f"procedure.max_cycles={max_cycles}: must be 1 or more")
    if cycles == AUTO and budget is not None:
        raise ValueError(f"procedure.cycles={AUTO}: a budget is divided among cycles of a known number; leave one out")
