"""Group ``dataset``: its schema and what its values must be."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from omegaconf import MISSING

from dst.components import component, options, unknown
from dst.data.augment import AUGMENTATIONS
from dst.errors import UserError
from dst.limits import check_limits, limited, one_of

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

    name: str = field(
        default=MISSING,
        metadata=limited(
            re.compile(r"\w[\w.+-]{0,199}").fullmatch,
            "must be a folder's name of up to 200 letters, digits and any of _ . + -",
        ),
    )
    source: str = MISSING
    shape: list[int] | None = field(
        default=MISSING,
        metadata=limited(
            lambda value: len(value) in (1, 3) and min(value) >= 1, "must be one number, or channels, height and width"
        ),
    )
    num_classes: int | None = field(default=MISSING, metadata=limited(lambda value: value >= 1, "must be 1 or more"))
    val_size: float = field(
        default=MISSING,
        metadata=limited(
            lambda value: 0 <= value < 1 or (value >= 2 and value % 1 == 0),
            "must be a share of train below 1, or a number of samples, 2 or more",
        ),
    )
    augment: str = field(default="none", metadata=one_of(*AUGMENTATIONS))
    mean: list[float] | None = None
    std: list[float] | None = field(
        default=None,
        metadata=limited(
            lambda value: all(deviation >= 1e-30 for deviation in value), "must be above 0 in every channel"
        ),
    )
    split_seed: int = field(
        default=0, metadata=limited(lambda value: 0 <= value < 2**32, "must be 0 or more and below 2^32")
    )
    root: str | None = None
    image_size: int | None = field(
        default=None, metadata=limited(lambda value: 1 <= value <= 2**15, "must be 1 to 32768 pixels, or null")
    )
    like: str | None = None
    workers: int = field(default=0, metadata=limited(lambda value: 0 <= value <= 1024, "must be 0 to 1024"))


def check(cfg: DatasetConfig) -> None:
    """Puts what ``like`` stands for in its place, so that a run is the same however it was asked for.

    Raises:
        UserError: one line with key, value and what would be valid, for a value that no dataset can have.
    """
    from dst.data.sources import DECODED, STREAMED  # imports this module

    if cfg.like is not None:
        _take(cfg, cfg.like)
    check_limits(cfg, "dataset")
    if cfg.source not in (*DECODED, *STREAMED):
        raise UserError(f"dataset.source={cfg.source}: {unknown(cfg.source, (*DECODED, *STREAMED))}")
    if cfg.image_size is not None and cfg.source not in _SIZABLE:
        raise UserError(f"dataset.image_size={cfg.image_size}: only images in folders are resized, leave it null")


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
