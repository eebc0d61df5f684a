"""One sparse layer: its weight, its mask, and the mask in the form that is fast to apply."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from dst.sparsity.distribution import draw_mask, layer_densities
from dst.sparsity.weights import Part

_INTEGER = {
    torch.float64: torch.int64,
    torch.float32: torch.int32,
    torch.bfloat16: torch.int16,
    torch.float16: torch.int16,
}


class SparseLayer:
    """A weight with its mask; the weight is masked at once.

    The mask is kept twice: as bool, to read, and as integers of the weight's width, all ones or all zeros, to apply:
    a bitwise and is as fast as a multiplication and turns NaN and infinity into 0 too.

    Attributes:
        name: of the layer: the parameter's, followed by the part's in brackets.
        parameter: the parameter, which may pack the weights of several layers.
        mask: bool, the active weights, of the shape of ``weight``.
        explored: bool, the weights active at least once.
        n_active: how many are active; known to the host.
    """

    @torch.no_grad()
    def __init__(self, name: str, parameter: nn.Parameter, mask: Tensor, part: Part | None = None) -> None:
        self.parameter_name, self.parameter, self._part = name, parameter, part
        self.name = f"{name}[{part.name}]" if part else name
        self._bits = torch.empty_like(self.weight, dtype=self._integer(parameter))
        self.n_active = int(mask.sum())  # the mask is on the host still
        self.mask = torch.zeros_like(self.weight, dtype=torch.bool)
        self.explored = torch.zeros_like(self.mask)
        self.set_mask(mask.to(parameter.device))

    def _integer(self, values: Tensor) -> torch.dtype:
        """Returns the integers of the width of ``values``."""
        if values.dtype not in _INTEGER:
            raise ValueError(
                f"{self.name}: weights of {values.dtype} cannot be masked; use float32, bfloat16 or float16"
            )
        return _INTEGER[values.dtype]

    def follow(self) -> None:
        """Takes the mask to where the parameter is now and to its width: the model may have been converted."""
        device, integer = self.parameter.device, self._integer(self.parameter)
        if self._bits.dtype != integer or self._bits.device != device:
            self._bits = self._bits.to(device, integer)
            self.mask, self.explored = self.mask.to(device), self.explored.to(device)

    def own(self, values: Tensor) -> Tensor:
        """Returns of ``values`` of the parameter's shape those of this layer, a view."""
        return values.detach()[self._part.rows] if self._part else values

    @property
    def weight(self) -> Tensor:
        """The layer's weight: the parameter, or a view of its part of it."""
        return self.own(self.parameter)

    @property
    def gradient(self) -> Tensor:
        """The gradient of the loss, of the weight's shape."""
        assert self.parameter.grad is not None
        return self.own(self.parameter.grad)

    def set_mask(self, mask: Tensor) -> None:
        """Makes ``mask`` the active weights and zeroes the others."""
        self.mask.copy_(mask)
        self.explored.logical_or_(mask)
        self._bits.copy_(mask).neg_()
        self.mask_weight()

    def restore(self, mask: Tensor, explored: Tensor) -> None:
        """Takes the parameter's mask and explored weights from a checkpoint, on whatever device they are."""
        mask = self.own(mask)
        self.n_active = int(mask.sum())
        self.explored.copy_(self.own(explored))
        self.set_mask(mask.to(self.mask.device))

    @torch.no_grad()
    def apply_mask(self, values: Tensor) -> None:
        """Zeroes ``values`` of the weight's shape in place where the weight is inactive."""
        integer = self._integer(values)  # optimizer state may have another width than the weight
        values.view(integer).bitwise_and_(self._bits.to(integer))

    def mask_weight(self) -> None:
        """Zeroes the inactive weights."""
        self.apply_mask(self.weight)

    def mask_gradient(self) -> None:
        """Zeroes the gradient of the inactive weights, if there is a gradient."""
        if self.parameter.grad is not None:
            self.apply_mask(self.gradient)


def draw_layers(
    maps: Iterable[tuple[str, nn.Parameter, tuple[Part, ...]]],
    density: float,
    distribution: str,
    draws: torch.Generator,
) -> list[SparseLayer]:
    """Returns a layer for each weight that :func:`~dst.sparsity.weights.linear_maps` yields, or for each of its parts.

    Raises:
        ValueError: as :func:`~dst.sparsity.layer_densities`, or for a weight whose type cannot be masked.
    """
    layers = [(name, weight, part) for name, weight, parts in maps for part in parts or (None,)]
    shapes = [weight[part.rows].shape if part else weight.shape for _, weight, part in layers]
    densities = layer_densities(shapes, density, distribution)
    return [
        SparseLayer(name, weight, draw_mask(shape, share, draws), part)
        for (name, weight, part), shape, share in zip(layers, shapes, densities, strict=True)
    ]
