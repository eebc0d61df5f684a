"""How long the cycles of cyclic training are, relative to each other."""

from __future__ import annotations

import math
from collections.abc import Callable

from dst.procedures.budget import equal


def _linear_increase(cycles: int) -> list[float]:
    return [float(number) for number in range(1, cycles + 1)]


def _exponential_increase(cycles: int) -> list[float]:
    return [2 ** (number / max(1, cycles - 1)) for number in range(cycles)]


def _cyclic_peak(cycles: int) -> list[float]:
    return [*_ramp(cycles // 2), *reversed(_ramp(cycles - cycles // 2))]


def _alternating(cycles: int) -> list[float]:
    return [1.0 if number % 2 == 0 else 0.5 for number in range(cycles)]


def _plateau(cycles: int) -> list[float]:
    ramp = _ramp(cycles // 2)
    return [*ramp, *[1 / cycles] * (cycles - len(ramp))]


def _ramp(cycles: int) -> list[float]:
    """Returns linearly increasing shares that add up to 1."""
    numbers = _linear_increase(cycles)
    return [number / math.fsum(numbers) for number in numbers]


STRATEGIES: dict[str, Callable[[int], list[float]]] = {
    "constant": equal,
    "linear_increase": _linear_increase,
    "linear_decrease": lambda cycles: _linear_increase(cycles)[::-1],
    "exponential_increase": _exponential_increase,
    "exponential_decrease": lambda cycles: _exponential_increase(cycles)[::-1],
    "cyclic_peak": _cyclic_peak,
    "alternating": _alternating,
    "plateau": _plateau,
}
"""By name, what returns the shares of the epochs for a number of cycles.

``linear``: 1, 2, …, n. ``exponential``: geometric, from 1 to 2. ``cyclic_peak``: a linear ramp up over half of the
cycles, rounded down, and one down over the others, of equal sums. ``alternating``: 1, ½, 1, … ``plateau``: a linear
ramp over half of the cycles, rounded down, of sum 1, then 1/n each.
"""
