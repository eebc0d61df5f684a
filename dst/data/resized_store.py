"""The store of a streamed dataset whose images are resized once: ``<data_dir>/<name>/resized``.

A shard's name says which images of which tree it holds, so that an interrupted preparation keeps the shards that it
finished; ``meta.json`` comes last. A complete store is used without the original images.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from dst.config import DatasetConfig
from dst.data.class_folders import Images, join_first
from dst.data.prepare import read_or_make
from dst.data.resized_images import QUALITY, SHORTER_SIDE, encode_resized
from dst.data.shards import DamagedShardError, Encoded, MappedShards, StoredImages, read_index, write_shard
from dst.data.store import CorruptDatasetError
from dst.errors import PlaceError, UserError, is_of_place
from dst.files.atomic import atomic_file

IMAGES_PER_SHARD = 4096
"""ImageNet becomes 326 files of about 140 MB, which a process can keep mapped at once."""

_META = "meta.json"
_PROBLEMS = "unusable.txt"

Problem = tuple[str, str]
"""Path of an image that cannot be used, and why."""


@dataclass(frozen=True)
class ResizedStore:
    """A complete store.

    Attributes:
        root: folder of the original images.
        fingerprint: SHA-256 of all names of shards, which stand for the list of images, and of their indices, which
            contain the checksums of the resized images.
        size: bytes.
    """

    folder: Path
    root: str
    train: StoredImages
    test: StoredImages
    fingerprint: str
    size: int


@dataclass(frozen=True)
class _Meta:
    """Contents of ``meta.json``; ``shards`` gives each file's size in bytes, those of the training images first."""

    root: str
    classes: list[str]
    train_images: int
    test_images: int
    shards: dict[str, int]
    fingerprint: str


@dataclass(frozen=True)
class _Shard:
    """Images that one shard shall hold."""

    name: str
    paths: list[Path]
    labels: list[int]


def prepare_resized(
    cfg: DatasetConfig, data_dir: Path, find_images: Callable[[], tuple[Path, Images, Images]]
) -> ResizedStore:
    """Returns the store of a dataset; writes first what is missing of it, with ``cfg.workers`` processes.

    Safe to kill at any moment, and to call from several processes at once: one writes, the others wait for it.

    Args:
        cfg: ``root`` None: a store of any tree is accepted.
        data_dir: folder of all datasets.
        find_images: returns the folder of the original images, those for training and those for testing; called only
            when the store is not complete.

    Raises:
        UserError: for images that cannot be used, all together, and when the store was made from another tree.
        PlaceError: when the store is not complete and the original images are missing.
    """
    folder = data_dir.absolute() / cfg.name / "resized"

    def make(is_alone: bool) -> ResizedStore:
        if is_alone:
            for temporary in folder.glob(".*.tmp"):  # of processes killed while they wrote
                temporary.unlink(missing_ok=True)
        with contextlib.suppress(CorruptDatasetError):  # whose tree is unknown
            if meta := _read_meta(folder):
                _check_root(cfg, folder, meta.root)
        try:
            root, train, test = find_images()
        except PlaceError as error:
            raise PlaceError(
                f"{folder} is not complete, and finishing it needs the original images: {error}"
            ) from error
        return _write(folder, root, train, test, cfg.workers)

    found = read_or_make(data_dir, folder, _read, make)
    _check_root(cfg, folder, found.root)
    return found


def _check_root(cfg: DatasetConfig, folder: Path, root: str) -> None:
    if cfg.root is not None and (given := str(Path(cfg.root).expanduser().resolve())) != root:
        raise UserError(
            f"dataset.root={given}: {folder} was made from {root}; give the new data a dataset.name of their own, or "
            f"remove {folder} to make it anew"
        )


def _read_meta(folder: Path) -> _Meta | None:
    try:
        meta = _Meta(**json.loads((folder / _META).read_text()))
        if not isinstance(meta.shards, dict):
            raise TypeError("no sizes of shards")
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise CorruptDatasetError(f"{folder / _META} was not written by this version") from error
    return meta


def _read(folder: Path) -> ResizedStore | None:
    """Returns the store, None if ``meta.json`` is not there yet; looks at the index and the size of every shard.

    Raises:
        CorruptDatasetError: for files that are missing, truncated or changed.
    """
    meta = _read_meta(folder)
    if meta is None:
        return None
    try:
        paths = [folder / name for name in meta.shards]
        indices = [read_index(path) for path in paths]
        sizes = [path.stat().st_size for path in paths]
    except DamagedShardError as error:
        raise CorruptDatasetError(str(error)) from error
    count = sum(map(len, indices))
    is_as_written = sizes == list(meta.shards.values()) and _fingerprint(paths, indices) == meta.fingerprint
    if not is_as_written or count != meta.train_images + meta.test_images:
        raise CorruptDatasetError(f"{folder} does not hold what {_META} says")
    rows = np.concatenate(indices)
    numbers = np.repeat(np.arange(len(paths), dtype=np.int32), [len(index) for index in indices])
    images = StoredImages(MappedShards(paths), numbers, rows, rows["label"].astype(np.int64), meta.classes)
    train, test = np.split(np.arange(count), [meta.train_images])
    return ResizedStore(folder, meta.root, images.subset(train), images.subset(test), meta.fingerprint, sum(sizes))


