"""Initial weights for sparse layers, by the number of active weights of each neuron or layer."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dst.sparsity.checks import check_choice
from dst.sparsity.weights import Patterns, sparsifiable_weights

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_MODES = ("fan_in", "fan_out", "fan_avg")


@torch.no_grad()
def sparsity_aware_init(
    model: nn.Module,
    masks: Mapping[str, Tensor],
    *,
    scale: float = 2.0,
    mode: str = "fan_in",
    distribution: str = "normal",
    generator: torch.Generator | None = None,
    include: Patterns = None,
    exclude: Patterns = None,
) -> None:
    """Draws every active weight anew with variance ``scale / fan``, in place (Evci et al., 2022).

    The fan of a weight counts active weights only: ``fan_in`` those into its own output neuron or filter, ``fan_out``
    those out of its own input unit, both over the kernel; ``fan_avg`` is their mean. So the variance of the
    pre-activations does not shrink with the density, however unevenly the mask is spread. Inactive weights become 0,
    hence all of a neuron without inputs; biases and normalisation stay.

    Args:
        model: see :func:`~dst.sparsity.sparsifiable_weights` for the weights that are drawn.
        masks: bool, the active weights by parameter name, in the parameters' shapes; one that is missing is all active.
        scale: 2 for He's initialisation, 1 for Glorot's.
        mode: ``fan_in``, ``fan_out`` or ``fan_avg``.
        distribution: ``normal`` or ``uniform``.
        generator: CPU random stream; None: torch's global one.
        include: glob patterns of the weights that are drawn.
        exclude: glob patterns of those that stay.

    Raises:
        ValueError: for another mode or distribution, or a scale that is not positive.
    """
    check_choice("mode", mode, _MODES)
    check_choice("distribution", distribution, ("normal", "uniform"))
    if not scale > 0:
        raise ValueError(f"scale={scale}: must be above 0")
    modules = _modules(model)
    for name, weight in sparsifiable_weights(model, include=include, exclude=exclude).items():
        mask = masks[name].cpu() if name in masks else torch.ones(weight.shape, dtype=torch.bool)
        deviation = (scale / _fan(modules[name], mask, mode).clamp(min=1)).sqrt()
        if distribution == "normal":
            drawn = torch.randn(weight.shape, generator=generator)
        else:
            drawn = (2 * torch.rand(weight.shape, generator=generator) - 1) * math.sqrt(3)
        weight.copy_(drawn * deviation * mask)


@torch.no_grad()
def layer_scaled_init(model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Divides the active weights of each layer by the square root of the layer's density, in place (Liu et al., 2019).

    One factor a layer: differences between its neurons stay, other than in :func:`sparsity_aware_init`. Inactive
    weights become 0; a layer without active weights is 0.

    Args:
        model: with the weights of an ordinary dense initialisation.
        masks: bool, the active weights by parameter name, in the parameters' shapes; one that is missing is all active.
    """
    for name, mask in masks.items():
        weight = model.get_parameter(name)
        active = mask.to(weight.device)
        weight.copy_(torch.where(active, weight / active.float().mean().sqrt(), 0.0))


def _modules(model: nn.Module) -> dict[str, nn.Module]:
    """Returns the module that each parameter belongs to, by the parameter's name."""
    return {
        f"{prefix}.{name}" if prefix else name: module
        for prefix, module in model.named_modules()
        for name, _ in module.named_parameters(recurse=False)
    }


def _fan(module: nn.Module, mask: Tensor, mode: str) -> Tensor:
    """Returns the fan of each weight, broadcastable to the mask: float32."""
    by_row = mask.flatten(1).sum(dim=1).view(-1, *[1] * (mask.dim() - 1))
    groups = getattr(module, "groups", 1)
    in_groups = mask.view(groups, len(mask) // groups, mask.shape[1], -1)
    by_column = in_groups.sum(dim=(1, 3), keepdim=True).expand(-1, in_groups.shape[1], -1, -1)
    by_column = by_column.reshape(len(mask), mask.shape[1], *[1] * (mask.dim() - 2))
    fan_in, fan_out = (by_column, by_row) if _rows_are_inputs(module) else (by_row, by_column)
    fans = {"fan_in": fan_in.float(), "fan_out": fan_out.float(), "fan_avg": (fan_in + fan_out) / 2}
    return fans[mode]


def _rows_are_inputs(module: nn.Module) -> bool:
    """Whether the weight is stored ``(in, out, …)``: transposed convolutions, and GPT-2's linear layer."""
    return isinstance(module, _TRANSPOSED) or type(module).__name__ == "Conv1D"
