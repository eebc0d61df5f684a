"""ImageNet: decoded from its class folders in every epoch."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dst.config import DatasetConfig
from dst.data.batches import warn_if_single_batch
from dst.data.class_folders import Images, list_train_and_test
from dst.data.dataset import Data
from dst.data.image_files import ImageFiles
from dst.data.label_noise import noisy_labels
from dst.data.normalise import Normalise
from dst.data.prepare import check_shape
from dst.data.raw_data import find_tree, raw_root
from dst.data.split import stratified_split, validation_count
from dst.data.stream import EvaluationStream, Stream, TrainStream
from dst.errors import UserError

_SIZE = 224


def find_images(cfg: DatasetConfig, data_dir: Path) -> tuple[Path, Images, Images]:
    """Returns the folder that contains ``train/`` and ``val/``, and the files of both.

    Args:
        cfg: ``root`` is that folder; None: ``<data_dir>/<name>``.
        data_dir: folder of all datasets.

    Raises:
        UserError: when they are missing, or the config's shape or number of classes differs.
    """
    base = raw_root(cfg, data_dir)
    root = find_tree(cfg, [base] if cfg.root else [base / cfg.name], "train", "val")
    train, val = list_train_and_test(root / "train", root / "val")
    size = cfg.image_size or _SIZE
    check_shape(cfg, [3, size, size], len(train.classes))
    return root, train, val


def load_imagenet(cfg: DatasetConfig, data_dir: Path, *, device: torch.device, batch_size: int, seed: int) -> Data:
    """Returns ImageNet as streamed batches.

    Args:
        cfg: must give ``mean`` and ``std``, which cannot be computed for streamed images.
        data_dir: folder of all datasets.
        device: where the batches go.
        batch_size: of training and evaluation.
        seed: of the order and augmentation of training samples.

    Raises:
        UserError: for settings that streamed images do not support, and for missing data.
    """
    if cfg.augment != "none":
        raise UserError(f"dataset.augment={cfg.augment}: random resized crops and flips are all there is; choose none")
    if cfg.mean is None or cfg.std is None:
        raise UserError("dataset.mean and dataset.std: give them for streamed images, they cannot be computed")
    _, images, test = find_images(cfg, data_dir)
    size = cfg.image_size or _SIZE
    normalise = Normalise(cfg.mean, cfg.std, images=True, device=device)
    kept, held = stratified_split(images.labels, validation_count(cfg.val_size, len(images.labels)), cfg.split_seed)
    warn_if_single_batch(batch_size, len(kept))
    train = _subset(images, kept)
    train = replace(train, labels=noisy_labels(train.labels, cfg.label_noise, len(images.classes), cfg.split_seed))

    def stream(part: Images, *, augment: bool = False) -> Stream:
        files = ImageFiles(part, size, augment=augment)
        return Stream(files, normalise, batch_size=batch_size, workers=cfg.workers, device=device)

    test_batches = EvaluationStream(stream(test))
    return Data(
        shape=(3, size, size),
        num_classes=len(images.classes),
        fingerprint=_fingerprint(images, test),
        train=TrainStream(stream(train, augment=True), seed),
        val=EvaluationStream(stream(_subset(images, held))) if len(held) else test_batches,
        test=test_batches,
    )


def _subset(images: Images, indices: NDArray[np.int64]) -> Images:
    return Images([images.paths[index] for index in indices], images.labels[indices], images.classes)


def _fingerprint(*parts: Images) -> str:
    """Returns the SHA-256 of the files' names and classes; reading a million files' contents would take hours."""
    digest = hashlib.sha256()
    for images in parts:
        for path, label in zip(images.paths, images.labels.tolist(), strict=True):
            digest.update(f"{images.classes[label]}/{path.name}\n".encode())
    return digest.hexdigest()
