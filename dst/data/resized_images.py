"""Images that were resized once: the transform that does it, and the crops for training and evaluation from them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dst.data.class_folders import check_regular_file
from dst.data.image_files import DecodedImages, centre_crop
from dst.data.shards import Encoded, StoredImages

SHORTER_SIDE = 256
"""Pixels; a smaller image is not enlarged."""

QUALITY = 90
"""Of the JPEG images, on Pillow's scale to 95."""


def encode_resized(path: Path, label: int) -> Encoded:
    """Decodes an image file, resizes it as the transform for evaluation does and encodes it as JPEG.

    Args:
        path: of the file.
        label: of the image.

    Raises:
        Exception: of any type, for a file that cannot be decoded.
    """
    from PIL import Image
    from torchvision.transforms import functional

    check_regular_file(path)
    with Image.open(path) as image:
        rgb = image.convert("RGB")
    width, height = rgb.size
    if min(rgb.size) > SHORTER_SIDE:
        rgb = functional.resize(rgb, SHORTER_SIDE)
    buffer = io.BytesIO()
    rgb.save(buffer, "JPEG", quality=QUALITY)
    return Encoded(buffer.getvalue(), width, height, label)


class ResizedImages(DecodedImages):
    """Decodes images that :func:`encode_resized` has written.

    Random crops are drawn for the size of the original and scaled, so that each seed shows the same part of an image as
    it does from the original file.

    Args:
        images: in shards.
        size: of the crop, in pixels.
        augment: True: a random resized crop and flip. False: resize and centre crop.
    """

    def __init__(self, images: StoredImages, size: int, *, augment: bool) -> None:
        from torchvision import transforms

        self._images, self._size, self._augment = images, size, augment
        self._centre_crop = centre_crop(size)
        self._random_crop = transforms.RandomResizedCrop(size)
        self._flip_and_convert = transforms.Compose([transforms.RandomHorizontalFlip(), transforms.PILToTensor()])

    def __len__(self) -> int:
        return len(self._images.labels)

    def not_augmented(self) -> ResizedImages:
        """Returns the same images, resized and cropped in the centre."""
        return ResizedImages(self._images, self._size, augment=False)

    def label(self, index: int) -> int:
        """Returns the label of an image."""
        return int(self._images.labels[index])

    def pixels(self, index: int) -> Tensor:
        """Decodes an image out of its shard."""
        from PIL import Image

        row = self._images.rows[index]
        image = Image.open(io.BytesIO(self._images.jpeg(index)))
        if not self._augment:
            return self._centre_crop(image)
        x: Tensor = self._flip_and_convert(self._crop(image, int(row["width"]), int(row["height"])))
        return x

    def _crop(self, image: Any, width: int, height: int) -> Any:
        """Returns a random part of a Pillow image, resized; ``width`` and ``height`` are the original's."""
        from PIL import Image

        original = torch.empty((1, height, width), device="meta")  # of which only the shape is looked at
        top, left, rows, columns = self._random_crop.get_params(
            original, list(self._random_crop.scale), list(self._random_crop.ratio)
        )
        x, y = image.width / width, image.height / height
        box = (left * x, top * y, min((left + columns) * x, image.width), min((top + rows) * y, image.height))
        return image.resize((self._size, self._size), Image.Resampling.BILINEAR, box=box)
