"""How large the sparse weights are and how far they went from the run's first ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dst.probes.base import Probe, View


@dataclass(frozen=True)
class Weights(Probe):
    """Norm of the sparsifiable weights, and their distance from those that the run began with, inactive ones being 0.

    ``norm`` and ``distance`` are L2 norms; ``cosine_distance`` is 1 − cos of the angle between the two. Both distances
    are missing where the probe was added to a run under way, whose first weights are no longer there.
    """

    def start(self, view: View) -> dict[str, Tensor]:
        """Remembers the initial weights."""
        return {name: weight.detach().clone() for name, weight in view.weights.items()}

    @torch.no_grad()
    def measure(self, view: View) -> dict[str, Any]:
        """Returns ``norm``, ``distance`` and ``cosine_distance`` of the network and of each layer."""
        if not view.memory:
            norms = {name: _norm([weight.detach()]) for name, weight in view.weights.items()}
            layers = {name: {"norm": norm} for name, norm in norms.items()}
            return {"norm": _norm(norms.values()), "layers": layers}
        pairs = {name: (weight.detach(), view.memory[name]) for name, weight in view.weights.items()}
        return {**_measures([*pairs.values()]), "layers": {name: _measures([pair]) for name, pair in pairs.items()}}


def _measures(pairs: Sequence[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """Returns the measures of weights, given as pairs of present and initial values, taken together as one vector."""
    norm, initial_norm = _norm(now for now, _ in pairs), _norm(before for _, before in pairs)
    return {
        "norm": norm,
        "distance": _norm(now - before for now, before in pairs),
        # half the squared distance of the unit vectors, which is exact where 1 − cos would cancel
        "cosine_distance": _norm(now / norm - before / initial_norm for now, before in pairs).square() / 2,
    }


def _norm(tensors: Iterable[Tensor]) -> Tensor:
    return torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(values) for values in tensors]))
