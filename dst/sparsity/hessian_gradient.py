"""The Hessian of the loss times its gradient: how much removing a weight changes the gradient's norm."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

Batches = Sequence[tuple[Tensor, Tensor]]
Loss = Callable[[Tensor, Tensor], Tensor]

GRASP_TEMPERATURE = 200.0
"""What GraSP divides the logits by, so that the softmax is nearly uniform (Wang et al., 2020)."""


@sdpa_kernel(SDPBackend.MATH)  # fused attention has no second derivative
def hessian_gradient(
    model: nn.Module, weights: Mapping[str, nn.Parameter], batches: Batches, loss: Loss, temperature: float
) -> dict[str, Tensor]:
    """Returns Hg by name: g is the gradient summed over the batches, H the sum of their Hessians, both of ``weights``.

    Computes in the model's mode; each ``grad`` stays as it is.

    Args:
        model: on the batches' device.
        weights: some of its parameters, by name.
        batches: of ``(x, y)``.
        loss: of logits and labels, a mean over the batch.
        temperature: divides the logits.

    Returns:
        Tensors in the weights' shapes; zeros for one without effect.
    """
    parameters = list(weights.values())

    def warm_loss(logits: Tensor, y: Tensor) -> Tensor:
        return loss(logits / temperature, y)

    with torch.enable_grad():
        gradients = sum_of_gradients(model, parameters, batches, warm_loss)
        products = [torch.zeros_like(weight) for weight in parameters]
        for x, y in batches:
            again = torch.autograd.grad(warm_loss(model(x), y), parameters, create_graph=True, allow_unused=True)
            pairs = zip(gradients, again, strict=True)
            projection = torch.stack([(first * second).sum() for first, second in pairs if second is not None]).sum()
            rows = torch.autograd.grad(projection, parameters, allow_unused=True)
            for product, row in zip(products, rows, strict=True):
                if row is not None:
                    product += row
    return dict(zip(weights, products, strict=True))


def sum_of_gradients(model: nn.Module, parameters: list[nn.Parameter], batches: Batches, loss: Loss) -> list[Tensor]:
    """Returns the gradients of the batches' mean losses, summed; zeros for a parameter without effect.

    Args:
        model: computes in its mode.
        parameters: of the model.
        batches: of ``(x, y)`` on the model's device.
        loss: of logits and labels, a mean over the batch.
    """
    sums = [torch.zeros_like(parameter) for parameter in parameters]
    for x, y in batches:
        found = torch.autograd.grad(loss(model(x), y), parameters, allow_unused=True)
        for total, gradient in zip(sums, found, strict=True):
            if gradient is not None:
                total += gradient
    return sums
