"""Datasets that torchvision downloads and reads."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dst.data.class_folders import join_first
from dst.data.raw_data import missing_data_error, raw_root, short_download_timeout
from dst.data.store import Arrays

if TYPE_CHECKING:
    from dst.config import DatasetConfig

CIFAR_URL = "https://www.cs.toronto.edu/~kriz"
_FASHION_URL = "https://github.com/zalandoresearch/fashion-mnist"
MNIST_URL = "https://ossci-datasets.s3.amazonaws.com/mnist"
_IDX_HEADERS = {
    "train-images-idx3-ubyte": (0x803, 60_000, 28, 28),
    "train-labels-idx1-ubyte": (0x801, 60_000),
    "t10k-images-idx3-ubyte": (0x803, 10_000, 28, 28),
    "t10k-labels-idx1-ubyte": (0x801, 10_000),
}
"""Header of each file of MNIST and Fashion-MNIST: the IDX magic number, and the array's shape."""

_MNIST_LABELS = {
    "train-labels-idx1-ubyte": bytes([5, 0, 4, 1, 9, 2, 1, 3, 1, 4]),
    "t10k-labels-idx1-ubyte": bytes([7, 2, 1, 0, 4, 1, 4, 9, 5, 9]),
}
"""First labels of MNIST, which tell it from other data in the same format."""


def cifar10(cfg: DatasetConfig, data_dir: Path) -> tuple[Arrays, str]:
    """CIFAR-10, 50,000 + 10,000 images of 3×32×32.

    Args:
        cfg: ``root`` is the folder that contains ``cifar-10-batches-py/``; None: ``data_dir``, downloaded if missing.
        data_dir: folder of all datasets.

    Raises:
        UserError: when files are missing or damaged and cannot be downloaded.
    """
    from torchvision.datasets import CIFAR10

    obtain = f"unpack {CIFAR_URL}/cifar-10-python.tar.gz in"
    return _read(cfg, data_dir, CIFAR10, CIFAR10.base_folder, obtain, lambda folder: _cifar_faults(CIFAR10, folder))


def cifar100(cfg: DatasetConfig, data_dir: Path) -> tuple[Arrays, str]:
    """CIFAR-100, 50,000 + 10,000 images of 3×32×32.

    Args:
        cfg: ``root`` is the folder that contains ``cifar-100-python/``; None: ``data_dir``, downloaded if missing.
        data_dir: folder of all datasets.

    Raises:
        UserError: when files are missing or damaged and cannot be downloaded.
    """
    from torchvision.datasets import CIFAR100

    obtain = f"unpack {CIFAR_URL}/cifar-100-python.tar.gz in"
    return _read(cfg, data_dir, CIFAR100, CIFAR100.base_folder, obtain, lambda folder: _cifar_faults(CIFAR100, folder))


def fashion_mnist(cfg: DatasetConfig, data_dir: Path) -> tuple[Arrays, str]:
    """Fashion-MNIST, 60,000 + 10,000 images of 1×28×28.

    Args:
        cfg: ``root`` is the folder that contains ``FashionMNIST/raw/``; None: ``data_dir``, downloaded if missing.
        data_dir: folder of all datasets.

    Raises:
        UserError: when files are missing or damaged and cannot be downloaded.
    """
    from torchvision.datasets import FashionMNIST

    obtain = f"put the four files of {_FASHION_URL}, unpacked, into FashionMNIST/raw in"
    return _read(cfg, data_dir, FashionMNIST, "FashionMNIST/raw", obtain, lambda folder: _idx_faults(folder, {}))


def mnist(cfg: DatasetConfig, data_dir: Path) -> tuple[Arrays, str]:
    """MNIST, 60,000 + 10,000 images of 1×28×28 (LeCun et al., 1998).

    Args:
        cfg: ``root`` is the folder that contains ``MNIST/raw/``; None: ``data_dir``, downloaded if missing.
        data_dir: folder of all datasets.

    Raises:
        UserError: when files are missing or damaged and cannot be downloaded.
    """
    from torchvision.datasets import MNIST

    obtain = f"put the four files of {MNIST_URL}, unpacked, into MNIST/raw in"
    return _read(cfg, data_dir, MNIST, "MNIST/raw", obtain, lambda folder: _idx_faults(folder, _MNIST_LABELS))


def _read(
    cfg: DatasetConfig, data_dir: Path, dataset: Any, folder: str, obtain: str, faults: Callable[[Path], list[str]]
) -> tuple[Arrays, str]:
    """Reads ``folder`` in the raw root; downloads it if it is missing, except into ``cfg.root``.

    Raises:
        UserError: when it is missing or damaged and cannot be downloaded; lists the files and what is wrong with them.
    """
    root = raw_root(cfg, data_dir)
    place, failure = root / folder, ""
    if cfg.root is None and faults(place):
        try:
            with short_download_timeout():
                dataset(root, download=True)
        except Exception as error:  # torchvision raises many types for a failed download
            failure = " ".join(str(error).split()) or type(error).__name__
    if wrong := faults(place):
        raise missing_data_error(cfg, place, f"{obtain} {root}", [join_first(wrong)] * place.exists() + [failure])
    train, test = (dataset(root, train=train) for train in (True, False))
    return Arrays(_images(train.data), _labels(train.targets), _images(test.data), _labels(test.targets)), str(root)


def _cifar_faults(dataset: Any, folder: Path) -> list[str]:
    """Returns what is wrong with the files of CIFAR-10 or CIFAR-100, by torchvision's MD5 sums."""
    from torchvision.datasets.utils import check_integrity

    files = [*dataset.train_list, *dataset.test_list, (dataset.meta["filename"], dataset.meta["md5"])]
    return [
        f"{name} {_is_missing_or(folder / name, 'is not the original, or not whole')}"
        for name, md5 in files
        if not check_integrity(folder / name, md5)
    ]


def _idx_faults(folder: Path, first_values: Mapping[str, bytes]) -> list[str]:
    """Returns what is wrong with the four unpacked files of MNIST or Fashion-MNIST.

    Args:
        folder: of the files, which must have the published headers and sizes.
        first_values: what follows the header of some files.
    """
    faults = []
    for name, header in _IDX_HEADERS.items():
        expected = struct.pack(f">{len(header)}i", *header)
        size = len(expected) + math.prod(header[1:])
        if not _begins_with(folder / name, expected + first_values.get(name, b""), size):
            faults.append(f"{name} {_is_missing_or(folder / name, f'is not the original of {size:,} bytes')}")
    return faults


def _begins_with(path: Path, header: bytes, size: int) -> bool:
    if not path.is_file() or path.stat().st_size != size:
        return False
    with open(path, "rb") as file:
        return file.read(len(header)) == header


def _is_missing_or(path: Path, otherwise: str) -> str:
    return otherwise if path.exists() else "is missing"


def _images(data: Any) -> NDArray[np.uint8]:
    """``(N, H, W, C)`` or ``(N, H, W)`` to ``(N, C, H, W)``."""
    images = np.asarray(data)
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2) if images.ndim == 4 else images[:, None])


def _labels(targets: Any) -> NDArray[np.int64]:
    return np.asarray(targets, dtype=np.int64)