def _write(folder: Path, root: Path, train: Images, test: Images, workers: int) -> ResizedStore:
    (folder / _META).unlink(missing_ok=True)
    shards = [shard for images in (train, test) for shard in _shards(images)]
    names = {shard.name for shard in shards}
    for path in folder.glob("*.shard"):
        if path.name not in names or not _is_whole(path):
            path.unlink()
    problems = _write_missing(folder, shards, workers)
    (folder / _PROBLEMS).unlink(missing_ok=True)
    if problems:
        with atomic_file(folder / _PROBLEMS) as file:
            file.write("".join(f"{path}: {reason}\n" for path, reason in problems).encode(errors="backslashreplace"))
        raise UserError(
            f"{len(problems)} of {len(train.paths) + len(test.paths)} images cannot be used: "
            f"{join_first([f'{path} ({reason})' for path, reason in problems])}; {folder / _PROBLEMS} lists them all; "
            "repair or remove them and give the same command again"
        )
    paths = [folder / shard.name for shard in shards]
    meta = _Meta(
        root=str(root),
        classes=train.classes,
        train_images=len(train.paths),
        test_images=len(test.paths),
        shards={path.name: path.stat().st_size for path in paths},
        fingerprint=_fingerprint(paths, [read_index(path) for path in paths]),
    )
    with atomic_file(folder / _META) as file:
        file.write(json.dumps(asdict(meta), indent=1).encode() + b"\n")
    found = _read(folder)
    assert found
    return found


def _shards(images: Images) -> Iterator[_Shard]:
    for begin in range(0, len(images.paths), IMAGES_PER_SHARD):
        chunk = slice(begin, begin + IMAGES_PER_SHARD)
        paths, labels = images.paths[chunk], images.labels[chunk].tolist()
        listed = [SHORTER_SIDE, QUALITY, [str(path) for path in paths], labels]
        digest = hashlib.sha256(json.dumps(listed).encode()).hexdigest()
        yield _Shard(f"{digest[:24]}.shard", paths, labels)


def _is_whole(path: Path) -> bool:
    try:
        read_index(path)
    except DamagedShardError:
        return False
    return True


def _fingerprint(paths: list[Path], indices: list[np.ndarray[Any, Any]]) -> str:
    digest = hashlib.sha256()
    for path, index in zip(paths, indices, strict=True):
        digest.update(path.name.encode() + index.tobytes())
    return digest.hexdigest()


def _write_missing(folder: Path, shards: list[_Shard], workers: int) -> list[Problem]:
    """Writes the shards that are not there; returns the images that cannot be used, whose shards are left out."""
    from tqdm import tqdm

    missing = [shard for shard in shards if not (folder / shard.name).exists()]
    loader = DataLoader(  # whose processes end when this one is killed
        _Writing(folder, missing),
        batch_size=None,
        num_workers=min(workers, len(missing)),
        collate_fn=_unchanged,  # the default makes tensors of what it can
        generator=torch.Generator(),  # the default draws from the global generator
    )
    problems: list[Problem] = []
    done = sum(len(shard.paths) for shard in shards) - sum(len(shard.paths) for shard in missing)
    total = sum(len(shard.paths) for shard in shards)
    with tqdm(total=total, initial=done, unit=" images", desc="resizing", disable=None) as bar:
        for shard, found in zip(missing, loader, strict=True):
            if isinstance(found, Exception):
                raise found
            problems += found
            bar.update(len(shard.paths))
    return problems


def _unchanged(found: Any) -> Any:
    return found


class _Writing(Dataset[Any]):
    """Writes a shard when its number is asked for."""

    def __init__(self, folder: Path, shards: list[_Shard]) -> None:
        self._folder, self._shards = folder, shards

    def __len__(self) -> int:
        return len(self._shards)

    def __getitem__(self, number: int) -> list[Problem] | Exception:
        """Returns the images that cannot be used; as a value also the error that ends the preparation."""
        shard, problems = self._shards[number], list[Problem]()
        try:
            write_shard(self._folder / shard.name, _encoded(shard, problems))
        except _UnusableImagesError:
            return problems
        except Exception as error:
            return error
        return []


class _UnusableImagesError(Exception):
    """Some images of a shard cannot be used, so that it is not written."""


def _encoded(shard: _Shard, problems: list[Problem]) -> Iterator[Encoded]:
    """Yields the shard's images; once one cannot be used, only looks for further ones, adding them to ``problems``."""
    for path, label in zip(shard.paths, shard.labels, strict=True):
        try:
            image = encode_resized(path, label)
        except Exception as error:  # Pillow raises many types for a damaged file
            if is_of_place(error):
                raise PlaceError(
                    f"{join_first([path])} cannot be read ({error}); give the same command again"
                ) from error
            # remove the file name that Pillow appends: the message lists it already
            problems.append((join_first([path]), str(error).replace(f" {str(path)!r}", "") or "unreadable"))
            continue
        if not problems:
            yield image
    if problems:
        raise _UnusableImagesError
