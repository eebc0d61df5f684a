"""Distributes an overall density over the layers and draws random masks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from dst.sparsity.checks import check_fraction

Shape = Sequence[int]


def layer_densities(shapes: Sequence[Shape], density: float, distribution: str = "erk") -> list[float]:
    """Returns the density of each layer such that the overall density is ``density``.

    Args:
        shapes: the layers' weight shapes, in the order of the model's parameters: ``(out, in)`` or
            ``(out, in, *kernel)``.
        density: overall density D in (0, 1].
        distribution: ``erk`` (Evci et al., 2020), ``er`` (Mocanu et al., 2018), ``balanced`` (as many active weights in
            every layer, or all of a smaller one), ``uniform``, or ``uniform_plus`` (Gale et al., 2019: a convolution as
            first layer stays dense, the last layer keeps at least 20 %).

    Raises:
        ValueError: if ``density`` is outside (0, 1] or too low for ``uniform_plus``, a shape is empty or has fewer
            than two dimensions, or the distribution is unknown.
    """
    check_fraction("density", density, above_zero=True)
    if distribution not in DISTRIBUTIONS:
        raise ValueError(f"distribution={distribution!r}: choose one of {', '.join(DISTRIBUTIONS)}")
    if not shapes:
        raise ValueError("shapes is empty: give the shape of one weight or more")
    for shape in shapes:
        if len(shape) < 2 or min(shape) < 1:
            raise ValueError(f"a weight of shape {tuple(shape)} cannot be sparse: it needs two dimensions of 1 or more")
    sizes = [math.prod(shape) for shape in shapes]
    return DISTRIBUTIONS[distribution](shapes, sizes, density)


def _erk(shapes: Sequence[Shape], sizes: list[int], density: float) -> list[float]:
    return _proportional([sum(shape) / size for shape, size in zip(shapes, sizes, strict=True)], sizes, density)


def _er(shapes: Sequence[Shape], sizes: list[int], density: float) -> list[float]:
    raw = [(shape[0] + shape[1]) / (shape[0] * shape[1]) for shape in shapes]
    return _proportional(raw, sizes, density)


def _balanced(shapes: Sequence[Shape], sizes: list[int], density: float) -> list[float]:
    return _proportional([1 / size for size in sizes], sizes, density)


def _uniform(shapes: Sequence[Shape], sizes: list[int], density: float) -> list[float]:
    return [density] * len(sizes)


def _uniform_plus(shapes: Sequence[Shape], sizes: list[int], density: float) -> list[float]:
    fixed = {len(shapes) - 1: max(density, 0.2)}
    if len(shapes[0]) > 2:
        fixed[0] = 1.0
    rest = sum(size for layer, size in enumerate(sizes) if layer not in fixed)
    budget = density * sum(sizes) - sum(share * sizes[layer] for layer, share in fixed.items())
    if budget < 0 or (rest == 0 and budget > 0):
        raise ValueError(
            f"density={density}: distribution='uniform_plus' keeps the first convolution dense and 20 % of the last "
            "layer, which takes more than that; choose a higher density or erk, er, uniform"
        )
    return [fixed.get(layer, budget / rest if rest else density) for layer in range(len(sizes))]


def _proportional(raw: list[float], sizes: list[int], density: float) -> list[float]:
    """Scales ``raw`` to the overall density; layers that would exceed 1 are made dense and the rest rescaled."""
    dense: set[int] = set()
    while len(dense) < len(sizes):
        budget = density * sum(sizes) - sum(sizes[layer] for layer in dense)
        scale = budget / sum(raw[layer] * sizes[layer] for layer in range(len(sizes)) if layer not in dense)
        over = {layer for layer in range(len(sizes)) if layer not in dense and scale * raw[layer] > 1}
        if not over:
            return [1.0 if layer in dense else scale * raw[layer] for layer in range(len(sizes))]
        dense |= over
    return [1.0] * len(sizes)


DISTRIBUTIONS: dict[str, Callable[[Sequence[Shape], list[int], float], list[float]]] = {
    "erk": _erk,
    "er": _er,
    "balanced": _balanced,
    "uniform": _uniform,
    "uniform_plus": _uniform_plus,
}


def kept_count(size: int, density: float) -> int:
    """Returns how many weights a density keeps of all layers together: N − ⌊(1 − D)·N⌋.

    Args:
        size: the number N of weights.
        density: D in (0, 1].
    """
    return size - math.floor((1 - density) * size)


def draw_mask(shape: Shape, density: float, generator: torch.Generator) -> Tensor:
    """Draws a random bool mask on the CPU with exactly ``max(1, round(density · size))`` active weights.

    Args:
        shape: of the mask.
        density: share of active weights in (0, 1].
        generator: CPU random stream to draw from.
    """
    size = math.prod(shape)
    n_active = max(1, round(density * size))
    mask = torch.zeros(size, dtype=torch.bool)
    mask[torch.randperm(size, generator=generator)[:n_active]] = True
    return mask.view(*shape)
