"""Pruning criteria: how important is each active weight?

A criterion is a frozen dataclass with one formula, ``score``; the weights with the lowest scores are pruned. To add
one, write such a class anywhere and name it in one YAML file of the config group ``criterion``. Scores are computed
elementwise here, so a leading dimension that stacks several layers or runs needs no special care.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class Criterion:
    """The importance of weights; subclasses give :meth:`score`."""

    by_sign: ClassVar[bool] = False
    """Prune as many positive as negative weights (see :class:`SET`)."""

    def score(self, weight: Tensor, grad: Tensor) -> Tensor:
        """Returns the importance of each weight, shaped like ``weight`` (float32 or wider); the lowest are pruned.

        ``grad`` is the batch's gradient of the loss at ``weight``. NaN (such as 0/0) counts as the least important.
        """
        raise NotImplementedError

    def __call__(self, weight: Tensor, grad: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """:meth:`score`, for those who also hold the random stream; only :class:`Random` draws from it."""
        return self.score(weight, grad)


@dataclass(frozen=True)
class Magnitude(Criterion):
    """|θ|: small weights matter little (RigL: Evci et al., 2020)."""

    def score(self, weight: Tensor, grad: Tensor) -> Tensor:
        return weight.abs()


@dataclass(frozen=True)
class SET(Magnitude):
    """|θ|, with as many positive as negative weights pruned (Mocanu et al., 2018).

    Of n weights ⌈n/2⌉ are positive and ⌊n/2⌋ negative; what one sign lacks, the other gives. An active zero counts
    as positive.
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
    """|θ|·|∇L|: the first-order change of the loss if the weight went (Lee et al., 2019)."""

    def score(self, weight: Tensor, grad: Tensor) -> Tensor:
        return weight.abs() * grad.abs()


@dataclass(frozen=True)
class Sensitivity(Criterion):
    """|∇L|/|θ|: the gradient relative to the weight (Naji et al., 2021)."""

    def score(self, weight: Tensor, grad: Tensor) -> Tensor:
        return grad.abs() / weight.abs()


@dataclass(frozen=True)
class RSensitivity(Criterion):
    """|θ|/|∇L|: the reciprocal sensitivity; large weights at rest matter most (the paper, Section 3.2)."""

    def score(self, weight: Tensor, grad: Tensor) -> Tensor:
        return weight.abs() / grad.abs()


@dataclass(frozen=True)
class Random(Criterion):
    """Uniform random scores: the reference every criterion should beat."""

    def __call__(self, weight: Tensor, grad: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return torch.rand(weight.shape, generator=generator, device=weight.device)

    def score(self, weight: Tensor, grad: Tensor) -> Tensor:
        return self(weight, grad)
