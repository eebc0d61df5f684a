"""A custom criterion, compared with magnitude pruning in the sweep ``movement.yaml`` in this folder.

.venv/bin/python -m launch submit sweep=examples/movement.yaml cluster=local
.venv/bin/python -m analysis overview sweep=movement
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from dst.sparsity import Criterion


@dataclass(frozen=True)
class Movement(Criterion):
    """θ·∇L, signed: weights that move towards zero are pruned (Sanh et al., 2020)."""

    def score(self, weight: Tensor, grad: Tensor) -> Tensor:
        """Returns the importance of each weight; the lowest are pruned."""
        return -weight * grad
