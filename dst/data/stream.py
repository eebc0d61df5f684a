"""Batches of a dataset too large for the device: worker processes decode its files, anew every epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.utils.data import DataLoader

from dst.data.batches import Batch
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
        self.files, self.batch_size = files, batch_size
        self._normalise, self._workers, self._device = normalise, workers, device

    def __len__(self) -> int:
        return math.ceil(len(self.files) / self.batch_size)

    def batches(self, samples: list[_Sample], start: int = 0) -> Iterator[Batch]:
        """Yields ``samples`` in batches, from batch ``start`` on; nothing before it is decoded.

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
                x, y = (tensor.to(self._device, non_blocking=True) for tensor in (x, y))
                yield self._normalise(x), y
        except UserError as error:  # from a worker it comes after the worker's traceback
            mistake = str(error).strip().splitlines()[-1].removeprefix("dst.errors.UserError: ")
            error.__traceback__ = None  # which holds the loader, and so its workers
        if mistake:
            raise UserError(mistake)


@dataclass(frozen=True)
class TrainStream:
    """Shuffled, augmented batches; an epoch is a function of its number and the seed alone."""

    stream: Stream
    seed: int

    def __len__(self) -> int:
        """Steps per epoch; the last may be a smaller batch."""
        return len(self.stream)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yields the epoch's ``(x, y)`` from batch ``start`` on, the same as if it had begun at batch 0."""
        n = len(self.stream.files)
        order = torch.randperm(n, generator=generator(self.seed, "data order", epoch))
        seeds = torch.randint(2**62, (n,), generator=generator(self.seed, "augmentation", epoch))
        return self.stream.batches(list(zip(order.tolist(), seeds.tolist(), strict=True)), start)


@dataclass(frozen=True)
class EvaluationStream:
    """Batches in the files' order, never augmented, as often as one iterates."""

    stream: Stream

    def __len__(self) -> int:
        return len(self.stream)

    def __iter__(self) -> Iterator[Batch]:
        return self.stream.batches([(index, 0) for index in range(len(self.stream.files))])
