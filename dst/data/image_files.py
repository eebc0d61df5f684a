"""Torch ``Dataset``s that decode images one by one: their interface, and that of image files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from dst.data.class_folders import Images, check_regular_file, join_first
from dst.errors import PlaceError, UserError, is_of_place

_EVALUATION_MARGIN = 256 / 224
"""Shorter side of the resized image over the size of the centre crop, as usual for evaluation on ImageNet."""


class DecodedImages(Dataset[tuple[Tensor, Tensor]], ABC):
    """Decodes ``self[index, seed]`` to ``(x, y)``: uint8 ``(3, size, size)`` and an int64 label.

    Augmentation depends on the seed alone.
    """

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def not_augmented(self) -> DecodedImages:
        """Returns the same images, resized and cropped in the centre."""

    @abstractmethod
    def label(self, index: int) -> int:
        """Returns the label of an image."""

    @abstractmethod
    def pixels(self, index: int) -> Tensor:
        """Returns an image, uint8 ``(3, size, size)``; augmentation draws from torch's global generator.

        Raises:
            UserError: for an image that cannot be decoded.
        """

    def __getitem__(self, sample: tuple[int, int]) -> tuple[Tensor, Tensor]:
        index, seed = sample
        generator = torch.default_generator  # from which torchvision draws
        state = generator.get_state()
        generator.manual_seed(seed)  # torch.manual_seed takes 0.2 ms, and seeds the GPU's too
        try:
            x = self.pixels(index)
        finally:
            generator.set_state(state)
        return x, torch.tensor(self.label(index))


class ImageFiles(DecodedImages):
    """Decodes image files of any size.

    Args:
        images: the files and their labels.
        size: of the crop, in pixels.
        augment: True: a random resized crop and flip. False: resize and centre crop.
    """

    def __init__(self, images: Images, size: int, *, augment: bool) -> None:
        self._images, self._size = images, size
        self._transform = _augmentation(size) if augment else centre_crop(size)

    def __len__(self) -> int:
        return len(self._images.paths)

    def not_augmented(self) -> ImageFiles:
        """Returns the same files, resized and cropped in the centre."""
        return ImageFiles(self._images, self._size, augment=False)

    def label(self, index: int) -> int:
        """Returns the label of a file."""
        return int(self._images.labels[index])

    def pixels(self, index: int) -> Tensor:
        """Opens and decodes a file."""
        from PIL import Image

        path = self._images.paths[index]
        try:
            check_regular_file(path)
            with Image.open(path) as image:
                return self._transform(image.convert("RGB"))
        except Exception as error:  # Pillow raises many types for a damaged file
            kind = PlaceError if is_of_place(error) else UserError
            raise kind(f"{join_first([path])} cannot be used ({error}); repair or remove it") from error


def centre_crop(size: int) -> Callable[[Any], Tensor]:
    """Returns the transform for evaluation: a Pillow image resized and cropped to uint8 ``(3, size, size)``."""
    from torchvision import transforms

    resize = transforms.Resize(round(size * _EVALUATION_MARGIN))
    transform: Callable[[Any], Tensor] = transforms.Compose(
        [resize, transforms.CenterCrop(size), transforms.PILToTensor()]
    )
    return transform


def _augmentation(size: int) -> Callable[[Any], Tensor]:
    from torchvision import transforms

    steps = [transforms.RandomResizedCrop(size), transforms.RandomHorizontalFlip(), transforms.PILToTensor()]
    transform: Callable[[Any], Tensor] = transforms.Compose(steps)
    return transform
