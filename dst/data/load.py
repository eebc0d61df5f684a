"""Loads a dataset for training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dst.config import DatasetConfig
from dst.config.checks import check_dataset
from dst.data.augment import AUGMENTATIONS, PADDING, Augmentation, AugmentedSamples
from dst.data.batches import EvaluationBatches, TrainBatches, warn_if_single_batch
from dst.data.dataset import Data
from dst.data.imagenet import load_imagenet
from dst.data.label_noise import noisy_labels
from dst.data.normalise import Normalise, statistics
from dst.data.prepare import prepare
from dst.data.sources import STREAMED
from dst.data.split import stratified_split, validation_count
from dst.errors import UserError


def load(cfg: DatasetConfig, data_dir: Path, *, device: torch.device, batch_size: int, seed: int) -> Data:
    """Returns the dataset, downloaded and decoded first if necessary.

    Args:
        cfg: the ``dataset`` group of the config.
        data_dir: folder of all datasets.
        device: where samples are stored (ImageNet: where batches go).
        batch_size: of training and evaluation.
        seed: of the order and augmentation of training samples; the split depends on ``cfg.split_seed`` instead.

    Raises:
        UserError: for an invalid ``cfg``, and for missing or damaged data.
    """
    check_dataset(cfg)
    if cfg.source in STREAMED:
        return load_imagenet(cfg, data_dir, device=device, batch_size=batch_size, seed=seed)
    arrays, meta = prepare(cfg, data_dir)
    count = validation_count(cfg.val_size, len(arrays.train_y))
    kept, held = stratified_split(arrays.train_y, count, cfg.split_seed)
    train_y = noisy_labels(arrays.train_y[kept], cfg.label_noise, meta.num_classes, cfg.split_seed)
    train, val, test = (
        (torch.from_numpy(x), torch.from_numpy(y))
        for x, y in (
            (arrays.train_x[kept], train_y),
            (arrays.train_x[held], arrays.train_y[held]),
            (np.array(arrays.test_x), np.array(arrays.test_y)),
        )
    )
    warn_if_single_batch(batch_size, len(kept))
    is_image = train[0].dtype == torch.uint8
    augmentation = _augmentation(cfg, meta.shape, is_image)
    is_text = train[0].dtype == torch.int32
    normalise = None if is_text else Normalise(*_mean_std(cfg, train[0]), images=is_image, device=device)
    per_batch = normalise if is_image else None  # features are normalised once, images stay uint8 in memory

    def to_device(x: Tensor) -> Tensor:
        return x.to(device) if is_image or normalise is None else normalise(x.to(device))

    def evaluation(x: Tensor, y: Tensor) -> EvaluationBatches:
        return EvaluationBatches(to_device(x), y.to(device), per_batch, batch_size)

    samples, test_batches = AugmentedSamples(to_device(train[0]), augmentation), evaluation(*test)
    return Data(
        shape=tuple(meta.shape),
        num_classes=meta.num_classes,
        fingerprint=meta.fingerprint,
        train=TrainBatches(samples, train[1].to(device), per_batch, batch_size, seed),
        val=evaluation(*val) if count else test_batches,
        test=test_batches,
    )


def _augmentation(cfg: DatasetConfig, shape: list[int], is_image: bool) -> Augmentation:
    if not is_image and cfg.augment != "none":
        raise UserError(f"dataset.augment={cfg.augment}: only images can be augmented; choose none")
    augmentation = AUGMENTATIONS[cfg.augment]
    if augmentation.pad == "reflect" and min(shape[1:]) <= PADDING:
        raise UserError(f"dataset.augment={cfg.augment}: needs images larger than {PADDING} pixels, not {shape}")
    return augmentation


def _mean_std(cfg: DatasetConfig, train_x: Tensor) -> tuple[list[float], list[float]]:
    """Returns the config's mean and standard deviation, or those of the training samples where they are null."""
    mean, std = statistics(train_x) if cfg.mean is None or cfg.std is None else ([], [])
    mean, std = cfg.mean or mean, cfg.std or std
    for key, values in (("mean", mean), ("std", std)):
        if len(values) not in (1, train_x.shape[1]):
            raise UserError(f"dataset.{key}={values}: give {train_x.shape[1]} numbers, one a channel, or null")
    return mean, std
