"""A dense model with the interface of :class:`~dst.sparsity.MaskedModel`, so that one loop trains both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dst.sparsity.layer import SparseLayer


class DenseModel:
    """No masks and no topology updates: every weight is active.

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

    def step(
        self, optimizer_step: Callable[[], object] | None = None, on_update: Callable[[], object] | None = None
    ) -> None:
        """Takes one optimizer step.

        Args:
            optimizer_step: called in place of ``optimizer.step``.
            on_update: never called, as there are no topology updates.
        """
        self.masked_step(optimizer_step)

    def masked_step(self, optimizer_step: Callable[[], object] | None = None) -> None:
        """Calls ``optimizer_step``, by default ``optimizer.step``."""
        (optimizer_step or self.optimizer.step)()

    def count_step(self) -> None:
        """Does nothing: no behavior depends on the step count."""

    def continue_from(self, previous: Any) -> None:
        """Has nothing to take over from what kept the model sparse before."""

    def itop_ratio(self) -> float:
        """Returns 1: every weight has been active at least once."""
        return 1.0

    def pop_updates(self) -> list[dict[str, Any]]:
        """Returns no records of topology updates."""
        return []

    def state_dict(self) -> dict[str, Any]:
        """Returns an empty state."""
        return {}

    def load_state_dict(self, state: Any) -> None:
        """Ignores ``state``."""
