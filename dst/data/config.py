"""Group ``dataset``: its schema and what its values must be."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from omegaconf import MISSING

from dst.components import component, options, unknown
from dst.data.augment import AUGMENTATIONS
from dst.errors import UserError

_SIZABLE = ("image_folder", "tiny_imagenet", "imagenet")


@dataclass
class DatasetConfig:
    """Which data, how they are split and what is done to them on the way to the model.

    Attributes:
        name: what runs call the dataset, and its folder under ``data_dir``.
        source: what reads it, see ``dst.data.sources``.
        shape: of one sample; None: found in the data.
        num_classes: None: found in the data.
        val_size: samples taken from train for validation: a share of train if below 1, else their number; with 0 the
            test set validates too.
        augment: of training images, one of ``dst.data.augment.AUGMENTATIONS``.
        mean: per channel (or feature), in units of the brightest pixel; None: computed from the training samples.
        std: as ``mean``.
        split_seed: decides which samples of train are for validation; the test set never depends on it.
        root: where the user's own copy of the raw data lies; None: somewhere under ``data_dir``.
        image_size: images are cropped to a square and resized to it, in pixels; None: they stay as they are.
        like: a known dataset, a choice of the config group, whose ``augment``, ``mean`` and ``std`` are taken.
        workers: processes that decode a streamed dataset; what lies on the device needs none.
    """

    name: str = MISSING
    source: str = MISSING
    shape: list[int] | None = MISSING
    num_classes: int | None = MISSING
    val_size: float = MISSING
    augment: str = "none"
    mean: list[float] | None = None
    std: list[float] | None = None
    split_seed: int = 0
    root: str | None = None
    image_size: int | None = None
    like: str | None = None
    workers: int = 0


def check(cfg: DatasetConfig) -> None:
    """Puts what ``like`` stands for in its place, so that a run is the same however it was asked for.

    Raises:
        UserError: one line with key, value and what would be valid, for a value that no dataset can have.
    """
    from dst.data.sources import DECODED, STREAMED  # imports this module

    if cfg.like is not None:
        _take(cfg, cfg.like)
    choices = {"source": (*DECODED, *STREAMED), "augment": tuple(AUGMENTATIONS)}
    for key, valid in choices.items():
        if getattr(cfg, key) not in valid:
            raise UserError(f"dataset.{key}={getattr(cfg, key)}: {unknown(getattr(cfg, key), valid)}")
    if not re.fullmatch(r"\w[\w.+-]*", cfg.name):
        raise UserError(f"dataset.name={cfg.name}: must be a folder's name of letters, digits and any of _ . + -")
    if cfg.image_size is not None and cfg.source not in _SIZABLE:
        raise UserError(f"dataset.image_size={cfg.image_size}: only images in folders are resized, leave it null")
    ranges = {
        "val_size": (0 <= cfg.val_size < math.inf, "must be a share of train below 1, or a number of samples"),
        "split_seed": (0 <= cfg.split_seed < 2**32, "must be 0 or more and below 2^32"),
        "image_size": (cfg.image_size is None or cfg.image_size >= 1, "must be 1 pixel or more, or null"),
        "workers": (cfg.workers >= 0, "must be 0 or more"),
        "std": (cfg.std is None or all(value > 0 for value in cfg.std), "must be above 0 in every channel"),
    }
    for key, (holds, valid_range) in ranges.items():
        if not holds:
            raise UserError(f"dataset.{key}={getattr(cfg, key)}: {valid_range}")


def _take(cfg: DatasetConfig, like: str) -> None:
    known = {name: component("dataset", name) for name in options("dataset")}
    valid = [name for name, node in known.items() if node["source"] != "image_folder"]
    if like not in valid:
        raise UserError(f"dataset.like={like}: {unknown(like, valid)}")
    for key in ("mean", "std"):
        given = getattr(cfg, key)
        if given not in (None, known[like][key]):
            raise UserError(f"dataset.{key}={given}: dataset.like={like} says {known[like][key]}; give one of the two")
        setattr(cfg, key, known[like][key])
    cfg.augment, cfg.like = known[like]["augment"], None
