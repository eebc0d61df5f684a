"""Decoding a dataset once, for all runs to come."""

from __future__ import annotations

from pathlib import Path

from dst.data import store
from dst.data.config import DatasetConfig, check
from dst.data.lock import locked
from dst.data.sources import DECODED, STREAMED
from dst.data.store import Arrays, Meta
from dst.errors import UserError


def prepare(cfg: DatasetConfig, data_dir: Path) -> tuple[Arrays, Meta]:
    """Returns the decoded dataset in ``<data_dir>/<name>``, memory-mapped; decodes it if it is not there.

    Safe to kill at any moment, and to call from several processes at once: one decodes, the others wait for it.

    Raises:
        UserError: for missing or damaged data, or when what is there was decoded from something else.
    """
    check(cfg)
    assert cfg.source not in STREAMED
    folder = data_dir.absolute() / cfg.name
    found = store.read(folder)
    if found is None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with locked(folder / ".lock"):
                found = store.read(folder) or _decode(cfg, data_dir.absolute(), folder)
        except PermissionError as error:
            raise UserError(
                f"data_dir={data_dir}: cannot write {error.filename}; choose a data_dir of your own, and set "
                "dataset.root=… to where the raw data lie"
            ) from error
    _check_origin(cfg, found[1], folder)
    return found


def _decode(cfg: DatasetConfig, data_dir: Path, folder: Path) -> tuple[Arrays, Meta]:
    for left_over in folder.glob(".*.tmp"):  # by processes killed while they wrote
        left_over.unlink(missing_ok=True)
    arrays, root = DECODED[cfg.source](cfg, data_dir)
    meta = Meta(
        source=cfg.source,
        root=str(root),
        image_size=cfg.image_size,
        shape=list(arrays.train_x.shape[1:]),
        num_classes=int(max(arrays.train_y.max(), arrays.test_y.max())) + 1,
        sizes=arrays.shapes(),
        fingerprint=arrays.fingerprint(),
    )
    check_shape(cfg, meta.shape, meta.num_classes)
    store.write(folder, arrays, meta)
    found = store.read(folder)
    assert found is not None
    return found


def check_shape(cfg: DatasetConfig, shape: list[int], num_classes: int) -> None:
    """Raises UserError unless the data are of the shape and have the classes that the config says."""
    for key, given, there in (("shape", cfg.shape, shape), ("num_classes", cfg.num_classes, num_classes)):
        if given is not None and given != there:
            raise UserError(f"dataset.{key}={given}: the data of dataset={cfg.name} have {there}; set it so or to null")


def _check_origin(cfg: DatasetConfig, meta: Meta, folder: Path) -> None:
    """Raises UserError when the decoded data are not those the config asks for; without ``root`` any place is right."""
    asked = {"source": cfg.source, "image_size": cfg.image_size}
    if cfg.root is not None:
        asked["root"] = str(Path(cfg.root).expanduser().resolve())
    for key, value in asked.items():
        if value != getattr(meta, key):
            raise UserError(
                f"dataset.{key}={value}: {folder} was decoded with {key}={getattr(meta, key)}; give the new data "
                f"a dataset.name of their own, or remove that folder"
            )
    check_shape(cfg, meta.shape, meta.num_classes)
