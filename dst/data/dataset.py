"""A loaded dataset: training, validation and test batches."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dst.data.batches import Batch, TrainLoader


@dataclass(frozen=True)
class Data:
    """Training, validation and test batches ``(x, y)``, float32 and int64, on the device.

    Attributes:
        shape: of one sample.
        fingerprint: SHA-256 of the decoded arrays; for ImageNet, of file and class names.
    """

    shape: tuple[int, ...]
    num_classes: int
    fingerprint: str
    train: TrainLoader
    val: Iterable[Batch]
    test: Iterable[Batch]
