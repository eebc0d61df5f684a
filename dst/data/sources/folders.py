"""Readers of image folders."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dst.data.class_folders import Images, join_first, list_images, list_train_and_test
from dst.data.decode import decode_all
from dst.data.raw_data import find_tree, missing_data_error, raw_root
from dst.data.store import Arrays
from dst.errors import UserError

if TYPE_CHECKING:
    from dst.config import DatasetConfig

_TINY_URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"


def image_folder(cfg: DatasetConfig, data_dir: Path) -> tuple[Arrays, str]:
    """Any ``train/<class>/…`` and ``test/<class>/…``.

    Args:
        cfg: ``root`` is their folder; None: ``<data_dir>/<name>``, else ``data_dir`` itself.
        data_dir: folder of all datasets.

    Raises:
        UserError: for missing folders and unusable files.
    """
    places = [raw_root(cfg, data_dir)] if cfg.root else [data_dir / cfg.name, data_dir]
    root = find_tree(cfg, places, "train", "test")
    return _decode(*list_train_and_test(root / "train", root / "test"), cfg.image_size), str(root)


def tiny_imagenet(cfg: DatasetConfig, data_dir: Path) -> tuple[Arrays, str]:
    """Tiny ImageNet, as unpacked or with ``val/`` sorted into class folders; ``val/`` is the test set.

    Args:
        cfg: ``root`` is ``tiny-imagenet-200`` or its parent; None: ``data_dir`` is the parent.
        data_dir: folder of all datasets.

    Raises:
        UserError: for missing folders, classes with unequal numbers of images, and unusable files.
    """
    base = raw_root(cfg, data_dir)
    places = [base / "tiny-imagenet-200", *([base] if cfg.root else [])]
    try:
        root = find_tree(cfg, places, "train", "val")
    except UserError as error:
        raise missing_data_error(cfg, " or ".join(map(str, places)), f"unpack {_TINY_URL} in {base}") from error
    train, test = _list_tiny_imagenet(root / "train", root / "val")
    for folder, images in (("train", train), ("val", test)):
        _check_equal_counts(root / folder, images)
    return _decode(train, test, cfg.image_size), str(base)


def _list_tiny_imagenet(train_folder: Path, val_folder: Path) -> tuple[Images, Images]:
    if (val_folder / "images").is_dir():
        train = list_images(train_folder)
        test = _list_annotated(val_folder, train.classes)
    else:
        train, test = list_train_and_test(train_folder, val_folder)
    # each class folder also contains a text file of bounding boxes
    is_image = np.array([path.suffix != ".txt" for path in train.paths])
    paths = [path for path in train.paths if path.suffix != ".txt"]
    return Images(paths, train.labels[is_image], train.classes), test


def _list_annotated(folder: Path, classes: list[str]) -> Images:
    """Returns the files of ``images/`` with their classes from ``val_annotations.txt``."""
    annotations = folder / "val_annotations.txt"
    position = {name: label for label, name in enumerate(classes)}
    try:
        lines = [line.split("\t")[:2] for line in annotations.read_text().splitlines()]
        pairs = sorted((folder / "images" / image, position[name]) for image, name in lines)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{annotations}: missing or damaged ({error}); unpack {_TINY_URL} anew") from error
    return Images([path for path, _ in pairs], np.array([label for _, label in pairs], dtype=np.int64), classes)


def _check_equal_counts(folder: Path, images: Images) -> None:
    """Raises UserError unless all classes have the same number of images, as in a completely unpacked archive."""
    counts = np.bincount(images.labels, minlength=len(images.classes))
    if fewer := np.flatnonzero(counts < counts.max()).tolist():
        listed = join_first([f"{images.classes[label]} has {counts[label]}" for label in fewer])
        raise UserError(f"{folder}: every class has {counts.max()} images, but {listed}; unpack {_TINY_URL} anew")


def _decode(train: Images, test: Images, image_size: int | None) -> Arrays:
    train_x, test_x = decode_all([train.paths, test.paths], image_size)
    return Arrays(train_x, train.labels, test_x, test.labels)
