"""Several layers as one tensor, so that one call selects from all of them."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from dst.sparsity.layer import SparseLayer

_SMALL = 2**17
"""Weights of a layer up to which the calls cost more than the selection, so that several layers share them."""


def batches(layers: list[SparseLayer]) -> list[list[SparseLayer]]:
    """Returns layers in the order of the model, small ones of one size together."""
    found: dict[object, list[SparseLayer]] = {}
    for layer in layers:
        size = layer.weight.numel()
        found.setdefault(size if size <= _SMALL else layer.name, []).append(layer)
    return list(found.values())


def rows(tensors: Iterable[Tensor]) -> Tensor:
    """Returns tensors of one size as the rows of a matrix; a view of it where there is only one."""
    flat = [tensor.detach().reshape(1, -1) for tensor in tensors]
    return flat[0] if len(flat) == 1 else torch.cat(flat)


def joined(tensors: Iterable[Tensor]) -> Tensor:
    """Returns all values of all tensors in a row."""
    return torch.cat([tensor.flatten() for tensor in tensors])
