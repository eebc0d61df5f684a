"""Datasets that torchvision reads and downloads, from the folders it makes under its ``root``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dst.data.missing import impatient_network, missing, raw_root
from dst.data.store import Arrays

if TYPE_CHECKING:
    from dst.data.config import DatasetConfig


def cifar10(cfg: DatasetConfig, data_dir: Path) -> tuple[Arrays, str]:
    """CIFAR-10, 50,000 + 10,000 images of 3×32×32."""
    from torchvision.datasets import CIFAR10

    return _read(
        cfg, data_dir, CIFAR10, "cifar-10-batches-py", "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
    )


def cifar100(cfg: DatasetConfig, data_dir: Path) -> tuple[Arrays, str]:
    """CIFAR-100, 50,000 + 10,000 images of 3×32×32."""
    from torchvision.datasets import CIFAR100

    return _read(
        cfg, data_dir, CIFAR100, "cifar-100-python", "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"
    )


def fashion_mnist(cfg: DatasetConfig, data_dir: Path) -> tuple[Arrays, str]:
    """Fashion-MNIST, 60,000 + 10,000 images of 1×28×28."""
    from torchvision.datasets import FashionMNIST

    return _read(cfg, data_dir, FashionMNIST, "FashionMNIST/raw", "https://github.com/zalandoresearch/fashion-mnist")


def _read(cfg: DatasetConfig, data_dir: Path, dataset: Any, folder: str, url: str) -> tuple[Arrays, str]:
    """Reads ``folder`` in the raw root; a folder the user named is never downloaded into.

    Raises:
        UserError: when it is missing or damaged there and cannot be downloaded.
    """
    root = raw_root(cfg, data_dir)
    try:
        with impatient_network():
            try:
                train, test = (dataset(root, train=train) for train in (True, False))
            except Exception:  # see below
                if cfg.root is not None:
                    raise
                train, test = (dataset(root, train=train, download=True) for train in (True, False))
    except Exception as error:  # whatever a failed download or a damaged file makes torchvision raise
        raise missing(cfg, f"{root}/{folder}", f"put the files of {url} there", error) from error
    return Arrays(_images(train.data), _labels(train.targets), _images(test.data), _labels(test.targets)), str(root)


def _images(data: Any) -> NDArray[np.uint8]:
    """``(N, H, W, C)`` or ``(N, H, W)`` to ``(N, C, H, W)``."""
    images = np.asarray(data)
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2) if images.ndim == 4 else images[:, None])


def _labels(targets: Any) -> NDArray[np.int64]:
    return np.asarray(targets, dtype=np.int64)
