"""Stratified splits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dst.errors import UserError

Indices = NDArray[np.int64]


def stratified_split(labels: Indices, held_out: int, seed: int) -> tuple[Indices, Indices]:
    """Splits the sample indices at random; returns those kept and those held out, both sorted.

    The held-out count of each class is its exact share, rounded by largest remainder (ties: the first class). Equal
    arguments give equal splits.

    Args:
        labels: int64 ``(N,)``.
        held_out: number of samples to hold out.
        seed: of the split.
    """
    random = np.random.RandomState(seed)  # its stream is frozen across NumPy versions, unlike default_rng's
    classes, counts = np.unique(labels, return_counts=True)
    shares = counts * held_out / max(len(labels), 1)
    quota = np.floor(shares).astype(np.int64)
    largest = np.argsort(quota - shares, kind="stable")
    quota[largest[: held_out - quota.sum()]] += 1
    is_held = np.zeros(len(labels), dtype=bool)
    for label, count in zip(classes, quota, strict=True):
        is_held[random.permutation(np.flatnonzero(labels == label))[:count]] = True
    return np.flatnonzero(~is_held), np.flatnonzero(is_held)


def validation_count(val_size: float, train_size: int) -> int:
    """Returns the number of validation samples.

    Args:
        val_size: ``dataset.val_size``: below 1, a share of ``train_size``; else a number of samples.
        train_size: number of training samples before the split.

    Raises:
        UserError: when ``val_size`` is above 1 and not a whole number, or no training samples would be left.
    """
    count = round(val_size * train_size) if val_size < 1 else int(val_size)
    if val_size > 1 and count != val_size:
        raise UserError(f"dataset.val_size={val_size}: give a share of train below 1 or a whole number of samples")
    if count >= train_size:
        raise UserError(f"dataset.val_size={val_size}: train has {train_size} samples, and some must be left")
    return count
