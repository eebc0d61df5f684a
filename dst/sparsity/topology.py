"""The two halves of a topology update as pure functions on masks: prune and grow.

Counts are exact and ties are broken by position. Everything runs on the tensors' device without host–device
synchronization; counts are validated on the CPU only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dst.sparsity.criteria import Criterion
from dst.sparsity.growth import Growth
from dst.sparsity.registry import resolve

Count = int | Sequence[int]
"""Number of weights to select: of one layer, or of each layer in a stack."""


def prune_mask(
    criterion: Criterion | str,
    weight: Tensor,
    grad: Tensor,
    mask: Tensor,
    n_prune: Count,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Returns the mask of the kept weights: ``mask`` without the ``n_prune`` active weights with the lowest scores.

    Args:
        criterion: scores the weights; a name means that criterion with its default parameters.
        weight: one layer's weights, of any shape, or several layers' stacked along the first dimension.
        grad: their gradient, in the shape of ``weight``.
        mask: bool, the active weights, in the shape of ``weight``.
        n_prune: number of weights to prune; a sequence has one number per stacked layer.
        generator: random stream for the criterion ``random``; None uses torch's global one.

    Raises:
        ValueError: if a layer has fewer active weights than ``n_prune``.
    """
    criterion = resolve("criterion", Criterion, criterion)
    return prune_scored(criterion, criterion(weight, grad, generator), weight, mask, n_prune)


def grow_mask(
    growth: Growth | str,
    weight: Tensor,
    grad: Tensor,
    mask: Tensor,
    n_grow: Count,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Returns ``mask`` with exactly ``n_grow`` more active weights: the inactive ones with the highest scores.

    Args:
        growth: scores the weights; a name means that rule with its default parameters.
        weight: one layer's weights, of any shape, or several layers' stacked along the first dimension.
        grad: their gradient, or their momentum if ``growth.signal`` says so, in the shape of ``weight``.
        mask: bool, the active weights, in the shape of ``weight``.
        n_grow: number of weights to grow; a sequence has one number per stacked layer.
        generator: random stream for the growth ``random``; None uses torch's global one.

    Raises:
        ValueError: if a layer has fewer inactive weights than ``n_grow``.
    """
    growth = resolve("growth", Growth, growth)
    return grow_highest(growth(weight, grad, generator), mask, n_grow)


def prune_scored(criterion: Criterion, scores: Tensor, weight: Tensor, mask: Tensor, n_prune: Count) -> Tensor:
    """Returns :func:`prune_mask` for given scores.

    Args:
        criterion: whether it prunes by sign or at both ends.
        scores: in the shape of ``weight``.
        weight: its signs matter for a criterion that prunes by sign.
        mask: bool, the active weights, in the shape of ``weight``.
        n_prune: see :func:`prune_mask`.
    """
    counts, (rows, weights, candidates) = _flatten_layers(n_prune, scores, weight, mask)
    _check_counts(counts, candidates, "prune", "active")
    if criterion.by_sign:
        pruned = _lowest_by_sign(rows, candidates, counts, weights)
    elif criterion.both_ends:
        pruned = _lowest(rows, candidates, (counts + 1) // 2)
        pruned = pruned | _lowest(rows.neg(), candidates & ~pruned, counts // 2)
    else:
        pruned = _lowest(rows, candidates, counts)
    return mask & ~pruned.view_as(mask)


def grow_highest(scores: Tensor, mask: Tensor, n_grow: Count) -> Tensor:
    """Returns :func:`grow_mask` for given scores.

    Args:
        scores: the highest are grown, in the shape of ``mask``.
        mask: bool, the active weights.
        n_grow: see :func:`grow_mask`.
    """
    counts, (rows, candidates) = _flatten_layers(n_grow, scores.neg(), ~mask)
    _check_counts(counts, candidates, "grow", "inactive")
    return mask | _lowest(rows, candidates, counts).view_as(mask)


def _lowest(scores: Tensor, candidates: Tensor, counts: Tensor) -> Tensor:
    """Selects the ``counts`` candidates with the lowest scores in each row; among equal scores the first ones.

    Args:
        scores: ``(rows, n)``; NaN counts as the lowest.
        candidates: bool ``(rows, n)``.
        counts: ``(rows, 1)`` int64, at most the number of candidates.

    Returns:
        The mask of the selected candidates, bool ``(rows, n)``.
    """
    if scores.dtype not in (torch.float32, torch.float64):
        scores = scores.float()
    limit = torch.finfo(scores.dtype).max
    keys = scores.nan_to_num(nan=-limit, posinf=limit, neginf=-limit).masked_fill_(~candidates, torch.inf)
    threshold = _nth_lowest(keys, counts)
    lowest = keys <= threshold
    if keys.device.type == "cpu" and torch.equal(_count(lowest), counts):  # the usual case: no tie to break
        return lowest
    below, tied = keys < threshold, keys == threshold
    room = counts - _count(below)
    return (below | (tied & (tied.cumsum(dim=1, dtype=torch.int32) <= room))) & candidates & (counts > 0)


def _lowest_by_sign(scores: Tensor, candidates: Tensor, counts: Tensor, weight: Tensor) -> Tensor:
    """Selects like :func:`_lowest`, ⌈n/2⌉ from the weights ≥ 0 and ⌊n/2⌋ from the others, see :class:`SET`."""
    positive = candidates & (weight >= 0)
    negative = candidates & ~positive  # includes NaN, so that both together are all candidates
    available_positive, available_negative = _count(positive), _count(negative)
    missing_negative = (counts // 2 - available_negative).clamp(min=0)
    n_positive = torch.minimum((counts + 1) // 2 + missing_negative, available_positive)
    return _lowest(scores, positive, n_positive) | _lowest(scores, negative, counts - n_positive)


def _nth_lowest(keys: Tensor, counts: Tensor) -> Tensor:
    """Returns the ``counts``-th lowest key of each row, ``(rows, 1)``; for a count of 0 the lowest."""
    index = (counts - 1).clamp(min=0)
    if keys.device.type == "cpu":  # about sixty times faster than a full sort
        rows = zip(keys.numpy(), index.view(-1).tolist(), strict=True)
        return torch.from_numpy(np.stack([np.partition(row, n)[n] for row, n in rows])).view(-1, 1)
    return keys.sort(dim=1).values.gather(1, index)


def _count(mask: Tensor) -> Tensor:
    """Returns the number of true values in each row, ``(rows, 1)`` int64."""
    if mask.device.type == "cpu":  # ten times faster than torch.sum
        return torch.tensor([[int(np.count_nonzero(row))] for row in mask.numpy()])
    return mask.sum(dim=1, keepdim=True)


def _flatten_layers(count: Count, *tensors: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Returns counts ``(rows, 1)`` and tensors ``(rows, n)``, one row per stacked layer; no host-to-device copy."""
    device = tensors[0].device
    if isinstance(count, Sequence):
        counts = torch.cat([torch.full((1, 1), n, device=device) for n in count])
    else:
        counts = torch.full((1, 1), count, device=device)
    return counts, [tensor.detach().reshape(len(counts), -1) for tensor in tensors]


def _check_counts(counts: Tensor, candidates: Tensor, verb: str, kind: str) -> None:
    if counts.device.type != "cpu":
        return
    available = _count(candidates)
    if bool(((counts > available) | (counts < 0)).any()):
        raise ValueError(
            f"cannot {verb} {counts.view(-1).tolist()} weights: the layer has {available.view(-1).tolist()} {kind} ones"
        )
