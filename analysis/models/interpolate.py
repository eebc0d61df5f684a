"""Loss and accuracy along the line between two networks, and the barrier between them (Evci et al., 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor, nn
from tqdm import tqdm

from dst.errors import UserError
from dst.training.device import autocast
from dst.training.evaluation import evaluate

from .load import SPLITS, Network, Place, Weights, load_network, load_weights
from .states import NetworkState

ALPHAS = tuple(round(-0.2 + 0.05 * index, 2) for index in range(29))
"""Points of the line: 0 is its start, 1 its end (google-research/rigl, ``configs/interpolate.gin``)."""

MASKS = ("none", "start", "end", "both")
"""Masks that apply to both ends: none besides their own, one end's, or what both ends have."""

BATCH_NORM = ("keep", "reestimate")
"""Running statistics on the line: interpolated as the weights are, or estimated anew on the training split."""

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


@dataclass(frozen=True)
class Line:
    """How to go from one network to another.

    Attributes:
        mask: one of :data:`MASKS`. The paper's code applies the start's mask to both ends, so that an end from another
            mask is cut; ``none`` leaves both as they were trained.
        batch_norm: one of :data:`BATCH_NORM`.
        splits: to evaluate on, of :data:`~analysis.models.load.SPLITS`.
    """

    mask: str = "none"
    batch_norm: str = "keep"
    splits: tuple[str, ...] = SPLITS


def interpolate(starts: Sequence[NetworkState], end: NetworkState, line: Line, where: Place) -> pd.DataFrame:
    """Returns loss and accuracy on the way from each start to the end, in evaluation mode.

    Args:
        starts: networks of the end's model, trained on its data.
        end: the network at α = 1; evaluated in its run's precision.
        line: how to go there.
        where: to compute.

    Returns:
        Columns ``start end split alpha loss accuracy``, a row for each pair, split and α.
    """
    network, last = load_network(end, where), load_weights(end, where)
    rows = []
    with tqdm(total=len(starts) * len(ALPHAS), desc="interpolate", unit="point", disable=None, leave=False) as bar:
        for start in starts:
            first = load_weights(start, where)
            ends = _masked(first, start.name, last, end.name, line.mask)
            for alpha in ALPHAS:
                network.load(point_between(*ends, alpha))
                if line.batch_norm == "reestimate":
                    reestimate_batch_norm(network)
                for split in line.splits:
                    rows.append((start.name, end.name, split, alpha, *evaluate(network, network.batches(split))))
                bar.update()
    return pd.DataFrame(rows, columns=["start", "end", "split", "alpha", "loss", "accuracy"])


def point_between(start: dict[str, Tensor], end: dict[str, Tensor], alpha: float) -> dict[str, Tensor]:
    """Returns (1 − α) · start + α · end of all parameters and buffers; exactly an end at 0 and 1.

    Counters are the start's. A running variance below 0, which a point beyond the ends may have, becomes 0.

    Args:
        start: tensors by name.
        end: of the same names and shapes.
        alpha: α.
    """
    point = {
        name: torch.lerp(first, end[name], alpha) if first.is_floating_point() else first
        for name, first in start.items()
    }
    return {name: value.clamp(min=0) if name.endswith("running_var") else value for name, value in point.items()}


@torch.no_grad()
def reestimate_batch_norm(network: Network) -> None:
    """Sets the running statistics of batch normalisation to the means over the batches of the training split.

    The rest of the model is in evaluation mode. Does nothing to a model without batch normalisation.
    """
    layers = [layer for layer in network.model.modules() if isinstance(layer, _BATCH_NORMS)]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    network.model.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the mean over all batches
        layer.train()
    with autocast(network.precision, network.device):
        for x, _ in network.batches("train"):
            network.model(x)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum


def barriers(points: pd.DataFrame) -> pd.DataFrame:
    """Returns a row for each pair and split: the ends' losses and accuracies, and the barrier between them.

    The barrier is the maximum over 0 ≤ α ≤ 1 of loss(α) − ((1 − α) · loss(0) + α · loss(1)), in units of the loss.

    Args:
        points: from :func:`interpolate`.
    """
    rows = []
    for (start, end, split), line in points.groupby(["start", "end", "split"], sort=False):
        inside = line[line["alpha"].between(0, 1)].set_index("alpha")
        first, last = inside.loc[0.0], inside.loc[1.0]
        straight = first["loss"] + inside.index * (last["loss"] - first["loss"])
        accuracies = (first["accuracy"], last["accuracy"], inside["accuracy"].min())
        rows.append((start, end, split, first["loss"], last["loss"], (inside["loss"] - straight).max(), *accuracies))
    columns = ["loss_start", "loss_end", "barrier", "accuracy_start", "accuracy_end", "accuracy_lowest"]
    return pd.DataFrame(rows, columns=["start", "end", "split", *columns])


def _masked(
    first: Weights, first_name: str, last: Weights, last_name: str, mask: str
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    used = {"none": (), "start": ((first, first_name),), "end": ((last, last_name),)}.get(
        mask, ((first, first_name), (last, last_name))
    )
    ends = first.tensors, last.tensors
    for weights, name in used:
        if weights.masks is None:
            raise UserError(f"mask={mask}: the masks of {name} were not stored; use mask=none, or the last weights")
        masks = weights.masks
        ends = tuple(  # type: ignore[assignment]
            {key: tensor * masks[key] if key in masks else tensor for key, tensor in side.items()} for side in ends
        )
    return ends
