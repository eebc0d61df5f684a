"""Prunes layers together by the scores of a criterion, at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dst.sparsity.criteria import Criterion
from dst.sparsity.layer import SparseLayer
from dst.sparsity.stacking import concatenate
from dst.sparsity.topology import prune_lowest


def kept_masks(
    layers: Sequence[SparseLayer],
    criterion: Criterion,
    gradients: Sequence[Tensor],
    count: int,
    generator: torch.Generator,
) -> list[Tensor]:
    """Returns the bool mask of each layer without the ``count`` active weights that score lowest in all of them.

    Args:
        layers: whose weights compete.
        criterion: scores the weights.
        gradients: of the layers, in the shapes of their weights.
        count: how many weights to prune, at most those active in the layers.
        generator: on the layers' device, for the criterion ``random``.
    """
    scores = [criterion(layer.weight, gradient, generator) for layer, gradient in zip(layers, gradients, strict=True)]
    weight, mask = concatenate(layer.weight for layer in layers), concatenate(layer.mask for layer in layers)
    kept = prune_lowest(concatenate(scores), weight, mask, count, by_sign=criterion.by_sign)
    parts = kept.split([layer.weight.numel() for layer in layers])
    return [part.view(layer.mask.shape) for layer, part in zip(layers, parts, strict=True)]
