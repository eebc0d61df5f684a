"""Random crops and flips of images that lie on the device, for a whole batch at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

PADDING = 4
"""Pixels added on each side before a random crop to the original size."""

_CHUNK = 1024
"""Images mirrored at a time."""


@dataclass(frozen=True)
class Augmentation:
    """What happens to a training image.

    Attributes:
        pad: how the border is filled before a random crop, ``reflect`` or ``zero``; None: no crop.
        flip: mirrored left to right with probability ½.
    """

    pad: str | None = None
    flip: bool = False


AUGMENTATIONS = {
    "none": Augmentation(),
    "flip": Augmentation(flip=True),
    "crop_flip": Augmentation(pad="zero", flip=True),
    "reflect_crop_flip": Augmentation(pad="reflect", flip=True),
}


@dataclass(frozen=True)
class Draws:
    """The random choices for ``n`` samples, int64 ``(n,)`` each: the crop's top left corner, and 1 for a flip."""

    top: Tensor
    left: Tensor
    flip: Tensor


def draw(n: int, generator: torch.Generator) -> Draws:
    """Returns ``n`` samples' choices; the same whatever the augmentation, so that streams agree across settings."""
    top, left = torch.randint(2 * PADDING + 1, (2, n), generator=generator)
    return Draws(top, left, torch.randint(2, (n,), generator=generator))


class AugmentedSamples:
    """Samples of any dtype, ``(N, C, H, W)`` or ``(N, features)``, of which augmented batches are taken.

    All images are padded, and mirrored beside themselves, once and for all: at 32 pixels 3.1 times the memory. A crop
    then is ``C · H`` runs of ``W`` neighbours in the flat tensor, flipped or not, and one ``index_select`` over its
    windows gathers a batch of them. Without a crop, a window is a whole sample.
    """

    def __init__(self, samples: Tensor, augmentation: Augmentation) -> None:
        self.shape = samples.shape[1:]
        self._augmentation = augmentation
        self._count = len(samples)
        stored = _stored(samples.contiguous(), augmentation)
        self._size, self._width = stored[0].numel(), stored.shape[-1]
        self._rows = torch.zeros(1, dtype=torch.int64, device=samples.device)  # where each run begins in its image
        window = self._size
        if augmentation.pad:
            channels, height, window = self.shape
            channel = torch.arange(channels, device=samples.device) * (stored.shape[-2] * self._width)
            self._rows = (channel[:, None] + torch.arange(height, device=samples.device) * self._width).flatten()
        self._windows = stored.view(-1).unfold(0, window, 1)

    def plan(self, order: Tensor, draws: Draws) -> Tensor:
        """Returns where in the flat tensor each sample of ``order`` begins: int64 ``(n,)``, on the device."""
        first, left = order * self._size, draws.left
        if self._augmentation.flip:
            first = first + draws.flip * self._count * self._size
            left = torch.where(draws.flip.bool(), 2 * PADDING - left, left)
        if self._augmentation.pad:
            first = first + draws.top * self._width + left
        return first.to(self._rows.device)

    def take(self, first: Tensor) -> Tensor:
        """Returns the batch ``(B, *shape)`` that begins at ``first``, a slice of :meth:`plan`."""
        offsets = (first[:, None] + self._rows).flatten()
        return self._windows.index_select(0, offsets).view(-1, *self.shape)


def _stored(samples: Tensor, augmentation: Augmentation) -> Tensor:
    """Returns the samples padded and, after them, mirrored; filled piece by piece, as fresh memory is slow."""
    if augmentation == Augmentation():
        return samples
    n, channels, height, width = samples.shape
    margin = PADDING if augmentation.pad else 0
    stored = samples.new_zeros(n * (1 + augmentation.flip), channels, height + 2 * margin, width + 2 * margin)
    stored[:n, :, margin : margin + height, margin : margin + width] = samples
    if augmentation.pad == "reflect":
        reflect_border(stored[:n])
    for begin in range(0, len(stored) - n, _CHUNK):
        chunk = slice(begin, min(begin + _CHUNK, n))
        stored[n + chunk.start : n + chunk.stop] = stored[chunk].flip(-1)
    return stored


def reflect_border(padded: Tensor) -> None:
    """Fills the ``PADDING`` outermost pixels of ``(N, C, H, W)`` with the mirror image of those inside.

    In place, and here because torch reflects no uint8 images.
    """
    for dim in (-1, -2):
        last = padded.shape[dim] - 1
        for step in range(1, PADDING + 1):
            padded.select(dim, PADDING - step).copy_(padded.select(dim, PADDING + step))
            padded.select(dim, last - PADDING + step).copy_(padded.select(dim, last - PADDING - step))
