"""One sparse layer: its weight, its mask, and the mask in the form that is fast to apply."""

from __future__ import annotations

import torch
from torch import Tensor, nn

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
        name: of the parameter.
        weight: the parameter.
        mask: bool, the active weights.
        explored: bool, the weights active at least once.
        n_active: how many are active; known to the host.
    """

    @torch.no_grad()
    def __init__(self, name: str, weight: nn.Parameter, mask: Tensor) -> None:
        if weight.dtype not in _INTEGER:
            raise ValueError(f"{name}: weights of {weight.dtype} cannot be masked; use float32, bfloat16 or float16")
        self.name, self.weight = name, weight
        self._bits = torch.empty_like(weight, dtype=_INTEGER[weight.dtype])
        self.n_active = int(mask.sum())  # the mask is on the host still
        self.mask = torch.zeros_like(weight, dtype=torch.bool)
        self.explored = torch.zeros_like(self.mask)
        self.set_mask(mask.to(weight.device))

    @property
    def gradient(self) -> Tensor:
        """The gradient of the loss, of the weight's shape."""
        assert self.weight.grad is not None
        return self.weight.grad

    def set_mask(self, mask: Tensor) -> None:
        """Makes ``mask`` the active weights and zeroes the others."""
        self.mask.copy_(mask)
        self.explored.logical_or_(mask)
        self._bits.copy_(mask).neg_()
        self.mask_weight()

    def restore(self, mask: Tensor, explored: Tensor) -> None:
        """Takes mask and explored weights from a checkpoint, on whatever device they are."""
        self.n_active = int(mask.sum())
        self.explored.copy_(explored)
        self.set_mask(mask.to(self.mask.device))

    @torch.no_grad()
    def apply_mask(self, values: Tensor) -> None:
        """Zeroes ``values`` of the weight's shape in place where the weight is inactive."""
        values.view(self._bits.dtype).bitwise_and_(self._bits)

    def mask_weight(self) -> None:
        """Zeroes the inactive weights."""
        self.apply_mask(self.weight)

    def mask_gradient(self) -> None:
        """Zeroes the gradient of the inactive weights, if there is a gradient."""
        if self.weight.grad is not None:
            self.apply_mask(self.weight.grad)
