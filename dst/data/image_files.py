"""Image files as a torch dataset: decoded one by one, in worker processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from dst.data.class_folders import Images, named, no_file
from dst.errors import PlaceError, UserError, is_of_place

_EVALUATION_MARGIN = 256 / 224
"""The shorter side before the central crop, in units of the crop: the usual way to evaluate on ImageNet."""


class ImageFiles(Dataset[tuple[Tensor, Tensor]]):
    """Decodes ``files[index, seed]`` to ``(x, y)``: uint8 ``(3, size, size)`` and an int64 label.

    Args:
        images: the files and their labels.
        size: of the crop, in pixels.
        augment: a random resized crop and flip, decided by the seed alone; else the central crop.
    """

    def __init__(self, images: Images, size: int, *, augment: bool) -> None:
        self._images = images
        self._transform = _transform(size, augment)

    def __len__(self) -> int:
        return len(self._images.paths)

    def __getitem__(self, sample: tuple[int, int]) -> tuple[Tensor, Tensor]:
        from PIL import Image

        index, seed = sample
        path = self._images.paths[index]
        with torch.random.fork_rng(devices=[]):  # torchvision draws from the global generator
            torch.manual_seed(seed)
            try:
                if error := no_file(path):
                    raise error
                with Image.open(path) as image:
                    x = self._transform(image.convert("RGB"))
            except Exception as error:  # whatever a damaged file makes Pillow raise
                kind = PlaceError if is_of_place(error) else UserError
                raise kind(f"{named([path])} cannot be used ({error}); repair or remove it") from error
        return x, torch.tensor(int(self._images.labels[index]))


def _transform(size: int, augment: bool) -> Callable[[Any], Tensor]:
    from torchvision import transforms

    if augment:
        steps = [transforms.RandomResizedCrop(size), transforms.RandomHorizontalFlip()]
    else:
        steps = [transforms.Resize(round(size * _EVALUATION_MARGIN)), transforms.CenterCrop(size)]
    transform: Callable[[Any], Tensor] = transforms.Compose([*steps, transforms.PILToTensor()])
    return transform
