"""Datasets that are folders of image files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dst.data.class_folders import Images, list_images, list_pair, named
from dst.data.decode import decode_all
from dst.data.raw_data import find_tree, missing, raw_root
from dst.data.store import Arrays
from dst.errors import UserError

if TYPE_CHECKING:
    from dst.config import DatasetConfig

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
        raise missing(cfg, " or ".join(map(str, places)), f"unpack {_TINY_URL} in {base}") from error
    train, test = _tiny_images(root / "train", root / "val")
    for folder, images in (("train", train), ("val", test)):
        _check_even(root / folder, images)
    return _decode(train, test, cfg.image_size), str(base)


def _tiny_images(train_folder: Path, val_folder: Path) -> tuple[Images, Images]:
    if (val_folder / "images").is_dir():
        train = list_images(train_folder)
        test = _annotated(val_folder, train.classes)
    else:
        train, test = list_pair(train_folder, val_folder)
    # beside each class's images lies a list of boxes
    is_image = np.array([path.suffix != ".txt" for path in train.paths])
    paths = [path for path in train.paths if path.suffix != ".txt"]
    return Images(paths, train.labels[is_image], train.classes), test


def _annotated(folder: Path, classes: list[str]) -> Images:
    """Returns ``images/`` with the classes that ``val_annotations.txt`` gives them."""
    annotations = folder / "val_annotations.txt"
    position = {name: label for label, name in enumerate(classes)}
    try:
        lines = [line.split("\t")[:2] for line in annotations.read_text().splitlines()]
        pairs = sorted((folder / "images" / image, position[name]) for image, name in lines)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{annotations}: missing or damaged ({error}); unpack {_TINY_URL} anew") from error
    return Images([path for path, _ in pairs], np.array([label for _, label in pairs], dtype=np.int64), classes)


def _check_even(folder: Path, images: Images) -> None:
    """Raises UserError unless every class has as many images, as they all have in a tree that was wholly unpacked."""
    counts = np.bincount(images.labels, minlength=len(images.classes))
    if fewer := np.flatnonzero(counts < counts.max()).tolist():
        told = named([f"{images.classes[label]} has {counts[label]}" for label in fewer])
        raise UserError(f"{folder}: every class has {counts.max()} images, but {told}; unpack {_TINY_URL} anew")


def _decode(train: Images, test: Images, image_size: int | None) -> Arrays:
    train_x, test_x = decode_all([train.paths, test.paths], image_size)
    return Arrays(train_x, train.labels, test_x, test.labels)
