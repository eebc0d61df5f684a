"""Where datasets come from: one function a source, ``(cfg, data_dir) -> (arrays, the raw data's root)``.

Whatever a source needs beyond NumPy it imports when called, so that starting a run stays fast.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dst.data.sources.folders import image_folder, tiny_imagenet
from dst.data.sources.sklearn import digits, higgs
from dst.data.sources.torchvision import cifar10, cifar100, fashion_mnist
from dst.data.store import Arrays

if TYPE_CHECKING:
    from dst.config import DatasetConfig

DECODED: dict[str, Callable[[DatasetConfig, Path], tuple[Arrays, str]]] = {
    "digits": digits,
    "higgs": higgs,
    "cifar10": cifar10,
    "cifar100": cifar100,
    "fashion_mnist": fashion_mnist,
    "tiny_imagenet": tiny_imagenet,
    "image_folder": image_folder,
}
"""Sources decoded once, which then lie in memory."""

TRAIN_SIZES = {
    "digits": 1_527,
    "higgs": 799_136,
    "cifar10": 50_000,
    "cifar100": 50_000,
    "fashion_mnist": 60_000,
    "tiny_imagenet": 100_000,
    "imagenet": 1_281_167,
}
"""Samples in each training set, those held out for validation included; for plans made before the data are there."""

STREAMED = ("imagenet",)
"""Sources too large for that, read anew every epoch by ``dst.data.stream``."""

SOURCES = (*DECODED, *STREAMED)
"""All there are."""

RESIZED = ("image_folder", "tiny_imagenet", "imagenet")
"""Sources of image files, which ``dataset.image_size`` resizes."""
