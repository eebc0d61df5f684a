"""The scores by which weights of different neurons and layers compete: a criterion's, averaged and normalised."""

from __future__ import annotations

import torch
from torch import Tensor

from dst.sparsity.checks import check_choice
from dst.sparsity.criteria import Criterion, RunningCriterion
from dst.sparsity.layer import SparseLayer

NORMALISATIONS = ("none", "layer", "input", "output")


def effective_normalisation(normalise: str, scope: str) -> str:
    """Returns the normalisation, or ``none`` where it leaves the order of the scores that are compared as it is.

    Args:
        normalise: one of :data:`NORMALISATIONS`.
        scope: ``local`` or ``global``.

    Raises:
        ValueError: for another normalisation.
    """
    check_choice("normalise", normalise, NORMALISATIONS)
    return "none" if (normalise, scope) == ("layer", "local") else normalise


def layer_scores(
    criterion: Criterion, layer: SparseLayer, gradient: Tensor, generator: torch.Generator, normalise: str = "none"
) -> Tensor:
    """Returns the scores of a layer's weights, in their shape.

    Args:
        criterion: a running one scores by the average that the layer keeps.
        layer: whose weights compete.
        gradient: in the shape of its weight.
        generator: on its device, for the criterion ``random``.
        normalise: see :func:`normalised`.
    """
    if layer.average is not None and isinstance(criterion, RunningCriterion):
        return normalised(layer.average, layer.mask, normalise)
    return normalised(criterion(layer.weight, gradient, generator), layer.mask, normalise)


def normalised(scores: Tensor, mask: Tensor, by: str) -> Tensor:
    """Returns the scores divided by the sum of the absolute scores of the active weights around them.

    Scores that are not finite are no part of a sum and stay what they are.

    Args:
        scores: of one layer, whose first dimension are the outputs and second the inputs, as in ``nn.Linear`` and
            ``nn.Conv2d``; in a grouped convolution the inputs of a group.
        mask: bool, the active weights, in the shape of ``scores``.
        by: over which weights to sum: ``layer``: all; ``input``: those from the same input neuron or channel;
            ``output``: those to the same output neuron or channel; ``none`` returns ``scores``. The authors' code of
            the paper names ``input`` and ``output`` after the dimension that it sums over, so the other way round.
    """
    if by == "none":
        return scores
    scores = scores.float() if scores.dtype in (torch.float16, torch.bfloat16) else scores
    kept = {"layer": (), "output": (0,), "input": (1,)}[by]
    summed = [dimension for dimension in range(scores.dim()) if dimension not in kept]
    total = scores.abs().masked_fill(~(mask & scores.isfinite()), 0).sum(dim=summed, keepdim=True)
    return scores / total.clamp(min=torch.finfo(scores.dtype).tiny)
