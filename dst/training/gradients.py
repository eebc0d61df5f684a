"""The gradient by which a criterion scores the weights outside of a training step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dst.sparsity.hessian_gradient import hessian_gradient

if TYPE_CHECKING:
    from dst.training.loop import Training

SCORED_EPOCH = -1
"""Its batches score the weights; no training sees them in this order."""


def scoring_gradients(training: Training) -> dict[str, Tensor]:
    """Returns what the criterion scores by, its gradient or Hg, of one batch by the name of the sparsifiable weight.

    Computed in float32 and evaluation mode. It depends on nothing but the weights and the seed, and changes nothing: no
    statistics, no random stream.
    """
    model = training.model.eval()
    weights = training.weights
    x, y = next(iter(training.data.train.epoch(SCORED_EPOCH)))
    if training.criterion.signal == "hessian_gradient":
        temperature = getattr(training.criterion, "temperature", 1.0)
        return hessian_gradient(model, weights, [(x, y)], training.loss_of, temperature)
    found = torch.autograd.grad(training.loss_of(model(x), y), list(weights.values()), allow_unused=True)
    return {
        name: torch.zeros_like(weight) if gradient is None else gradient
        for (name, weight), gradient in zip(weights.items(), found, strict=True)
    }
