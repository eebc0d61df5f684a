"""Batches of a dataset held in device memory."""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from dst.data.augment import AugmentedSamples, draw_parameters, unchanged
from dst.data.normalise import Normalise
from dst.ranks import share
from dst.seeds import generator

log = logging.getLogger("dst")

Batch = tuple[Tensor, Tensor]


def warn_if_single_batch(batch_size: int, samples: int) -> None:
    """Warns if the batch size exceeds the training set.

    Args:
        batch_size: of the recipe.
        samples: number of training samples.
    """
    if batch_size > samples:
        log.warning("recipe.batch_size=%d: the training set has %d samples, all in one batch", batch_size, samples)


class TrainLoader(ABC):
    """Shuffled, augmented, normalised batches; an epoch depends on its number and the seed alone.

    A batch is made in two steps: :meth:`raw_batches` yields its inputs, and :meth:`make_batch` computes the batch on
    the device without host synchronisation, so that a CUDA graph can capture it.
    """

    @property
    @abstractmethod
    def sizes(self) -> tuple[int, int]:
        """Samples per epoch and per batch; the last batch of an epoch may be smaller."""

    def __len__(self) -> int:
        """Steps per epoch."""
        samples, batch_size = self.sizes
        return math.ceil(samples / batch_size)

    def samples_seen(self, steps: int) -> int:
        """Returns how many samples the first ``steps`` training steps process, counting repetitions."""
        samples, batch_size = self.sizes
        epochs, rest = divmod(steps, len(self))
        return epochs * samples + rest * batch_size

    @abstractmethod
    def raw_batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yields ``(raw, y)`` of each batch: the input of :meth:`make_batch` and the labels, int64 ``(batch,)``.

        Args:
            epoch: from 0.
            start: first batch to yield; the batches are those of a whole epoch from there on.
        """

    def shares(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yields this process's share of each of :meth:`raw_batches`.

        Args:
            epoch: from 0.
            start: first batch to yield.
        """
        for raw, y in self.raw_batches(epoch, start):
            yield share(raw), share(y)

    @abstractmethod
    def make_batch(self, raw: Tensor, y: Tensor) -> Batch:
        """Returns the batch ``(x, y)``: float32 ``(batch, *shape)`` and int64 ``(batch,)``.

        Args:
            raw: from :meth:`raw_batches`.
            y: labels, int64 ``(batch,)``.
        """

    @abstractmethod
    def raw_sample(self, n: int, start: int = 0) -> Batch:
        """Returns samples in the order of the dataset, not augmented, as one raw batch.

        Args:
            n: number of samples.
            start: the first one.
        """

    def split(self, raw: Tensor, y: Tensor) -> Iterator[Batch]:
        """Yields a raw batch of any size as batches ``(x, y)`` of the training's size; the last one may be smaller.

        Args:
            raw: from :meth:`raw_sample`.
            y: labels, int64 ``(samples,)``.
        """
        _, batch_size = self.sizes
        for some, labels in zip(raw.split(batch_size), y.split(batch_size), strict=True):
            yield self.make_batch(some, labels)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yields the epoch's batches ``(x, y)``.

        Args:
            epoch: from 0.
            start: first batch to yield.
        """
        for raw, y in self.raw_batches(epoch, start):
            yield self.make_batch(raw, y)


@dataclass(frozen=True)
class TrainBatches(TrainLoader):
    """Batches of samples in device memory; a raw batch holds the samples' offsets there, int64 ``(batch,)``.

    Attributes:
        samples: the training set, on the device.
        labels: int64 ``(N,)``, on the device.
        normalise: None: the samples are normalised already.
    """

    samples: AugmentedSamples
    labels: Tensor
    normalise: Normalise | None
    batch_size: int
    seed: int

    @property
    def sizes(self) -> tuple[int, int]:
        """Samples per epoch and per batch."""
        return len(self.labels), self.batch_size

    def raw_batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Draws the epoch's random numbers on the CPU, so that batches are equal on every device."""
        n, size = len(self.labels), self.batch_size
        order = torch.randperm(n, generator=generator(self.seed, "data order", epoch))
        offsets = self.samples.offsets(order, draw_parameters(n, generator(self.seed, "augmentation", epoch)))
        labels = self.labels[order.to(self.labels.device)]
        for begin in range(start * size, n, size):
            yield offsets[begin : begin + size], labels[begin : begin + size]

    def raw_sample(self, n: int, start: int = 0) -> Batch:
        """Returns the samples' offsets and labels."""
        return self.samples.offsets(torch.arange(start, start + n), unchanged(n)), self.labels[start : start + n]

    def make_batch(self, raw: Tensor, y: Tensor) -> Batch:
        """Gathers the augmented samples and normalises them."""
        x = self.samples.gather(raw)
        return (self.normalise(x) if self.normalise else x), y


@dataclass(frozen=True)
class EvaluationBatches:
    """Normalised batches in dataset order, of each this process's share; can be iterated any number of times."""

    samples: Tensor
    labels: Tensor
    normalise: Normalise | None
    batch_size: int

    def __len__(self) -> int:
        return math.ceil(len(self.labels) / self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for begin in range(0, len(self.labels), self.batch_size):
            batch = slice(begin, begin + self.batch_size)
            x = share(self.samples[batch])
            yield (self.normalise(x) if self.normalise else x), share(self.labels[batch])
