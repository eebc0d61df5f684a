"""Learning-rate schedules: the learning rate of each optimizer step, as a function of the step alone.

A schedule spans one phase and holds no state, so a resumed training needs nothing but its step. To add one, write a
frozen dataclass with ``factor`` and a YAML file in ``conf/lr_schedule``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from torch import Tensor
from torch.optim import Optimizer

from dst.config import RecipeConfig


@dataclass(frozen=True)
class Span:
    """The steps that a schedule spans.

    Attributes:
        steps: optimizer steps in all.
        steps_per_epoch: of these, in an epoch.
    """

    steps: int
    steps_per_epoch: int


@dataclass(frozen=True)
class LRSchedule:
    """The learning rate as a multiple of ``recipe.lr``; subclasses give :meth:`factor`.

    Attributes:
        warmup: length of a linear rise from 0 at the start: in epochs if 1 or more, else as a share of all steps.
            What follows spans the remaining steps.
    """

    warmup: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        if not 0 <= self.warmup < math.inf:
            raise ValueError(f"lr_schedule.warmup={self.warmup:g}: must be 0 or more")

    def __call__(self, step: int, span: Span, recipe: RecipeConfig) -> float:
        """Returns the learning rate of a step.

        Args:
            step: counted from 0 at the start of the span.
            span: the steps that the schedule spans.
            recipe: gives the learning rate, and milestones to those schedules that have any.
        """
        warmup = self.warmup * (span.steps_per_epoch if self.warmup >= 1 else span.steps)
        if step < warmup:
            return float(recipe.lr * min(1.0, (step + 1) / warmup))
        return float(recipe.lr * self._after(math.ceil(warmup), step, span, recipe))

    def _after(self, warmup: int, step: int, span: Span, recipe: RecipeConfig) -> float:
        return self.factor(step - warmup, Span(span.steps - warmup, span.steps_per_epoch), recipe)

    def factor(self, step: int, span: Span, recipe: RecipeConfig) -> float:
        """Returns the multiple of ``recipe.lr`` at a step after the warm-up.

        Args:
            step: counted from 0 at the end of the warm-up.
            span: the steps that follow the warm-up.
            recipe: of the run.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Step(LRSchedule):
    """Decays by ``recipe.lr_decay`` at each of ``recipe.lr_milestones``, given as shares of the epochs."""

    def factor(self, step: int, span: Span, recipe: RecipeConfig) -> float:
        epoch, epochs = step // span.steps_per_epoch, span.steps // span.steps_per_epoch
        return float(recipe.lr_decay ** sum(epoch >= share * epochs for share in recipe.lr_milestones))

    def _after(self, warmup: int, step: int, span: Span, recipe: RecipeConfig) -> float:
        return self.factor(step, span, recipe)  # milestones are shares of the whole phase, warm-up included


@dataclass(frozen=True)
class Constant(LRSchedule):
    """1 throughout."""

    def factor(self, step: int, span: Span, recipe: RecipeConfig) -> float:
        return 1.0


@dataclass(frozen=True)
class Cosine(LRSchedule):
    """½(1 + cos(πt/T)) (Loshchilov & Hutter, 2017)."""

    def factor(self, step: int, span: Span, recipe: RecipeConfig) -> float:
        return 0.5 * (1 + math.cos(math.pi * step / span.steps))


@dataclass(frozen=True)
class Polynomial(LRSchedule):
    """(1 − t/T)^power."""

    power: float = 1.0

    def factor(self, step: int, span: Span, recipe: RecipeConfig) -> float:
        return float((1 - step / span.steps) ** self.power)


@dataclass(frozen=True)
class Triangular(LRSchedule):
    """Linear from ``start`` to 1 over the first ``peak`` of the steps, then linear to 0 (Gadhikar et al., 2024)."""

    start: float = 0.2
    peak: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.start <= 1 or not 0 < self.peak < 1:
            raise ValueError(
                f"lr_schedule.start={self.start:g}, lr_schedule.peak={self.peak:g}: must lie in [0, 1] and in (0, 1)"
            )

    def factor(self, step: int, span: Span, recipe: RecipeConfig) -> float:
        share = step / span.steps
        if share < self.peak:
            return self.start + (1 - self.start) * share / self.peak
        return (1 - share) / (1 - self.peak)


@dataclass(frozen=True)
class OneCycle(LRSchedule):
    """Cosine from 1/``initial_divisor`` up to 1, then down to 1/``final_divisor`` of that (Smith & Topin, 2018).

    As :class:`torch.optim.lr_scheduler.OneCycleLR` with its names ``pct_start``, ``div_factor``, ``final_div_factor``.
    """

    peak: float = 0.3
    initial_divisor: float = 25.0
    final_divisor: float = 10_000.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.peak < 1 or min(self.initial_divisor, self.final_divisor) <= 0:
            raise ValueError(f"lr_schedule.peak={self.peak:g}: must lie in (0, 1), and the divisors must be above 0")

    def factor(self, step: int, span: Span, recipe: RecipeConfig) -> float:
        first, last = self.peak * span.steps - 1, span.steps - 1
        low = 1 / self.initial_divisor
        if step <= first:
            return _between(low, 1.0, step / first if first else 1.0)
        return _between(1.0, low / self.final_divisor, (step - first) / (last - first))


def _between(start: float, end: float, share: float) -> float:
    """Returns the value of half a cosine wave from ``start`` to ``end``."""
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


def set_learning_rate(optimizer: Optimizer, lr: float) -> None:
    """Makes ``lr`` the learning rate of all parameters.

    Args:
        optimizer: with the learning rates as numbers or tensors; tensors are filled, for a recorded step to follow.
        lr: the learning rate.
    """
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr
