"""Growth rules: which inactive weights should come (back) to life?

The mirror of :mod:`dst.sparsity.criteria`: a frozen dataclass with one formula; the highest scores are grown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class Growth:
    """The promise of inactive weights; subclasses give :meth:`score`."""

    signal: ClassVar[str] = "gradient"
    """What ``score`` reads as ``grad``: the batch's ``gradient``, the optimizer's ``momentum``, or ``none`` of them."""

    def score(self, weight: Tensor, grad: Tensor) -> Tensor:
        """Returns the promise of each weight, shaped like ``weight``; the highest inactive ones are grown."""
        raise NotImplementedError

    def __call__(self, weight: Tensor, grad: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """:meth:`score`, for those who also hold the random stream; only :class:`RandomGrowth` draws from it."""
        return self.score(weight, grad)


@dataclass(frozen=True)
class RandomGrowth(Growth):
    """Any inactive weight, uniformly (SET: Mocanu et al., 2018)."""

    signal: ClassVar[str] = "none"

    def __call__(self, weight: Tensor, grad: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return torch.rand(weight.shape, generator=generator, device=weight.device)

    def score(self, weight: Tensor, grad: Tensor) -> Tensor:
        return self(weight, grad)


@dataclass(frozen=True)
class GradientGrowth(Growth):
    """|∇L|: where the loss would fall fastest (RigL: Evci et al., 2020)."""

    def score(self, weight: Tensor, grad: Tensor) -> Tensor:
        return grad.abs()


@dataclass(frozen=True)
class MomentumGrowth(Growth):
    """|m|: where the loss has been falling (Dettmers & Zettlemoyer, 2019); needs momentum of inactive weights."""

    signal: ClassVar[str] = "momentum"

    def score(self, weight: Tensor, grad: Tensor) -> Tensor:
        return grad.abs()
