"""A torch ``Dataset`` that decodes image files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from dst.data.class_folders import Images, check_regular_file, join_first
from dst.errors import PlaceError, UserError, is_of_place

_EVALUATION_MARGIN = 256 / 224
"""Shorter side of the resized image over the size of the centre crop, as usual for evaluation on ImageNet."""


class ImageFiles(Dataset[tuple[Tensor, Tensor]]):
    """Decodes ``files[index, seed]`` to ``(x, y)``: uint8 ``(3, size, size)`` and an int64 label.

    Args:
        images: the files and their labels.
        size: of the crop, in pixels.
        augment: True: a random resized crop and flip, which depend on the seed alone. False: resize and centre crop.
    """

    def __init__(self, images: Images, size: int, *, augment: bool) -> None:
        self._images, self._size = images, size
        self._transform = _transform(size, augment)

    def not_augmented(self) -> ImageFiles:
        """Returns the same files, resized and cropped in the centre."""
        return ImageFiles(self._images, self._size, augment=False)

    def __len__(self) -> int:
        return len(self._images.paths)

    def __getitem__(self, sample: tuple[int, int]) -> tuple[Tensor, Tensor]:
        from PIL import Image

        index, seed = sample
        path = self._images.paths[index]
        with torch.random.fork_rng(devices=[]):  # torchvision draws from the global generator
            torch.manual_seed(seed)
            try:
                check_regular_file(path)
                with Image.open(path) as image:
                    x = self._transform(image.convert("RGB"))
            except Exception as error:  # Pillow raises many types for a damaged file
                kind = PlaceError if is_of_place(error) else UserError
                raise kind(f"{join_first([path])} cannot be used ({error}); repair or remove it") from error
        return x, torch.tensor(int(self._images.labels[index]))


def _transform(size: int, augment: bool) -> Callable[[Any], Tensor]:
    from torchvision import transforms

    if augment:
        steps = [transforms.RandomResizedCrop(size), transforms.RandomHorizontalFlip()]
    else:
        steps = [transforms.Resize(round(size * _EVALUATION_MARGIN)), transforms.CenterCrop(size)]
    transform: Callable[[Any], Tensor] = transforms.Compose([*steps, transforms.PILToTensor()])
    return transform
