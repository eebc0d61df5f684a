"""The three parts of a dataset, ready to train on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dst.data.batches import Batch, Train


@dataclass(frozen=True)
class Data:
    """A dataset's three parts as batches of ``(x, y)``, float32 and int64, on the device.

    Attributes:
        shape: of one sample.
        fingerprint: SHA-256 of what the parts are made from.
    """

    shape: tuple[int, ...]
    num_classes: int
    fingerprint: str
    train: Train
    val: Iterable[Batch]
    test: Iterable[Batch]
