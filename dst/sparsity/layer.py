"""One sparse layer: its weight and its mask, also stored in a form that is fast to apply."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from dst.sparsity.distribution import draw_mask, layer_densities
from dst.sparsity.weights import PackedWeight

_INTEGER_DTYPE = {
    torch.float64: torch.int64,
    torch.float32: torch.int32,
    torch.bfloat16: torch.int16,
    torch.float16: torch.int16,
}


class SparseLayer:
    """A weight with its mask; construction applies the mask.

    The mask is stored twice: as bool to read, and as integers of the weight's bit width (all bits 1 or all 0) to
    apply. A bitwise AND is as fast as a multiplication and also sets NaN and infinity to 0.

    Args:
        name: of the parameter.
        parameter: a weight, or several packed weights.
        mask: bool, the active weights, on the CPU.
        packed: the packed weight that is this layer's; None: the whole parameter.

    Attributes:
        name: of the parameter, followed by that of the packed weight in brackets.
        parameter: holds the layer's weight, and possibly those of other layers.
        mask: bool, the active weights, in the shape of ``weight``.
        explored: bool, the weights active at least once.
        n_active: number of active weights, a host integer.
        average: of a running criterion's scores, float32, in the shape of ``weight``; None where none is kept.
    """

    @torch.no_grad()
    def __init__(self, name: str, parameter: nn.Parameter, mask: Tensor, packed: PackedWeight | None = None) -> None:
        self.parameter_name, self.parameter, self._packed = name, parameter, packed
        self.name = f"{name}[{packed.name}]" if packed else name
        self._bits = torch.empty_like(self.weight, dtype=self._integer_dtype(parameter))
        self.n_active = int(mask.sum())  # still on the CPU: no synchronization
        self.mask = torch.zeros_like(self.weight, dtype=torch.bool)
        self.explored = torch.zeros_like(self.mask)
        self.average: Tensor | None = None
        self.set_mask(mask.to(parameter.device))

    def _integer_dtype(self, values: Tensor) -> torch.dtype:
        """Returns the integer dtype with the bit width of ``values``."""
        if values.dtype not in _INTEGER_DTYPE:
            raise ValueError(
                f"{self.name}: weights of {values.dtype} cannot be masked; use float32, bfloat16 or float16"
            )
        return _INTEGER_DTYPE[values.dtype]

    def match_parameter(self) -> None:
        """Moves the mask to the parameter's current device and bit width, in case the model was converted."""
        device, dtype = self.parameter.device, self._integer_dtype(self.parameter)
        if self._bits.dtype != dtype or self._bits.device != device:
            self._bits = self._bits.to(device, dtype)
            self.mask, self.explored = self.mask.to(device), self.explored.to(device)
            self.average = None if self.average is None else self.average.to(device)

    def slice_of(self, values: Tensor) -> Tensor:
        """Returns this layer's rows of ``values``, which have the parameter's shape; a view."""
        return values.detach()[self._packed.rows] if self._packed else values

    @property
    def weight(self) -> Tensor:
        """The layer's weight: the parameter, or a view of its rows."""
        return self.slice_of(self.parameter)

    @property
    def gradient(self) -> Tensor:
        """The gradient of the loss, in the shape of ``weight``."""
        assert self.parameter.grad is not None
        return self.slice_of(self.parameter.grad)

    def set_mask(self, mask: Tensor) -> None:
        """Sets the mask and zeroes the inactive weights and their averages."""
        self.mask.copy_(mask)
        self.explored.logical_or_(mask)
        self._bits.copy_(mask).neg_()
        self.mask_weight()
        if self.average is not None:
            self.apply_mask(self.average)

    @torch.no_grad()
    def start_average(self) -> None:
        """Keeps an average of scores from here on, which starts at 0."""
        self.average = torch.zeros_like(self.weight, dtype=torch.float32)

    @torch.no_grad()
    def add_to_average(self, score: Tensor, beta: float) -> None:
        """Moves the average of the active weights towards their score, where that is finite.

        Args:
            score: in the shape of ``weight``.
            beta: average ← β·average + (1 − β)·score.
        """
        assert self.average is not None
        moved = self.average.lerp(score.float(), 1 - beta)
        self.average.copy_(torch.where(score.isfinite() & self.mask, moved, self.average))

    def restore(self, mask: Tensor, explored: Tensor, average: Tensor | None = None) -> None:
        """Sets the mask, the explored weights and the average from a checkpoint.

        Args:
            mask: bool, in the shape of the parameter, on any device.
            explored: likewise.
            average: float32, likewise; None: it starts at 0. Has no effect where the layer keeps none.
        """
        mask = self.slice_of(mask)
        if self.average is not None:
            self.average.copy_(torch.zeros_like(self.average) if average is None else self.slice_of(average))
        self.n_active = int(mask.sum())
        self.explored.copy_(self.slice_of(explored))
        self.set_mask(mask.to(self.mask.device))

    @torch.no_grad()
    def apply_mask(self, values: Tensor) -> None:
        """Zeroes ``values``, in the shape of ``weight``, in place at the inactive positions."""
        dtype = self._integer_dtype(values)  # optimizer state may differ from the weight in bit width
        values.view(dtype).bitwise_and_(self._bits.to(dtype))

    def mask_weight(self) -> None:
        """Zeroes the inactive weights."""
        self.apply_mask(self.weight)

    def mask_gradient(self) -> None:
        """Zeroes the gradient of the inactive weights, if the parameter has a gradient."""
        if self.parameter.grad is not None:
            self.apply_mask(self.gradient)


def make_sparse_layers(
    weights: Iterable[tuple[str, nn.Parameter, tuple[PackedWeight, ...]]],
    density: float,
    distribution: str,
    generator: torch.Generator,
) -> list[SparseLayer]:
    """Returns a layer with a random mask for each weight, and for each packed weight.

    Args:
        weights: as :func:`~dst.sparsity.weights.linear_weights` yields them.
        density: overall density D in (0, 1].
        distribution: see :func:`~dst.sparsity.layer_densities`.
        generator: CPU random stream for the masks.

    Raises:
        ValueError: see :func:`~dst.sparsity.layer_densities`; or if the dtype of a weight cannot be masked.
    """
    layers = [(name, parameter, packed) for name, parameter, several in weights for packed in several or (None,)]
    shapes = [parameter[packed.rows].shape if packed else parameter.shape for _, parameter, packed in layers]
    densities = layer_densities(shapes, density, distribution)
    return [
        SparseLayer(name, parameter, draw_mask(shape, layer_density, generator), packed)
        for (name, parameter, packed), shape, layer_density in zip(layers, shapes, densities, strict=True)
    ]
