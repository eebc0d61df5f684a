"""Decodes image files into arrays, in threads."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dst.data.class_folders import check_regular_file, join_first
from dst.errors import PlaceError, UserError, is_of_place

_GREY = ("1", "L", "LA")
_EIGHT_BIT = (*_GREY, "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
_CHUNK = 64
"""Files per task of the thread pool."""


def decode_all(parts: Sequence[Sequence[Path]], image_size: int | None) -> list[NDArray[np.uint8]]:
    """Returns each part's images, uint8 ``(N, C, H, W)``; C is 1 if all images of all parts are grey, else 3.

    Args:
        parts: files of each part, such as train and test.
        image_size: pixels; each image is cropped to a centred square and resized to it. None: kept as it is.

    Raises:
        UserError: lists files that are not images, truncated, not 8 bits a channel, or not of the first one's size.
    """
    from tqdm import tqdm

    paths = [path for part in parts for path in part]
    height, width = (image_size, image_size) if image_size else _first_size(paths)
    images = np.empty((len(paths), 3, height, width), dtype=np.uint8)
    grey = np.zeros(len(paths), dtype=bool)
    problems: list[tuple[int, Exception]] = []

    def decode(begin: int) -> int:
        chunk = range(begin, min(begin + _CHUNK, len(paths)))
        for index in chunk:
            try:
                pixels, grey[index] = _decode(paths[index], image_size)
                if pixels.shape[:2] != (height, width):
                    raise _OtherSizeError(f"{pixels.shape[1]}×{pixels.shape[0]} pixels, not {width}×{height}")
                images[index] = pixels.transpose(2, 0, 1)
            except Exception as error:  # a damaged file may raise anything
                problems.append((index, error))
        return len(chunk)

    with (
        ThreadPoolExecutor(os.cpu_count()) as threads,
        tqdm(total=len(paths), unit=" images", desc="decoding", disable=None) as bar,
    ):
        for count in threads.map(decode, range(0, len(paths), _CHUNK)):
            bar.update(count)
    if problems:
        raise _refusal(paths, problems)
    channels = 1 if grey.all() else 3
    ends = np.cumsum([len(part) for part in parts])[:-1]
    return np.split(images[:, :channels], ends)


def _decode(path: Path, image_size: int | None) -> tuple[NDArray[np.uint8], bool]:
    """Returns the image as RGB ``(H, W, 3)`` and whether it is grey."""
    from PIL import Image, ImageOps

    check_regular_file(path)
    with Image.open(path) as image:
        if image.mode not in _EIGHT_BIT:
            raise ValueError(f"pixels of mode {image.mode}, not 8 bits a channel")
        grey = image.mode in _GREY
        rgb = image.convert("RGB")
    if image_size and rgb.size != (image_size, image_size):
        rgb = ImageOps.fit(rgb, (image_size, image_size), Image.Resampling.BILINEAR)
    return np.asarray(rgb), grey


def _first_size(paths: Sequence[Path]) -> tuple[int, int]:
    """Returns height and width of the first file that can be decoded."""
    for path in paths:
        try:
            height, width = _decode(path, None)[0].shape[:2]
        except Exception:  # reported together with all others
            continue
        return height, width
    raise UserError(f"none of {len(paths)} files is an image: {join_first(paths)}")


class _OtherSizeError(ValueError):
    """An image of another size than the first one; setting dataset.image_size fixes that."""


def _refusal(paths: Sequence[Path], problems: list[tuple[int, Exception]]) -> UserError:
    problems.sort(key=lambda problem: problem[0])
    # remove the file name that Pillow appends: the message lists it already
    reasons = [(paths[index], str(error).replace(f" {str(paths[index])!r}", "")) for index, error in problems]
    listed = join_first([f"{path} ({reason or 'unreadable'})" for path, reason in reasons])
    resize = any(isinstance(error, _OtherSizeError) for _, error in problems)
    kind = PlaceError if any(is_of_place(error) for _, error in problems) else UserError
    return kind(
        f"{len(problems)} of {len(paths)} files cannot be used: {listed}; repair or remove them"
        f"{', or set dataset.image_size=… if they differ in size' if resize else ''}"
    )
