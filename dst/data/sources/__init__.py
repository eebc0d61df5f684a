"""Readers of raw datasets: one function per source, ``(cfg, data_dir) -> (arrays, the raw data's root)``.

Imports other than NumPy are inside the functions, so that starting a run stays fast.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dst.data.sources.folders import image_folder, tiny_imagenet
from dst.data.sources.sklearn import digits, higgs
from dst.data.sources.text import commonsense_qa
from dst.data.sources.torchvision import cifar10, cifar100, fashion_mnist, mnist
from dst.data.store import Arrays

if TYPE_CHECKING:
    from dst.config import DatasetConfig

DECODED: dict[str, Callable[[DatasetConfig, Path], tuple[Arrays, str]]] = {
    "digits": digits,
    "higgs": higgs,
    "cifar10": cifar10,
    "cifar100": cifar100,
    "fashion_mnist": fashion_mnist,
    "mnist": mnist,
    "tiny_imagenet": tiny_imagenet,
    "image_folder": image_folder,
    "commonsense_qa": commonsense_qa,
}
"""Sources that are decoded once and held in memory."""

TRAIN_SIZES = {
    "digits": 1_527,
    "higgs": 799_136,
    "cifar10": 50_000,
    "cifar100": 50_000,
    "fashion_mnist": 60_000,
    "mnist": 60_000,
    "tiny_imagenet": 100_000,
    "imagenet": 1_281_167,
    "commonsense_qa": 9_741,
}
"""Samples of each training set, including the validation samples; for planning before the data are downloaded."""

STREAMED = ("imagenet",)
"""Sources too large for memory, decoded in every epoch by ``dst.data.stream``."""

SOURCES = (*DECODED, *STREAMED)
"""All valid values of ``dataset.source``."""

RESIZED = ("image_folder", "tiny_imagenet", "imagenet")
"""Sources of image files that ``dataset.image_size`` can resize."""
