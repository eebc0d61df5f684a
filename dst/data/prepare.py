"""Decodes a dataset once, for all runs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from dst.config import DatasetConfig
from dst.config.checks import check_dataset
from dst.data import store
from dst.data.sources import DECODED, STREAMED
from dst.data.store import Arrays, CorruptDatasetError, Meta
from dst.errors import PlaceError, UserError
from dst.files.flock import file_lock

log = logging.getLogger("dst")

T = TypeVar("T")


def prepare(cfg: DatasetConfig, data_dir: Path) -> tuple[Arrays, Meta]:
    """Returns the decoded dataset in ``<data_dir>/<name>``; decodes it first if necessary.

    Safe to kill at any moment, and to call from several processes at once: one decodes, the others wait for it.
    Damaged decoded files are reported in a warning and decoded again.

    Args:
        cfg: of a source in ``DECODED``.
        data_dir: folder of all datasets.

    Raises:
        UserError: for missing or damaged raw data, or when the folder was decoded from other raw data.
    """
    check_dataset(cfg)
    assert cfg.source not in STREAMED
    folder = data_dir.absolute() / cfg.name
    found = read_or_make(
        data_dir, folder, store.read, lambda is_alone: _decode(cfg, data_dir.absolute(), folder, is_alone)
    )
    _check_origin(cfg, found[1], folder)
    return found


def read_or_make(
    data_dir: Path,
    folder: Path,
    read: Callable[[Path], T | None],
    make: Callable[[bool], T],
) -> T:
    """Returns what lies in ``folder``; makes it first if necessary, in one process while others wait for it.

    Args:
        data_dir: folder of all datasets, as the user gave it.
        folder: created if necessary.
        read: returns what lies there, None if nothing does; a CorruptDatasetError is reported in a warning.
        make: given whether this process is surely the only one to make it.

    Raises:
        UserError: from ``make``.
        PlaceError: when ``folder`` cannot be read or written.
    """
    try:
        try:
            found = read(folder)
        except CorruptDatasetError:  # or another process is writing it: read it again under the lock
            found = None
        if found is None:
            folder.mkdir(parents=True, exist_ok=True)
            with file_lock(folder / ".lock") as is_alone:
                found = _read_or_warn(folder, read) or make(is_alone)
    except OSError as error:
        raise PlaceError(
            f"data_dir={data_dir}: {error.filename or folder}: {error.strerror or error}; choose a data_dir of your "
            "own, and set dataset.root=… to where the raw data lie"
        ) from error
    return found


def _read_or_warn(folder: Path, read: Callable[[Path], T | None]) -> T | None:
    try:
        return read(folder)
    except CorruptDatasetError as error:
        log.warning("%s; decoding the dataset anew", error)
        return None


def _decode(cfg: DatasetConfig, data_dir: Path, folder: Path, is_alone: bool) -> tuple[Arrays, Meta]:
    if is_alone:
        for temporary in folder.glob(".*.tmp"):  # of processes killed while they wrote
            temporary.unlink(missing_ok=True)
    arrays, root = DECODED[cfg.source](cfg, data_dir)
    meta = Meta(
        source=cfg.source,
        root=str(root),
        image_size=cfg.image_size,
        shape=list(arrays.train_x.shape[1:]),
        num_classes=int(max(arrays.train_y.max(), arrays.test_y.max())) + 1,
        digests=arrays.digests(),
        tokenizer=cfg.tokenizer,
    )
    check_shape(cfg, meta.shape, meta.num_classes)
    store.write(folder, arrays, meta)
    return arrays, meta


def check_shape(cfg: DatasetConfig, shape: list[int], num_classes: int) -> None:
    """Compares the data's shape and number of classes with the config's.

    Args:
        cfg: ``shape`` and ``num_classes``; None: anything is valid.
        shape: of one sample.
        num_classes: found in the data.

    Raises:
        UserError: when one of them differs.
    """
    for key, given, found in (("shape", cfg.shape, shape), ("num_classes", cfg.num_classes, num_classes)):
        if given is not None and given != found:
            raise UserError(f"dataset.{key}={given}: the data of dataset={cfg.name} have {found}; set it so or to null")


def _check_origin(cfg: DatasetConfig, meta: Meta, folder: Path) -> None:
    """Raises PlaceError when the data were decoded from another source, image size or root; root null accepts any."""
    expected = {"source": cfg.source, "image_size": cfg.image_size, "tokenizer": cfg.tokenizer}
    if cfg.root is not None:
        expected["root"] = str(Path(cfg.root).expanduser().resolve())
    for key, value in expected.items():
        if value != getattr(meta, key):
            raise PlaceError(
                f"dataset.{key}={value}: {folder} was decoded with {key}={getattr(meta, key)}; give the new data "
                f"a dataset.name of their own, or remove {folder / 'meta.json'} to decode it anew"
            )
    check_shape(cfg, meta.shape, meta.num_classes)
