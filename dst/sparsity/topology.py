"""The two halves of a topology update as pure functions on masks: prune and grow.

Exact counts, ties broken by position, everything on the tensors' device: no value is read back to the host (on the
CPU, where that costs nothing, counts are checked too).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dst.sparsity.criteria import Criterion
from dst.sparsity.growth import Growth
from dst.sparsity.registry import named_or_given

Count = int | Sequence[int]


def prune_mask(
    criterion: Criterion | str,
    weight: Tensor,
    grad: Tensor,
    mask: Tensor,
    n_prune: Count,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Returns the mask of the kept weights: ``mask`` less the ``n_prune`` active ones with the lowest scores.

    Args:
        criterion: scores the weights; a name means that criterion with its default parameters.
        weight, grad, mask: one layer's weights, their gradient and the bool mask of the active ones, of one shape.
        n_prune: how many; a sequence says that the first dimension stacks as many independent layers.
        generator: random stream for the criterion ``random``.

    Raises:
        ValueError: if a layer has fewer active weights than ``n_prune``.
    """
    criterion = named_or_given("criterion", Criterion, criterion)
    return prune_lowest(criterion(weight, grad, generator), weight, mask, n_prune, by_sign=criterion.by_sign)


def grow_mask(
    growth: Growth | str,
    weight: Tensor,
    grad: Tensor,
    mask: Tensor,
    n_grow: Count,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Returns ``mask`` with exactly ``n_grow`` more active weights, the inactive ones with the highest scores.

    Args:
        growth: scores the weights; a name means that rule with its default parameters.
        weight, grad, mask: one layer's weights, their gradient (or what ``growth.signal`` names) and the bool mask
            of the active ones, of one shape.
        n_grow: how many; a sequence says that the first dimension stacks as many independent layers.
        generator: random stream for the growth ``random``.

    Raises:
        ValueError: if a layer has fewer inactive weights than ``n_grow``.
    """
    growth = named_or_given("growth", Growth, growth)
    return grow_highest(growth(weight, grad, generator), mask, n_grow)


def prune_lowest(scores: Tensor, weight: Tensor, mask: Tensor, n_prune: Count, *, by_sign: bool = False) -> Tensor:
    """:func:`prune_mask` from scores at hand; ``by_sign`` splits the count between the signs of ``weight``."""
    counts, (rows, weights, candidates) = _rows(n_prune, scores, weight, mask)
    _check(counts, candidates, "prune", "active")
    pruned = _lowest_by_sign(rows, candidates, counts, weights) if by_sign else _lowest(rows, candidates, counts)
    return mask & ~pruned.view_as(mask)


def grow_highest(scores: Tensor, mask: Tensor, n_grow: Count) -> Tensor:
    """:func:`grow_mask` from scores at hand."""
    counts, (rows, candidates) = _rows(n_grow, scores.neg(), ~mask)
    _check(counts, candidates, "grow", "inactive")
    return mask | _lowest(rows, candidates, counts).view_as(mask)


def _lowest(scores: Tensor, candidates: Tensor, counts: Tensor) -> Tensor:
    """Returns the mask of each row's ``counts`` candidates with the lowest ``scores``; the earlier one wins a tie.

    Args:
        scores, candidates: ``(rows, n)``; NaN scores come lowest.
        counts: ``(rows, 1)`` int64, at most the number of candidates.
    """
    if scores.dtype not in (torch.float32, torch.float64):
        scores = scores.float()
    limit = torch.finfo(scores.dtype).max
    keys = scores.nan_to_num(nan=-limit, posinf=limit, neginf=-limit).masked_fill_(~candidates, torch.inf)
    threshold = _nth_lowest(keys, counts)
    lowest = keys <= threshold
    if keys.device.type == "cpu" and torch.equal(_count(lowest), counts):  # no tie to break, most of the time
        return lowest
    below, tied = keys < threshold, keys == threshold
    room = counts - _count(below)
    return (below | (tied & (tied.cumsum(dim=1, dtype=torch.int32) <= room))) & candidates & (counts > 0)


def _lowest_by_sign(scores: Tensor, candidates: Tensor, counts: Tensor, weight: Tensor) -> Tensor:
    """:func:`_lowest` with ⌈n/2⌉ from the weights ≥ 0 and ⌊n/2⌋ from the others; what one lacks, the other gives."""
    positive = candidates & (weight >= 0)
    negative = candidates & ~positive  # NaN too, so that the two make up all candidates
    have_positive, have_negative = _count(positive), _count(negative)
    lack_negative = (counts // 2 - have_negative).clamp(min=0)
    n_positive = torch.minimum((counts + 1) // 2 + lack_negative, have_positive)
    return _lowest(scores, positive, n_positive) | _lowest(scores, negative, counts - n_positive)


def _nth_lowest(keys: Tensor, counts: Tensor) -> Tensor:
    """Returns the ``counts``-th lowest key of each row, ``(rows, 1)``; the lowest for a count of 0."""
    index = (counts - 1).clamp(min=0)
    if keys.device.type == "cpu":  # a partial sort, some sixty times faster than the full one
        rows = zip(keys.numpy(), index.view(-1).tolist(), strict=True)
        return torch.from_numpy(np.stack([np.partition(row, n)[n] for row, n in rows])).view(-1, 1)
    return keys.sort(dim=1).values.gather(1, index)


def _count(mask: Tensor) -> Tensor:
    """Returns how many of each row are true, ``(rows, 1)`` int64."""
    if mask.device.type == "cpu":  # ten times faster than the sum
        return torch.tensor([[int(np.count_nonzero(row))] for row in mask.numpy()])
    return mask.sum(dim=1, keepdim=True)


def _rows(count: Count, *tensors: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Flattens each layer of the stack to a row; counts become ``(rows, 1)`` on the device, without a copy to it."""
    device = tensors[0].device
    if isinstance(count, Sequence):
        counts = torch.cat([torch.full((1, 1), n, device=device) for n in count])
    else:
        counts = torch.full((1, 1), count, device=device)
    return counts, [tensor.detach().reshape(len(counts), -1) for tensor in tensors]


def _check(counts: Tensor, candidates: Tensor, verb: str, kind: str) -> None:
    if counts.device.type != "cpu":
        return
    have = _count(candidates)
    if bool(((counts > have) | (counts < 0)).any()):
        raise ValueError(
            f"cannot {verb} {counts.view(-1).tolist()} weights: the layer has {have.view(-1).tolist()} {kind} ones"
        )
