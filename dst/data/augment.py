"""Random crops and flips of whole image batches in device memory."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

PADDING = 4
"""Pixels added on each side before a random crop to the original size."""

_CHUNK = 1024
"""Images flipped at a time."""


@dataclass(frozen=True)
class Augmentation:
    """Which random transforms a training image gets.

    Attributes:
        pad: padding mode before a random crop to the original size, ``reflect`` or ``zero``; None: no crop.
        flip: horizontal flip with probability ½.
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
class AugmentationParameters:
    """Crop offsets and flips of ``n`` samples, int64 ``(n,)`` each: rows and columns in 0…8, and 1 for a flip."""

    top: Tensor
    left: Tensor
    flip: Tensor


def draw_parameters(n: int, generator: torch.Generator) -> AugmentationParameters:
    """Draws the parameters of ``n`` samples.

    All of them are drawn whatever the augmentation, so that every setting consumes the generator alike.

    Args:
        n: number of samples.
        generator: on the CPU.
    """
    top, left = torch.randint(2 * PADDING + 1, (2, n), generator=generator)
    return AugmentationParameters(top, left, torch.randint(2, (n,), generator=generator))


def unchanged(n: int) -> AugmentationParameters:
    """Returns the parameters by which ``n`` samples are as they were: central crops, no flips."""
    centre = torch.full((n,), PADDING)
    return AugmentationParameters(centre, centre, torch.zeros(n, dtype=torch.int64))


class AugmentedSamples:
    """Samples of any dtype, ``(N, C, H, W)`` or ``(N, features)``, from which augmented batches are gathered.

    Images are stored padded, together with flipped copies: 3.1 times the memory at 32 pixels. A crop then consists of
    ``C · H`` contiguous rows of ``W`` pixels in the flat tensor, so one ``index_select`` gathers a whole batch. Without
    a crop, one contiguous window is a whole sample.
    """

    def __init__(self, samples: Tensor, augmentation: Augmentation) -> None:
        self.shape = samples.shape[1:]
        self._augmentation = augmentation
        self._count = len(samples)
        stored = _stored(samples.contiguous(), augmentation)
        self._size, self._width = stored[0].numel(), stored.shape[-1]
        self._rows = torch.zeros(1, dtype=torch.int64, device=samples.device)  # offset of each row of a crop
        window = self._size
        if augmentation.pad:
            channels, height, window = self.shape
            channel = torch.arange(channels, device=samples.device) * (stored.shape[-2] * self._width)
            self._rows = (channel[:, None] + torch.arange(height, device=samples.device) * self._width).flatten()
        self._windows = stored.view(-1).unfold(0, window, 1)

    def offsets(self, order: Tensor, parameters: AugmentationParameters) -> Tensor:
        """Returns each augmented sample's offset in the flat tensor, int64 ``(n,)``, on the device.

        Args:
            order: sample indices, int64 ``(n,)``, on the CPU.
            parameters: crops and flips of these samples, in the same order.
        """
        offsets, left = order * self._size, parameters.left
        if self._augmentation.flip:
            offsets = offsets + parameters.flip * self._count * self._size
            left = torch.where(parameters.flip.bool(), 2 * PADDING - left, left)
        if self._augmentation.pad:
            offsets = offsets + parameters.top * self._width + left
        return offsets.to(self._rows.device)

    def gather(self, offsets: Tensor) -> Tensor:
        """Returns the batch ``(B, *shape)`` at ``offsets``, a slice of what :meth:`offsets` returns."""
        rows = (offsets[:, None] + self._rows).flatten()
        return self._windows.index_select(0, rows).view(-1, *self.shape)


def _stored(samples: Tensor, augmentation: Augmentation) -> Tensor:
    """Returns the padded samples followed by their flipped copies; flips in chunks to keep temporary tensors small."""
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
    """Reflects the interior of ``(N, C, H, W)`` into its ``PADDING`` outermost pixels, in place.

    ``torch.nn.functional.pad`` does not support ``reflect`` for uint8.
    """
    for dim in (-1, -2):
        last = padded.shape[dim] - 1
        for step in range(1, PADDING + 1):
            padded.select(dim, PADDING - step).copy_(padded.select(dim, PADDING + step))
            padded.select(dim, last - PADDING + step).copy_(padded.select(dim, last - PADDING - step))
