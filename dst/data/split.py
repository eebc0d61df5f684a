"""Holding samples out, class by class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dst.errors import UserError

Indices = NDArray[np.int64]


def stratified_split(labels: Indices, held_out: int, seed: int) -> tuple[Indices, Indices]:
    """Splits ``range(len(labels))`` at random into what is kept and exactly ``held_out`` samples held out.

    Every class gives its share, rounded by largest remainder (ties: the first class), so no count is off by one or
    more from the exact share. Both parts are sorted; equal arguments give equal parts.
    """
    random = np.random.RandomState(seed)  # NumPy keeps this stream the same for ever, unlike default_rng's
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
    """Returns how many of ``train_size`` samples ``dataset.val_size`` asks for: a share below 1, else a number.

    Raises:
        UserError: for a fraction of a sample, or when nothing would be left to train on.
    """
    count = round(val_size * train_size) if val_size < 1 else int(val_size)
    if val_size > 1 and count != val_size:
        raise UserError(f"dataset.val_size={val_size}: give a share of train below 1 or a whole number of samples")
    if count >= train_size:
        raise UserError(f"dataset.val_size={val_size}: train has {train_size} samples, and some must be left")
    return count
