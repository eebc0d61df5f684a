"""Combines the tensors of several layers into one, so that one call selects weights in all of them."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from dst.sparsity.layer import SparseLayer

_SMALL_LAYER = 2**17
"""Up to this many weights per layer, call overhead exceeds the cost of the selection, so layers share one call."""


def group_by_size(layers: list[SparseLayer]) -> list[list[SparseLayer]]:
    """Groups small layers with equally many weights; every large layer is a group of its own."""
    groups: dict[object, list[SparseLayer]] = {}
    for layer in layers:
        size = layer.weight.numel()
        groups.setdefault(size if size <= _SMALL_LAYER else layer.name, []).append(layer)
    return list(groups.values())


def stack_rows(tensors: Iterable[Tensor]) -> Tensor:
    """Flattens tensors of equal size into the rows of one ``(tensors, size)`` matrix; a single tensor is a view."""
    flat = [tensor.detach().reshape(1, -1) for tensor in tensors]
    return flat[0] if len(flat) == 1 else torch.cat(flat)


def concatenate(tensors: Iterable[Tensor]) -> Tensor:
    """Flattens tensors of any sizes into one vector."""
    return torch.cat([tensor.flatten() for tensor in tensors])
