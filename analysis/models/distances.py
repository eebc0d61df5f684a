"""Distances between the weights of networks."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from .load import Place, load_weights, parameter_names
from .states import NetworkState


def distances(states: Sequence[NetworkState], where: Place) -> pd.DataFrame:
    """Returns the distances between the weights of all pairs, the whole of which are in memory at once.

    Args:
        states: networks of one model.
        where: the data are, for the weights of a run's first step.

    Returns:
        Columns ``first second l2 cosine``: the Euclidean distance of all parameters (no buffers), and 1 minus the
        cosine of the angle between them.
    """
    names = parameter_names(states[0], where)
    bar = tqdm(states, desc="load", unit="network", disable=None, leave=False)
    vectors = {state.name: flatten(load_weights(state, where).tensors, names) for state in bar}
    norms = {name: _norm(vector) for name, vector in vectors.items()}
    pairs = list(itertools.combinations(vectors, 2))
    rows = []
    for first, second in tqdm(pairs, desc="distances", unit="pair", disable=None, leave=False):
        a, b = vectors[first], vectors[second]
        cosine = float(a.double() @ b.double()) / max(norms[first] * norms[second], 1e-300)
        rows.append((first, second, _norm(a - b), max(0.0, 1 - cosine)))
    return pd.DataFrame(rows, columns=["first", "second", "l2", "cosine"])


def flatten(tensors: dict[str, Tensor], names: Sequence[str]) -> Tensor:
    """Returns parameters as one vector, float32 ``(parameters,)``.

    Args:
        tensors: by name.
        names: of the parameters, in order.
    """
    return torch.cat([tensors[name].float().flatten() for name in names])


def _norm(vector: Tensor) -> float:
    return float(torch.linalg.vector_norm(vector, dtype=torch.float64))
