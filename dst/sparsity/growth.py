"""Growth rules: regrowth scores for inactive weights.

As in :mod:`dst.sparsity.criteria`, a rule is a frozen dataclass with one formula; here the highest scores are grown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class Growth:
    """Base class of the growth rules; subclasses implement :meth:`score`."""

    signal: ClassVar[str] = "gradient"
    """What ``score`` uses as ``grad``: the ``gradient``, the optimizer's ``momentum``, or ``none`` (unused)."""

    def score(self, weight: Tensor, grad: Tensor) -> Tensor:
        """Returns the regrowth score of each weight; the inactive weights with the highest scores are grown.

        Args:
            weight: one layer's weights, or several layers' stacked.
            grad: the tensor that :attr:`signal` names, in the shape of ``weight``.

        Returns:
            Scores in the shape of ``weight``, compared in float32 or float64. NaN is grown first.
        """
        raise NotImplementedError

    def __call__(self, weight: Tensor, grad: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Returns :meth:`score`; ``generator`` is for rules that draw random numbers, such as :class:`RandomGrowth`."""
        return self.score(weight, grad)


@dataclass(frozen=True)
class RandomGrowth(Growth):
    """Uniform random scores (SET: Mocanu et al., 2018)."""

    signal: ClassVar[str] = "none"

    def __call__(self, weight: Tensor, grad: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return torch.rand(weight.shape, generator=generator, device=weight.device)

    def score(self, weight: Tensor, grad: Tensor) -> Tensor:
        return self(weight, grad)


@dataclass(frozen=True)
class GradientGrowth(Growth):
    """|∇L|: the weights whose change lowers the loss fastest (RigL: Evci et al., 2020).

    Attributes:
        sample: number of held samples that the gradient is of; None: it is the batch's. Whoever makes the
            :class:`~dst.sparsity.DynamicSparsity` supplies their gradient, as ``growth_gradient``.
    """

    sample: int | None = None

    def __post_init__(self) -> None:
        if self.sample is not None and self.sample < 1:
            raise ValueError(f"growth.sample={self.sample}: must be 1 sample or more, or null for the batch's gradient")

    def score(self, weight: Tensor, grad: Tensor) -> Tensor:
        return grad.abs()


@dataclass(frozen=True)
class InvertedGradientGrowth(GradientGrowth):
    """−|∇L|: the weights whose change lowers the loss least, a control for RigL (RigL Inverted: Evci et al., 2022)."""

    def score(self, weight: Tensor, grad: Tensor) -> Tensor:
        return -super().score(weight, grad)


@dataclass(frozen=True)
class MomentumGrowth(Growth):
    """|m|: the optimizer's momentum (Dettmers & Zettlemoyer, 2019); needs ``momentum="dense"``."""

    signal: ClassVar[str] = "momentum"

    def score(self, weight: Tensor, grad: Tensor) -> Tensor:
        return grad.abs()
