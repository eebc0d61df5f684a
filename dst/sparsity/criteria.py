"""Pruning criteria: scores for the importance of active weights.

A criterion is a frozen dataclass with one formula, ``score``; the weights with the lowest scores are pruned. To add
one, write such a class anywhere and name it in a YAML file of the config group ``criterion``. The scores here are
elementwise, so they also work on tensors that stack several layers or runs along a leading dimension.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class Criterion:
    """Base class of the criteria; subclasses implement :meth:`score`."""

    by_sign: ClassVar[bool] = False
    """Prune as many positive as negative weights (see :class:`SET`)."""

    uses_gradient: ClassVar[bool] = True
    """Whether the scores depend on the gradient; where not, none is computed for them."""

    def score(self, weight: Tensor, grad: Tensor) -> Tensor:
        """Returns the importance of each weight, in the shape of ``weight``; the lowest scores are pruned.

        Args:
            weight: one layer's weights, or several layers' stacked.
            grad: the gradient of the batch's loss, in the shape of ``weight``.

        Returns:
            Scores, compared in float32 or float64. NaN (such as 0/0) counts as the lowest.
        """
        raise NotImplementedError

    def __call__(self, weight: Tensor, grad: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Returns :meth:`score`; ``generator`` is for criteria that draw random numbers, such as :class:`Random`."""
        return self.score(weight, grad)


@dataclass(frozen=True)
class Magnitude(Criterion):
    """|θ|: small weights matter little (RigL: Evci et al., 2020)."""

    uses_gradient: ClassVar[bool] = False

    def score(self, weight: Tensor, grad: Tensor) -> Tensor:
        return weight.abs()


@dataclass(frozen=True)
class SET(Magnitude):
    """|θ|, with as many positive as negative weights pruned (Mocanu et al., 2018).

    To prune n weights, it prunes ⌈n/2⌉ positive and ⌊n/2⌋ negative ones; if one sign has too few, the rest come from
    the other. An active zero counts as positive.
    """

    by_sign: ClassVar[bool] = True


@dataclass(frozen=True)
class MEST(Criterion):
    """|θ| + λ|∇L|: magnitude plus its trend (Yuan et al., 2021)."""

    lam: float = 1.0

    def score(self, weight: Tensor, grad: Tensor) -> Tensor:
        return weight.abs() + self.lam * grad.abs()


@dataclass(frozen=True)
class SNIP(Criterion):
    """|θ|·|∇L|: the first-order change of the loss when the weight is removed (Lee et al., 2019)."""

    def score(self, weight: Tensor, grad: Tensor) -> Tensor:
        return weight.abs() * grad.abs()


@dataclass(frozen=True)
class Sensitivity(Criterion):
    """|∇L|/|θ|: the gradient relative to the weight (Naji et al., 2021)."""

    def score(self, weight: Tensor, grad: Tensor) -> Tensor:
        return grad.abs() / weight.abs()


@dataclass(frozen=True)
class RSensitivity(Criterion):
    """|θ|/|∇L|: the reciprocal sensitivity; large weights with small gradients matter most (the paper, Section 3.2)."""

    def score(self, weight: Tensor, grad: Tensor) -> Tensor:
        return weight.abs() / grad.abs()


@dataclass(frozen=True)
class Random(Criterion):
    """Uniform random scores: the baseline every criterion should beat."""

    uses_gradient: ClassVar[bool] = False

    def __call__(self, weight: Tensor, grad: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return torch.rand(weight.shape, generator=generator, device=weight.device)

    def score(self, weight: Tensor, grad: Tensor) -> Tensor:
        return self(weight, grad)
