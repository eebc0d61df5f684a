"""Batches of a dataset that lies on the device."""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from dst.data.augment import AugmentedSamples, draw
from dst.data.normalise import Normalise
from dst.seeds import generator

log = logging.getLogger("dst")

Batch = tuple[Tensor, Tensor]


def tell_large_batch(batch_size: int, samples: int) -> None:
    """Warns that one batch holds the whole training set."""
    if batch_size > samples:
        log.warning("recipe.batch_size=%d: the training set has %d samples, all in one batch", batch_size, samples)


class Train(ABC):
    """Shuffled, augmented, normalised batches; an epoch is a function of its number and the seed alone.

    A batch is made in two steps: :meth:`raw_batches` says what is in it, and :meth:`make_batch` computes it from that,
    on the device and in the same way every time, so that it can be part of a recorded step.
    """

    @property
    @abstractmethod
    def sizes(self) -> tuple[int, int]:
        """Samples of an epoch and of a batch; the epoch's last batch may be smaller."""

    def __len__(self) -> int:
        """Steps per epoch."""
        samples, batch_size = self.sizes
        return math.ceil(samples / batch_size)

    def seen(self, steps: int) -> int:
        """Returns how many samples the first ``steps`` steps of a training see, repetitions included."""
        samples, batch_size = self.sizes
        epochs, rest = divmod(steps, len(self))
        return epochs * samples + rest * batch_size

    @abstractmethod
    def raw_batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yields ``(raw, y)`` of each batch from batch ``start`` on, the same as if the epoch had begun at batch 0.

        ``raw`` is what :meth:`make_batch` takes, ``y`` the labels, int64 ``(batch,)``.
        """

    @abstractmethod
    def make_batch(self, raw: Tensor, y: Tensor) -> Batch:
        """Returns the batch ``(x, y)``: float32 ``(batch, *shape)`` and int64 ``(batch,)``."""

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yields the epoch's ``(x, y)`` from batch ``start`` on."""
        for raw, y in self.raw_batches(epoch, start):
            yield self.make_batch(raw, y)


@dataclass(frozen=True)
class TrainBatches(Train):
    """Batches of samples that lie on the device; raw ones are the positions where each sample begins there.

    Attributes:
        samples: of the training set, on the device.
        labels: int64 ``(N,)``, on the device.
    """

    samples: AugmentedSamples
    labels: Tensor
    normalise: Normalise | None
    batch_size: int
    seed: int

    @property
    def sizes(self) -> tuple[int, int]:
        """Samples of an epoch and of a batch."""
        return len(self.labels), self.batch_size

    def raw_batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """All random numbers are drawn first, on the CPU, so ``start`` is a slice and devices see equal batches."""
        n, size = len(self.labels), self.batch_size
        order = torch.randperm(n, generator=generator(self.seed, "data order", epoch))
        first = self.samples.plan(order, draw(n, generator(self.seed, "augmentation", epoch)))
        labels = self.labels[order.to(self.labels.device)]
        for begin in range(start * size, n, size):
            yield first[begin : begin + size], labels[begin : begin + size]

    def make_batch(self, raw: Tensor, y: Tensor) -> Batch:
        """Gathers, augments and normalises."""
        x = self.samples.take(raw)
        return (self.normalise(x) if self.normalise else x), y


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
