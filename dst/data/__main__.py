"""Downloads and decodes a dataset before training: ``python -m dst.data prepare dataset=cifar10 data_dir=…``."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from dst.config import DatasetConfig, checked, compose
from dst.config.tree import options
from dst.data.imagenet import find_images, resized_store
from dst.data.prepare import prepare
from dst.data.resized_images import SHORTER_SIDE
from dst.data.sources import STREAMED
from dst.data.split import validation_count
from dst.errors import UserError
from dst.terminal.exits import command

_EXAMPLES = """
  prepare dataset=cifar10                              download, check, decode once into <data_dir>/cifar10
  prepare dataset=cifar10 data_dir=/scratch/data       elsewhere; give data_dir to the runs too
  prepare dataset=tiny_imagenet dataset.root=/images   what is in /images/tiny-imagenet-200
  prepare dataset=image_folder dataset.name=birds dataset.root=/images/birds dataset.image_size=64
                                                       train/<class>/… and test/<class>/… of your own
  prepare dataset=imagenet dataset.root=/images/imagenet dataset.store=resized
                                                       images resized once, for fewer cores a GPU

Datasets: """
_USAGE = "usage: python -m dst.data prepare dataset=cifar10 [data_dir=…] [dataset.root=…] [any override of dst.train]"


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line (default: ``sys.argv``); a user error prints one line to stderr and exits with status 2."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    with command():
        if {"-h", "--help"} & {*given}:
            print(f"{_USAGE}\n{_EXAMPLES}{', '.join(options('dataset'))}")
            return
        logging.basicConfig(format="%(message)s")
        logging.getLogger("dst").setLevel(logging.INFO)
        if given[:1] != ["prepare"]:
            raise UserError(_USAGE)
        config = checked(compose(given[1:]))
        print(_prepare(config.dataset, Path(config.data_dir)))


def _prepare(cfg: DatasetConfig, data_dir: Path) -> str:
    """Prepares the dataset; returns one line with its sample counts and its folder."""
    if cfg.store == "resized":
        store = resized_store(cfg, data_dir)
        return (
            f"{cfg.name}: {len(store.train.labels):,} train and {len(store.test.labels):,} test images, resized to a "
            f"shorter side of {SHORTER_SIDE} pixels, {store.size / 1e9:.3g} GB in {store.folder}"
        )
    if cfg.source in STREAMED:
        root, train, val = find_images(cfg, data_dir)
        return (
            f"{cfg.name}: {len(train.paths):,} train and {len(val.paths):,} test images, decoded as runs go, in {root}"
        )
    arrays, meta = prepare(cfg, data_dir)
    held = validation_count(cfg.val_size, len(arrays.train_y))
    shape, there = "×".join(map(str, meta.shape)), data_dir.absolute() / cfg.name
    return (
        f"{cfg.name}: {len(arrays.train_y) - held:,} train, {held:,} validation and {len(arrays.test_y):,} test samples"
        f" of {shape}, {meta.num_classes} classes, in {there}"
    )


if __name__ == "__main__":
    main()
