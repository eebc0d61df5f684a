"""Prune-fraction schedules: the share ρ_t of the active weights that the update at step t prunes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar


@dataclass(frozen=True)
class Schedule:
    """Maps the optimizer step to the prune fraction.

    Attributes:
        initial: ρ, the initial prune fraction.
        stop_at: T as a share of all optimizer steps; updates stop before step T.
    """

    initial: float = 0.5
    stop_at: float = field(default=1.0, kw_only=True)

    follows_lr: ClassVar[bool] = False
    """Whether ρ_t is what the schedule returns times the optimizer's learning rate over its initial one, at most 1."""

    def stop_step(self, total_steps: int) -> float:
        """Returns T for a run of ``total_steps`` optimizer steps."""
        return round(self.stop_at * total_steps, 6)  # 0.55 · 100 is 55.00000000000001: step 55 would still update

    def __call__(self, step: int, stop_step: float) -> float:
        """Returns ρ_t at ``step`` (counted from 1); ``stop_step`` is T, before which the updates stop."""
        raise NotImplementedError


@dataclass(frozen=True)
class Cosine(Schedule):
    """½ρ(1 + cos(πt/T)), the paper's default (Section 3.1)."""

    def __call__(self, step: int, stop_step: float) -> float:
        return 0.5 * self.initial * (1 + math.cos(math.pi * step / stop_step))


@dataclass(frozen=True)
class Linear(Schedule):
    """ρ · factor^⌊t/every⌋; exponential, though the paper calls it linear (Appendix J)."""

    factor: float = 0.99
    every: int = 600

    def __post_init__(self) -> None:
        if not 0 <= self.factor <= 1 or self.every < 1:
            raise ValueError(f"factor={self.factor}, every={self.every}: must lie in [0, 1], and be 1 step or more")

    def __call__(self, step: int, stop_step: float) -> float:
        return self.initial * self.factor ** (step // self.every)


@dataclass(frozen=True)
class Constant(Schedule):
    """ρ at every step."""

    def __call__(self, step: int, stop_step: float) -> float:
        return self.initial


@dataclass(frozen=True)
class LearningRate(Constant):
    """ρ · lr(t)/lr(0), of the optimizer's learning rate (the code of RigL: Evci et al., 2020)."""

    follows_lr: ClassVar[bool] = True
