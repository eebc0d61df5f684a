"""A dense model behind the interface of a sparse one, so that a training loop need not ask which it has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dst.sparsity.layer import SparseLayer


class DenseModel:
    """No masks: every weight is active and no topology update ever comes.

    Args:
        optimizer: over the model's parameters.
    """

    update_due = False
    prune_fraction: float | None = None
    density = 1.0
    dense_gradients = "never"

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer
        self.layers: list[SparseLayer] = []
        self.masks: dict[str, Tensor] = {}

    def step(self, take: Callable[[], object] | None = None) -> None:
        """Takes one optimizer step: ``take``, or ``optimizer.step`` by default."""
        (take or self.optimizer.step)()

    masked_step = step

    def count_step(self) -> None:
        """Nothing depends on how many steps were taken."""

    def continue_from(self, previous: Any) -> None:
        """Has nothing to take over from what kept the model sparse before."""

    def itop_ratio(self) -> float:
        """Returns 1: every weight has been active."""
        return 1.0

    def pop_updates(self) -> list[dict[str, Any]]:
        """Returns no records."""
        return []

    def state_dict(self) -> dict[str, Any]:
        """Returns an empty state."""
        return {}

    def load_state_dict(self, state: Any) -> None:
        """Ignores ``state``."""
