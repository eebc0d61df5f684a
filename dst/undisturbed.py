"""Gradients computed beside a training, which goes on as if they had not been."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn

from dst.seeds import stream_seed


@contextlib.contextmanager
def undisturbed(model: nn.Module, seed: int, *stream: str | int) -> Iterator[None]:
    """Restores random state, buffers and training mode after the block.

    Args:
        model: its parameters are on one device.
        seed: of the run.
        stream: names the random stream that the block draws from.
    """
    modes = {module: module.training for module in model.modules()}
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    device = next(model.parameters()).device
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        drawn = stream_seed(seed, *stream)
        torch.default_generator.manual_seed(drawn)
        if on_gpu:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(drawn)
        yield
    with torch.no_grad():
        for buffer, before in buffers:
            buffer.copy_(before)
    for module, mode in modes.items():
        module.training = mode


def mean_gradient(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    samples: int,
    loss_of: Callable[[Tensor, Tensor], Tensor],
) -> dict[str, Tensor]:
    """Returns the gradient of the mean loss over several batches by parameter name; each ``grad`` stays as it is.

    Args:
        model: computes in the mode that it is in; batch norm normalises by the statistics of each batch.
        batches: of ``(x, y)``.
        samples: in all batches.
        loss_of: returns the mean loss of logits and labels.

    Returns:
        Of every trainable parameter; zeros for one without effect.
    """
    parameters = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    total = {name: torch.zeros_like(weight) for name, weight in parameters.items()}
    for x, y in batches:
        with torch.enable_grad():
            loss = loss_of(model(x), y)
        gradients = torch.autograd.grad(loss, [*parameters.values()], allow_unused=True)
        for name, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                total[name].add_(gradient, alpha=len(y) / samples)
    return total
