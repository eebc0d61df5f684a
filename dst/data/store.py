"""Decoded datasets on disk: ``{train,test}_{x,y}.npy``, and ``meta.json`` with their hashes, written last."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dst.files.atomic import atomic_file

_FORMAT = 2
_META = "meta.json"
_PARTS = ("train_x", "train_y", "test_x", "test_y")


class CorruptDatasetError(Exception):
    """A file of a decoded dataset is missing or differs from what was written; names the file."""


@dataclass(frozen=True)
class Arrays:
    """A decoded dataset: ``x`` uint8 images ``(N, C, H, W)``, float32 features ``(N, F)`` or int32 token ids.

    ``y`` are int64 labels ``(N,)``.
    """

    train_x: NDArray[Any]
    train_y: NDArray[np.int64]
    test_x: NDArray[Any]
    test_y: NDArray[np.int64]

    def digests(self) -> dict[str, str]:
        """Returns the SHA-256 of each array's dtype, shape and contents."""
        return {part: _digest(getattr(self, part)) for part in _PARTS}


@dataclass(frozen=True)
class Meta:
    """Contents of ``meta.json``.

    Attributes:
        source: ``dataset.source`` that the arrays were decoded by.
        root: folder of the raw data.
        image_size: ``dataset.image_size``; None: not resized.
        tokenizer: ``dataset.tokenizer``; None: the data are no texts.
        shape: of one sample.
        digests: see :meth:`Arrays.digests`.
    """

    source: str
    root: str
    image_size: int | None
    shape: list[int]
    num_classes: int
    digests: dict[str, str]
    format: int = _FORMAT
    tokenizer: str | None = None

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all arrays."""
        return hashlib.sha256(" ".join(self.digests[part] for part in _PARTS).encode()).hexdigest()


def write(folder: Path, arrays: Arrays, meta: Meta) -> None:
    """Writes a dataset atomically: :func:`read` returns all of it or None.

    Args:
        folder: must exist.
        arrays: of any memory layout.
        meta: with the arrays' digests.

    Raises:
        UserError: when the disk is full.
    """
    (folder / _META).unlink(missing_ok=True)  # its digests do not match the new arrays
    for part in _PARTS:
        array = np.ascontiguousarray(getattr(arrays, part))
        with atomic_file(folder / f"{part}.npy") as file:
            # the error of np.save does not say that the disk is full
            np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
            file.write(array.data)
    with atomic_file(folder / _META) as file:
        file.write(json.dumps(asdict(meta), indent=2).encode() + b"\n")


def read(folder: Path) -> tuple[Arrays, Meta] | None:
    """Returns the memory-mapped arrays and their metadata; None if there is no completely written dataset.

    Verifies all hashes, which takes at most a second per gigabyte.

    Raises:
        CorruptDatasetError: for files that are missing, truncated, changed or of another format version.
    """
    try:
        meta = Meta(**json.loads((folder / _META).read_text()))
        if not isinstance(meta.digests, dict):
            raise TypeError("no digests")
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise CorruptDatasetError(f"{folder / _META} was not written by this version") from error
    arrays = Arrays(**{part: _load_mapped(folder / f"{part}.npy") for part in _PARTS})
    for part, digest in arrays.digests().items():
        if digest != meta.digests.get(part):
            raise CorruptDatasetError(f"{folder / part}.npy is not what was written there")
    if meta.shape != list(arrays.train_x.shape[1:]) or not isinstance(meta.num_classes, int):
        raise CorruptDatasetError(f"{folder / _META} does not describe the arrays beside it")
    return arrays, meta


def _load_mapped(path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise CorruptDatasetError(f"{path} is missing or damaged ({error})") from error
    return array


def _digest(array: NDArray[Any]) -> str:
    digest = hashlib.sha256(f"{array.dtype} {array.shape}".encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
