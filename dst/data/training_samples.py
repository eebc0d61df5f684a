"""The training split as an evaluation sees it: in order, not augmented."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch

from dst.data.augment import PADDING, AugmentationParameters
from dst.data.batches import Batch, TrainBatches, TrainLoader
from dst.data.stream import EvaluationStream, TrainStream
from dst.errors import UserError


def training_samples(train: TrainLoader) -> Iterable[Batch]:
    """Returns the batches ``(x, y)`` of the whole training split; can be iterated any number of times.

    Raises:
        UserError: for a loader of another kind than those of :func:`dst.data.load`.
    """
    if isinstance(train, TrainBatches):
        return _InOrder(train)
    if isinstance(train, TrainStream):
        return EvaluationStream(train.stream.not_augmented())
    raise UserError(f"{type(train).__name__}: gives its samples augmented only; use those of dst.data.load")


@dataclass(frozen=True)
class _InOrder:
    train: TrainBatches

    def __iter__(self) -> Iterator[Batch]:
        samples, (count, size) = self.train.samples, self.train.sizes
        centre, unflipped = torch.full((count,), PADDING), torch.zeros(count, dtype=torch.int64)
        offsets = samples.offsets(torch.arange(count), AugmentationParameters(centre, centre, unflipped))
        for begin in range(0, count, size):
            batch = slice(begin, begin + size)
            yield self.train.make_batch(offsets[batch], self.train.labels[batch])
