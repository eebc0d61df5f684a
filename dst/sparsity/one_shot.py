"""Prunes layers together by scores, at once."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from dst.sparsity.criteria import Criterion
from dst.sparsity.layer import SparseLayer
from dst.sparsity.stacking import concatenate
from dst.sparsity.topology import prune_scored


def kept_masks(
    layers: Sequence[SparseLayer], criterion: Criterion, scores: Sequence[Tensor], count: int
) -> list[Tensor]:
    """Returns the bool mask of each layer without the ``count`` active weights that score lowest in all of them.

    Args:
        layers: whose weights compete.
        criterion: that the scores are of.
        scores: of the layers, in the shapes of their weights.
        count: how many weights to prune, at most those active in the layers.
    """
    weight, mask = concatenate(layer.weight for layer in layers), concatenate(layer.mask for layer in layers)
    kept = prune_scored(criterion, concatenate(scores), weight, mask, count)
    parts = kept.split([layer.weight.numel() for layer in layers])
    return [part.view(layer.mask.shape) for layer, part in zip(layers, parts, strict=True)]
