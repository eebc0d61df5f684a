"""How often networks disagree, and how good they are together (Fort et al., 2019; Evci et al., 2022, Table 1)."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from dst.training.device import autocast

from .load import Network, Place, load_network, load_weights
from .states import NetworkState


def disagreement(states: Sequence[NetworkState], where: Place) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compares the predicted classes of networks on the test split.

    Args:
        states: networks of one model, trained on the same data.
        where: to compute.

    Returns:
        A row for each pair, ``first second disagreement`` (:func:`pair_disagreement`), and a row for each line of
        networks, ``line networks accuracy accuracy_std ensemble``: mean and sample standard deviation of the members'
        accuracies, and the accuracy of the mean of their probabilities.
    """
    network = load_network(states[0], where)
    predicted: dict[str, NDArray[np.int64]] = {}
    lines = []
    members_of = {line: [state for state in states if state.line == line] for line in _in_order(states)}
    with tqdm(total=len(states), desc="predict", unit="network", disable=None, leave=False) as bar:
        for line, members in members_of.items():
            total = None
            for state in members:
                network.load(load_weights(state, where).tensors)
                probabilities, labels, predicted[state.name] = predict(network)
                total = probabilities if total is None else total.add_(probabilities)
                bar.update()
            assert total is not None
            accuracies = [float((predicted[state.name] == labels).mean()) for state in members]
            std = float(np.std(accuracies, ddof=1)) if len(members) > 1 else None
            ensemble = float((total.argmax(dim=1).numpy() == labels).mean())
            lines.append((line, len(members), float(np.mean(accuracies)), std, ensemble))
    pairs = [
        (first.name, second.name, pair_disagreement(predicted[first.name], predicted[second.name]))
        for first, second in itertools.combinations(states, 2)
    ]
    columns = ["line", "networks", "accuracy", "accuracy_std", "ensemble"]
    return pd.DataFrame(pairs, columns=["first", "second", "disagreement"]), pd.DataFrame(lines, columns=columns)


def pair_disagreement(first: NDArray[np.int64], second: NDArray[np.int64]) -> float:
    """Returns the share of examples on which two networks' predicted classes differ.

    Args:
        first: predicted classes ``(examples,)``.
        second: those of the other network, of the same examples.
    """
    return float((first != second).mean())


@torch.no_grad()
def predict(network: Network) -> tuple[Tensor, NDArray[np.int64], NDArray[np.int64]]:
    """Returns probabilities, float64 ``(examples, classes)``, labels and predicted classes on the test split."""
    network.model.eval()
    outputs, labels = [], []
    with autocast(network.precision, network.device):
        for x, y in network.batches("test"):
            outputs.append(network.model(x).cpu().double())
            labels.append(y.cpu())
    logits = torch.cat(outputs)
    if logits.shape[1] == 1:  # one logit for two classes
        logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
    return logits.softmax(dim=1), torch.cat(labels).numpy(), logits.argmax(dim=1).numpy()


def _in_order(states: Iterable[NetworkState]) -> list[str]:
    return list(dict.fromkeys(state.line for state in states))
