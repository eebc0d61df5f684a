"""Batches of a dataset too large for the device: worker processes decode its files, anew every epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from dst.data.batches import Batch, Train
from dst.data.image_files import ImageFiles
from dst.data.normalise import Normalise
from dst.errors import UserError
from dst.seeds import generator

_Sample = tuple[int, int]
"""Which file, and the seed of its augmentation."""


class Stream:
    """Decodes files in ``workers`` processes, which live as long as an epoch, and yields batches on the device.

    What travels is uint8, a quarter of the floats, from pinned memory while the device computes.
    """

    def __init__(
        self, files: ImageFiles, normalise: Normalise, *, batch_size: int, workers: int, device: torch.device
    ) -> None:
        self.files, self.normalise, self.batch_size = files, normalise, batch_size
        self._workers, self._device = workers, device

    def __len__(self) -> int:
        return math.ceil(len(self.files) / self.batch_size)

    def batches(self, samples: list[_Sample], start: int = 0) -> Iterator[Batch]:
        """Yields ``samples`` as uint8 images in batches, from batch ``start`` on; nothing before it is decoded.

        Raises:
            UserError: for a file that cannot be decoded.
        """
        size, mistake = self.batch_size, ""
        loader = DataLoader(
            self.files,
            batch_sampler=[samples[begin : begin + size] for begin in range(start * size, len(samples), size)],
            num_workers=self._workers,
            pin_memory=self._device.type == "cuda",
            generator=torch.Generator(),  # else each pass would draw from the global one, on which dropout depends
        )
        try:
            for x, y in loader:
                yield x.to(self._device, non_blocking=True), y.to(self._device, non_blocking=True)
        except UserError as error:  # from a worker it comes after the worker's traceback
            mistake = str(error).strip().splitlines()[-1].removeprefix("dst.errors.UserError: ")
            error.__traceback__ = None  # which holds the loader, and so its workers
        if mistake:
            raise UserError(mistake)


@dataclass(frozen=True)
class TrainStream(Train):
    """Batches as they are decoded; raw ones are the images, uint8 ``(batch, channels, height, width)``."""

    stream: Stream
    seed: int

    @property
    def sizes(self) -> tuple[int, int]:
        """Samples of an epoch and of a batch."""
        return len(self.stream.files), self.stream.batch_size

    def raw_batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yields uint8 images ``(B, C, H, W)``, augmented, with their labels."""
        n = len(self.stream.files)
        order = torch.randperm(n, generator=generator(self.seed, "data order", epoch))
        seeds = torch.randint(2**62, (n,), generator=generator(self.seed, "augmentation", epoch))
        return self.stream.batches(list(zip(order.tolist(), seeds.tolist(), strict=True)), start)

    def make_batch(self, raw: Tensor, y: Tensor) -> Batch:
        """Normalises."""
        return self.stream.normalise(raw), y


@dataclass(frozen=True)
class EvaluationStream:
    """Batches in the files' order, never augmented, as often as one iterates."""

    stream: Stream

    def __len__(self) -> int:
        return len(self.stream)

    def __iter__(self) -> Iterator[Batch]:
        for x, y in self.stream.batches([(index, 0) for index in range(len(self.stream.files))]):
            yield self.stream.normalise(x), y
