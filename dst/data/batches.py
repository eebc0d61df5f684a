"""Batches of a dataset that lies on the device."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from dst.data.augment import AugmentedSamples, draw
from dst.data.normalise import Normalise
from dst.seeds import generator

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class TrainBatches:
    """Shuffled, augmented, normalised batches; an epoch is a function of its number and the seed alone.

    Attributes:
        samples: of the training set, on the device.
        labels: int64 ``(N,)``, on the device.
    """

    samples: AugmentedSamples
    labels: Tensor
    normalise: Normalise | None
    batch_size: int
    seed: int

    def __len__(self) -> int:
        """Steps per epoch; the last may be a smaller batch."""
        return math.ceil(len(self.labels) / self.batch_size)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yields the epoch's ``(x, y)`` from batch ``start`` on, the same as if it had begun at batch 0.

        All random numbers are drawn first, on the CPU, so ``start`` is a slice and every device sees equal batches.
        """
        n, size = len(self.labels), self.batch_size
        order = torch.randperm(n, generator=generator(self.seed, "data order", epoch))
        first = self.samples.plan(order, draw(n, generator(self.seed, "augmentation", epoch)))
        labels = self.labels[order.to(self.labels.device)]
        for begin in range(start * size, n, size):
            batch = slice(begin, begin + size)
            x = self.samples.take(first[batch])
            yield (self.normalise(x) if self.normalise else x), labels[batch]


@dataclass(frozen=True)
class EvaluationBatches:
    """Normalised batches in the dataset's own order, as often as one iterates."""

    samples: Tensor
    labels: Tensor
    normalise: Normalise | None
    batch_size: int

    def __len__(self) -> int:
        return math.ceil(len(self.labels) / self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for begin in range(0, len(self.labels), self.batch_size):
            batch = slice(begin, begin + self.batch_size)
            x = self.samples[batch]
            yield (self.normalise(x) if self.normalise else x), self.labels[batch]
