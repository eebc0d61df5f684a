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

from dst.sparsity.hessian_gradient import GRASP_TEMPERATURE


@dataclass(frozen=True)
class Criterion:
    """Base class of the criteria; subclasses implement :meth:`score`."""

    by_sign: ClassVar[bool] = False
    """Prune as many positive as negative weights (see :class:`SET`)."""

    both_ends: ClassVar[bool] = False
    """Prune as many of the highest as of the lowest scores (see :class:`SNIPHalf`)."""

    uses_gradient: ClassVar[bool] = True
    """Whether the scores depend on the gradient; where not, none is computed for them."""

    signal: ClassVar[str] = "gradient"
    """What ``score`` takes as ``grad``: the ``gradient`` g of the loss, or ``hessian_gradient``: Hg, H its Hessian."""

    def score(self, weight: Tensor, grad: Tensor) -> Tensor:
        """Returns the importance of each weight, in the shape of ``weight``; the lowest scores are pruned.

        Args:
            weight: one layer's weights, or several layers' stacked.
            grad: the gradient of the batch's loss, or what ``signal`` says, in the shape of ``weight``.

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
    the other. An active zero counts as positive. The authors' code of the paper prunes ⌈n/2⌉ of both signs.
    """

    by_sign: ClassVar[bool] = True


@dataclass(frozen=True)
class MEST(Criterion):
    """|θ| + λ|∇L|: magnitude plus its trend (Yuan et al., 2021).

    Attributes:
        lam: λ, 0 or more.
    """

    lam: float = 1.0

    def __post_init__(self) -> None:
        if not self.lam >= 0:
            raise ValueError(f"criterion.lam={self.lam}: must be 0 or more")

    def score(self, weight: Tensor, grad: Tensor) -> Tensor:
        return weight.abs() + self.lam * grad.abs()


@dataclass(frozen=True)
class SNIP(Criterion):
    """|θ|·|∇L|: the first-order change of the loss when the weight is removed (Lee et al., 2019).

    The authors' code of the paper adds 1e-5, with global pruning 1e-8, to scores: differences below 1e-12 are lost.
    """

    def score(self, weight: Tensor, grad: Tensor) -> Tensor:
        return weight.abs() * grad.abs()


@dataclass(frozen=True)
class SNIPHalf(SNIP):
    """|θ|·|∇L|, with as many of the highest as of the lowest scores pruned (the authors' code of the paper).

    To prune n weights, it prunes the ⌈n/2⌉ lowest and the ⌊n/2⌋ highest; the authors' code prunes ⌊n/2⌋ at both ends.
    """

    both_ends: ClassVar[bool] = True


@dataclass(frozen=True)
class GraSP(Criterion):
    """θ·Hg: keeps the weights whose removal would lower the gradient's norm most (Wang et al., 2020).

    In place of the gradient it takes Hg, the Hessian of the loss times its gradient by all sparsifiable weights, the
    inactive ones too, as in the authors' code of the paper.

    Attributes:
        temperature: divides the logits.
    """

    signal: ClassVar[str] = "hessian_gradient"
    temperature: float = GRASP_TEMPERATURE

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"criterion.temperature={self.temperature}: must be above 0")

    def score(self, weight: Tensor, grad: Tensor) -> Tensor:
        return weight * grad


@dataclass(frozen=True)
class TaylorFO(Criterion):
    """(θ·∇L)²: the squared first-order change of the loss when the weight is removed (Molchanov et al., 2019).

    Within a layer it orders the weights as :class:`SNIP` does, except that squares below 1e-38 become equal. Molchanov
    et al. sum it over the weights of a filter; here, as in the authors' code of the paper, each weight has its own.
    """

    def score(self, weight: Tensor, grad: Tensor) -> Tensor:
        return (weight * grad).square()


@dataclass(frozen=True)
class GradStep(Criterion):
    """|θ − γ∇L|: the magnitude after a gradient step of size γ (the authors' code of the paper).

    The authors' code takes γ = 1 in scores of a single layer, whatever its argument says; global scores take it.
    """

    gamma: float = 1.0

    def score(self, weight: Tensor, grad: Tensor) -> Tensor:
        return (weight - self.gamma * grad).abs()


@dataclass(frozen=True)
class Sensitivity(Criterion):
    """|∇L|/|θ|: the gradient relative to the weight (Naji et al., 2021).

    The authors' code of the paper adds 1e-8 to the divisor, and 1 to the score except with global pruning.
    """

    def score(self, weight: Tensor, grad: Tensor) -> Tensor:
        return grad.abs() / weight.abs()


@dataclass(frozen=True)
class RSensitivity(Criterion):
    """|θ|/|∇L|: the reciprocal sensitivity; large weights with small gradients matter most (the paper, Section 3.2).

    Weights without a gradient, as those of a dead neuron, score infinity: they are pruned last, by their position.
    The authors' code of the paper adds 1e-8 to the divisor, which orders them by |θ|, and 1 to the score except with
    global pruning.
    """

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


@dataclass(frozen=True)
class RunningCriterion(Criterion):
    """Base class of criteria whose score is an exponential average over the optimizer steps.

    After each step's backward, average ← β·average + (1 − β)·score; a topology update prunes the lowest averages. The
    average of an inactive weight is 0, so that of a grown one starts there, as its momentum does. A score that is not
    finite (float16 gradients that overflow) is left out. The authors' code starts at the first score instead of 0 and
    keeps averages of inactive weights, which fade by β a step; with 1/(1 − β) far below Δt the two agree.

    Attributes:
        beta: β in [0, 1); 0 scores by the step of the update alone.
    """

    beta: float = 0.9

    def __post_init__(self) -> None:
        if not 0 <= self.beta < 1:
            raise ValueError(f"criterion.beta={self.beta}: must lie in [0, 1)")


@dataclass(frozen=True)
class RunningMagnitude(RunningCriterion):
    """|θ|, averaged over steps (the authors' code of the paper, whose β is 1 unless given)."""

    uses_gradient: ClassVar[bool] = False

    def score(self, weight: Tensor, grad: Tensor) -> Tensor:
        return weight.abs()


@dataclass(frozen=True)
class RunningSNIP(RunningCriterion):
    """|θ|·|∇L|, averaged over steps (the authors' code of the paper, whose β is 1 unless given)."""

    def score(self, weight: Tensor, grad: Tensor) -> Tensor:
        return weight.abs() * grad.abs()
