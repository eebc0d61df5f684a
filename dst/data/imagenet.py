"""ImageNet: decoded in every epoch, from its class folders or from a store of resized images."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import torch

from dst.config import DatasetConfig
from dst.data.batches import warn_if_single_batch
from dst.data.class_folders import Images, list_train_and_test
from dst.data.dataset import Data
from dst.data.image_files import DecodedImages, ImageFiles
from dst.data.label_noise import noisy_labels
from dst.data.normalise import Normalise
from dst.data.prepare import check_shape
from dst.data.raw_data import find_tree, raw_root
from dst.data.resized_images import ResizedImages
from dst.data.resized_store import ResizedStore, prepare_resized
from dst.data.shards import StoredImages
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
    _check_shape(cfg, train.classes)
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
    images, test, fingerprint = _images(cfg, data_dir)
    size = cfg.image_size or _SIZE
    normalise = Normalise(cfg.mean, cfg.std, images=True, device=device)
    kept, held = stratified_split(images.labels, validation_count(cfg.val_size, len(images.labels)), cfg.split_seed)
    warn_if_single_batch(batch_size, len(kept))
    train = images.subset(kept)
    train = replace(train, labels=noisy_labels(train.labels, cfg.label_noise, len(images.classes), cfg.split_seed))

    def stream(part: Images | StoredImages, *, augment: bool = False) -> Stream:
        decoded = _decoded(part, size, augment=augment)
        return Stream(decoded, normalise, batch_size=batch_size, workers=cfg.workers, device=device)

    test_batches = EvaluationStream(stream(test))
    return Data(
        shape=(3, size, size),
        num_classes=len(images.classes),
        fingerprint=fingerprint,
        train=TrainStream(stream(train, augment=True), seed),
        val=EvaluationStream(stream(images.subset(held))) if len(held) else test_batches,
        test=test_batches,
    )


def resized_store(cfg: DatasetConfig, data_dir: Path) -> ResizedStore:
    """Returns the store of resized images, written first where it is not complete.

    Args:
        cfg: as for :func:`find_images`.
        data_dir: folder of all datasets.

    Raises:
        UserError: see :func:`prepare_resized`, and when the config's shape or number of classes differs.
    """
    found = prepare_resized(cfg, data_dir, lambda: find_images(cfg, data_dir))
    _check_shape(cfg, found.train.classes)
    return found


def _check_shape(cfg: DatasetConfig, classes: list[str]) -> None:
    size = cfg.image_size or _SIZE
    check_shape(cfg, [3, size, size], len(classes))


def _images(cfg: DatasetConfig, data_dir: Path) -> tuple[Images | StoredImages, Images | StoredImages, str]:
    """Returns the images for training and those for testing, and the fingerprint of both."""
    if cfg.store == "resized":
        found = resized_store(cfg, data_dir)
        return found.train, found.test, found.fingerprint
    _, train, test = find_images(cfg, data_dir)
    return train, test, _fingerprint(train, test)


def _decoded(images: Images | StoredImages, size: int, *, augment: bool) -> DecodedImages:
    if isinstance(images, Images):
        return ImageFiles(images, size, augment=augment)
    return ResizedImages(images, size, augment=augment)


def _fingerprint(*parts: Images) -> str:
    """Returns the SHA-256 of the files' names and classes; reading a million files' contents would take hours."""
    digest = hashlib.sha256()
    for images in parts:
        for path, label in zip(images.paths, images.labels.tolist(), strict=True):
            digest.update(f"{images.classes[label]}/{path.name}\n".encode())
    return digest.hexdigest()
