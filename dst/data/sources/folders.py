"""Datasets that are folders of image files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dst.data.class_folders import Images, list_images, list_pair
from dst.data.decode import decode_all
from dst.data.missing import find_tree, missing, raw_root
from dst.data.store import Arrays
from dst.errors import UserError

if TYPE_CHECKING:
    from dst.data.config import DatasetConfig

_TINY_URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"


def image_folder(cfg: DatasetConfig, data_dir: Path) -> tuple[Arrays, str]:
    """Any ``train/<class>/…`` and ``test/<class>/…`` in ``dataset.root``, ``<data_dir>/<name>`` or ``data_dir``."""
    places = [raw_root(cfg, data_dir)] if cfg.root else [data_dir / cfg.name, data_dir]
    root = find_tree(cfg, places, "train", "test")
    return _decode(*list_pair(root / "train", root / "test"), cfg.image_size), str(root)


def tiny_imagenet(cfg: DatasetConfig, data_dir: Path) -> tuple[Arrays, str]:
    """``tiny-imagenet-200``, as unpacked, or its ``val/`` sorted into class folders; ``val/`` is the test set."""
    base = raw_root(cfg, data_dir)
    places = [base / "tiny-imagenet-200", *([base] if cfg.root else [])]
    try:
        root = find_tree(cfg, places, "train", "val")
    except UserError as error:
        raise missing(cfg, f"{places[0]}", f"unpack {_TINY_URL} in {base}") from error
    train = list_images(root / "train")
    # beside each class's images lies a list of boxes
    is_image = np.array([path.suffix != ".txt" for path in train.paths])
    train = Images([path for path in train.paths if path.suffix != ".txt"], train.labels[is_image], train.classes)
    return _decode(train, _tiny_test(root / "val", train.classes), cfg.image_size), str(base)


def _tiny_test(folder: Path, classes: list[str]) -> Images:
    annotations = folder / "val_annotations.txt"
    if not (folder / "images").is_dir():
        return list_images(folder)
    position = {name: label for label, name in enumerate(classes)}
    try:
        lines = [line.split("\t")[:2] for line in annotations.read_text().splitlines()]
        pairs = sorted((folder / "images" / image, position[name]) for image, name in lines)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{annotations}: missing or damaged ({error}); unpack {_TINY_URL} anew") from error
    return Images([path for path, _ in pairs], np.array([label for _, label in pairs], dtype=np.int64), classes)


def _decode(train: Images, test: Images, image_size: int | None) -> Arrays:
    train_x, test_x = decode_all([train.paths, test.paths], image_size)
    return Arrays(train_x, train.labels, test_x, test.labels)
