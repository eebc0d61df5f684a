"""Batches of a dataset too large for memory: worker processes decode its images in every epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from dst.data.batches import Batch, TrainLoader
from dst.data.image_files import DecodedImages
from dst.data.normalise import Normalise
from dst.errors import UserError
from dst.ranks import share
from dst.seeds import generator

_Sample = tuple[int, int]
"""Index of an image, and the seed of its augmentation."""


class Stream:
    """Decodes images in worker processes, started for each epoch, and yields uint8 batches on the device.

    Batches are copied as uint8, a quarter of the size of float32, asynchronously from pinned memory.

    Args:
        files: the images, decoded in the order that :meth:`batches` is given.
        normalise: applied on the device by whoever iterates.
        batch_size: samples per batch; the last one may be smaller.
        workers: number of processes; 0: decodes in this process.
        device: where batches go.
    """

    def __init__(
        self, files: DecodedImages, normalise: Normalise, *, batch_size: int, workers: int, device: torch.device
    ) -> None:
        self.files, self.normalise, self.batch_size = files, normalise, batch_size
        self._workers, self._device = workers, device

    def __len__(self) -> int:
        return math.ceil(len(self.files) / self.batch_size)

    def not_augmented(self) -> Stream:
        """Returns a stream of the same images, not augmented."""
        files = self.files.not_augmented()
        return Stream(files, self.normalise, batch_size=self.batch_size, workers=self._workers, device=self._device)

    def batches(self, samples: list[_Sample], start: int = 0, *, shared: bool = False) -> Iterator[Batch]:
        """Yields batches of uint8 images ``(B, 3, H, W)`` and labels, int64 ``(B,)``.

        Args:
            samples: of the whole epoch, in order.
            start: first batch to yield; the samples before it are not decoded.
            shared: of each batch only this process's share is decoded.

        Raises:
            UserError: for an image that cannot be decoded.
        """
        size, message, kind = self.batch_size, "", UserError
        batches = [samples[begin : begin + size] for begin in range(start * size, len(samples), size)]
        loader = DataLoader(
            self.files,
            batch_sampler=list(map(share, batches)) if shared else batches,
            num_workers=self._workers,
            pin_memory=self._device.type == "cuda",
            generator=torch.Generator(),  # the default draws from the global generator, which dropout uses
        )
        try:
            for x, y in loader:
                yield x.to(self._device, non_blocking=True), y.to(self._device, non_blocking=True)
        except UserError as error:  # from a worker, the message is the last line of its traceback
            kind = type(error)
            message = str(error).strip().splitlines()[-1].removeprefix(f"dst.errors.{kind.__name__}: ")
            error.__traceback__ = None  # it references the loader and keeps its workers alive
        if message:
            raise kind(message)


@dataclass(frozen=True)
class TrainStream(TrainLoader):
    """Training batches of a stream; a raw batch holds augmented images, uint8 ``(batch, channels, height, width)``."""

    stream: Stream
    seed: int

    @property
    def sizes(self) -> tuple[int, int]:
        """Samples per epoch and per batch."""
        return len(self.stream.files), self.stream.batch_size

    def raw_batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Draws the epoch's order and augmentation seeds on the CPU."""
        return self.stream.batches(self._samples(epoch), start)

    def shares(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """As those of :class:`TrainLoader`; other shares are not decoded."""
        return self.stream.batches(self._samples(epoch), start, shared=True)

    def _samples(self, epoch: int) -> list[_Sample]:
        n = len(self.stream.files)
        order = torch.randperm(n, generator=generator(self.seed, "data order", epoch))
        seeds = torch.randint(2**62, (n,), generator=generator(self.seed, "augmentation", epoch))
        return list(zip(order.tolist(), seeds.tolist(), strict=True))

    def raw_sample(self, n: int, start: int = 0) -> Batch:
        """Decodes the images."""
        samples = [(index, 0) for index in range(start, start + n)]
        images, labels = zip(*self.stream.not_augmented().batches(samples), strict=True)
        return torch.cat(images), torch.cat(labels)

    def make_batch(self, raw: Tensor, y: Tensor) -> Batch:
        """Normalises the images."""
        return self.stream.normalise(raw), y


@dataclass(frozen=True)
class EvaluationStream:
    """Batches in file order, not augmented, of each this process's share; can be iterated any number of times."""

    stream: Stream

    def __len__(self) -> int:
        return len(self.stream)

    def __iter__(self) -> Iterator[Batch]:
        for x, y in self.stream.batches([(index, 0) for index in range(len(self.stream.files))], shared=True):
            yield self.stream.normalise(x), y
