"""Masks chosen before training by a score of each weight: magnitude, SNIP, GraSP and SynFlow."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dst.sparsity.checks import check_choice, check_fraction
from dst.sparsity.distribution import kept_count
from dst.sparsity.hessian_gradient import GRASP_TEMPERATURE, Batches, Loss, hessian_gradient, sum_of_gradients
from dst.sparsity.weights import Patterns, sparsifiable_weights

Weights = Mapping[str, nn.Parameter]
Scores = dict[str, Tensor]
Masks = dict[str, Tensor]

_SYNFLOW_ROUNDS = 100


def initial_masks(
    method: str,
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    density: float,
    loss: Loss = F.cross_entropy,
    *,
    include: Patterns = None,
    exclude: Patterns = None,
) -> Masks:
    """Returns the mask of each sparsifiable weight, by parameter name: the highest scores of all layers together.

    Of N weights N − ⌊(1 − D)·N⌋ are kept. Scores are computed on a copy of the model in evaluation mode, so the model
    stays as it is.

    Args:
        method: ``magnitude`` |θ|; ``snip`` |θ·g| (Lee et al., 2019), where g is the gradient summed over the batches;
            ``grasp`` θ·Hg (Wang et al., 2020), with the logits divided by 200 and H the Hessian; ``synflow`` |θ·∂R/∂θ|
            (Tanaka et al., 2020), where R is the sum of the outputs for an all-ones sample through absolute parameters,
            pruned in 100 rounds to D^(k/100) after round k.
        model: on any device.
        batches: of ``(x, y)`` on the model's device; ``magnitude`` needs none and ``synflow`` only their shape.
        density: overall density D in (0, 1].
        loss: of logits and labels, a mean over the batch.
        include: glob patterns of the weights to score, see :func:`~dst.sparsity.sparsifiable_weights`.
        exclude: glob patterns of those without a mask.

    Raises:
        ValueError: for another method or density, no batches where some are needed, or a model without such weights.
    """
    check_choice("method", method, INITIAL_MASKS)
    check_fraction("density", density, above_zero=True)
    given = list(batches)
    if not given and method != "magnitude":
        raise ValueError(f"method={method!r}: needs a batch or more to score the weights with")
    found = sparsifiable_weights(model, include=include, exclude=exclude)
    if not found:
        raise ValueError(f"{type(model).__name__} has no weights that could be sparse")
    scored = copy.deepcopy(model).eval()
    if method != "synflow":
        return _highest(_SCORES[method](scored, _named(scored, found), given, loss), density)
    _make_absolute(scored)
    masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in found.items()}
    for number in range(1, _SYNFLOW_ROUNDS + 1):
        masks = _highest(_flow(scored, given[0][0].shape[1:], masks), density ** (number / _SYNFLOW_ROUNDS))
    return masks


def disconnected_layers(model: nn.Module, masks: Mapping[str, Tensor], input_shape: Sequence[int]) -> list[str]:
    """Returns the sparse weights through which nothing flows: without an active one on a path from input to output.

    Args:
        model: on any device; stays as it is.
        masks: the active weights by parameter name.
        input_shape: of one sample.
    """
    copied = copy.deepcopy(model).eval()
    _make_absolute(copied)
    return [name for name, scores in _flow(copied, input_shape, masks).items() if not bool(scores.any())]


def _named(model: nn.Module, names: Iterable[str]) -> Weights:
    return {name: model.get_parameter(name) for name in names}


def _magnitude(model: nn.Module, weights: Weights, batches: Batches, loss: Loss) -> Scores:
    return {name: weight.detach().abs() for name, weight in weights.items()}


def _snip(model: nn.Module, weights: Weights, batches: Batches, loss: Loss) -> Scores:
    gradients = sum_of_gradients(model, list(weights.values()), batches, loss)
    return {
        name: (weight.detach() * gradient).abs()
        for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
    }


def _grasp(model: nn.Module, weights: Weights, batches: Batches, loss: Loss) -> Scores:
    products = hessian_gradient(model, weights, batches, loss, GRASP_TEMPERATURE)
    return {name: weight.detach() * products[name] for name, weight in weights.items()}


_SCORES: dict[str, Callable[[nn.Module, Weights, Batches, Loss], Scores]] = {
    "magnitude": _magnitude,
    "snip": _snip,
    "grasp": _grasp,
}

INITIAL_MASKS = (*_SCORES, "synflow")
"""The methods of :func:`initial_masks`."""


@torch.no_grad()
def _make_absolute(model: nn.Module) -> None:
    """Makes the model float64, as its products over many layers leave the range of float32, and all its numbers ≥ 0."""
    model.double()
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.abs_()


def _flow(model: nn.Module, input_shape: Sequence[int], masks: Mapping[str, Tensor]) -> Scores:
    """Returns θ·∂R/∂θ of each masked weight of a model whose parameters are all positive."""
    weights = _named(model, masks)
    parameters = list(weights.values())
    ones = torch.ones(1, *input_shape, dtype=torch.float64, device=parameters[0].device)
    with _masked(weights, masks):
        gradients = torch.autograd.grad(model(ones).sum(), parameters, allow_unused=True)
        return {
            name: torch.zeros_like(weight) if gradient is None else (weight.detach() * gradient).abs()
            for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
        }


@contextmanager
def _masked(weights: Mapping[str, nn.Parameter], masks: Mapping[str, Tensor]) -> Iterator[None]:
    """Zeroes the inactive weights within the block."""
    kept = {name: weight.detach().clone() for name, weight in weights.items()}
    with torch.no_grad():
        for name, weight in weights.items():
            weight.mul_(masks[name])
    try:
        yield
    finally:
        with torch.no_grad():
            for name, weight in weights.items():
                weight.copy_(kept[name])


def _highest(scores: Mapping[str, Tensor], density: float) -> Masks:
    """Returns the masks of the N − ⌊(1 − D)·N⌋ highest scores; the earlier one wins a tie, NaN comes last."""
    flat = torch.cat([score.flatten() for score in scores.values()]).nan_to_num(nan=-math.inf)
    n_kept = kept_count(len(flat), density)
    mask = torch.zeros(len(flat), dtype=torch.bool, device=flat.device)
    mask[flat.sort(descending=True, stable=True).indices[:n_kept]] = True
    parts = mask.split([score.numel() for score in scores.values()])
    return {name: part.view(score.shape) for (name, score), part in zip(scores.items(), parts, strict=True)}
