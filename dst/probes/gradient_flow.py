"""Gradient flow: the norm of the gradient of the loss (Evci et al., 2022)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dst.probes.base import Probe, View, check_sample
from dst.undisturbed import mean_gradient


@dataclass(frozen=True)
class GradientFlow(Probe):
    """L2 norm of the gradient of the loss, without weight decay, over all trainable parameters.

    ``masked`` counts the active weights and all other parameters, ``dense`` the inactive weights too; for each sparse
    layer both are of its weight alone.

    With a ``sample`` the gradient is that of the mean loss of the first samples of the training split, in training mode
    and float32. It is computed in chunks of the training's batch size, so that it needs the memory of a training batch:
    batch norm then normalises by the statistics of each chunk.

    Attributes:
        sample: number of samples; 0 or None: the gradient is the training batch's own.
    """

    sample: int | None = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sample is not None and self.sample < 0:
            raise ValueError(f"probes.{self.name}.sample={self.sample}: must be 0 (the training batch) or more")

    def start(self, view: View) -> dict[str, Tensor]:
        """Checks that the training split has ``sample`` samples."""
        check_sample(self, self.sample or 0, view)
        return {}

    @torch.no_grad()
    def measure(self, view: View) -> dict[str, Any]:
        """Returns the norms ``masked`` and ``dense`` of the network and of each sparse layer."""
        if self.sample:
            gradients = mean_gradient(view.model, view.sample(self.sample), self.sample, view.loss_of)
        else:
            gradients = _of_batch(view)
        dense = {name: _norm(gradient) for name, gradient in gradients.items()}
        masked = {
            name: _norm(gradients[name] * view.masks[name]) if name in view.masks else norm
            for name, norm in dense.items()
        }
        return {
            "masked": _norm(torch.stack([*masked.values()])),
            "dense": _norm(torch.stack([*dense.values()])),
            "layers": {
                name: {"masked": masked[name], "dense": dense[name]} for name in view.weights if name in gradients
            },
        }


def _of_batch(view: View) -> dict[str, Tensor]:
    parameters = view.model.named_parameters()
    return {name: parameter.grad for name, parameter in parameters if parameter.grad is not None}


def _norm(values: Tensor) -> Tensor:
    return torch.linalg.vector_norm(values)
