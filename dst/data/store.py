"""The decoded dataset on disk: ``{train,test}_{x,y}.npy``, and ``meta.json``, written last, that vouches for them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dst.atomic import atomic_file

_FORMAT = 1
_PARTS = ("train_x", "train_y", "test_x", "test_y")


@dataclass(frozen=True)
class Arrays:
    """A decoded dataset: ``x`` uint8 images ``(N, C, H, W)`` or float32 features ``(N, F)``, ``y`` int64 ``(N,)``."""

    train_x: NDArray[Any]
    train_y: NDArray[np.int64]
    test_x: NDArray[Any]
    test_y: NDArray[np.int64]

    def shapes(self) -> dict[str, list[int]]:
        """Returns each array's shape."""
        return {part: list(getattr(self, part).shape) for part in _PARTS}

    def fingerprint(self) -> str:
        """Returns the SHA-256 of the contents."""
        digest = hashlib.sha256()
        for part in _PARTS:
            array = np.ascontiguousarray(getattr(self, part))
            digest.update(f"{part} {array.dtype} {array.shape}".encode())
            digest.update(array.data)
        return digest.hexdigest()


@dataclass(frozen=True)
class Meta:
    """What ``meta.json`` says of the arrays beside it.

    Attributes:
        source: what read them, with ``root``, where from, and ``image_size``, to what size.
        shape: of one sample.
        sizes: each array's shape.
        fingerprint: SHA-256 of the arrays' contents.
    """

    source: str
    root: str
    image_size: int | None
    shape: list[int]
    num_classes: int
    sizes: dict[str, list[int]]
    fingerprint: str
    format: int = _FORMAT


def write(folder: Path, arrays: Arrays, meta: Meta) -> None:
    """Writes arrays and meta so that a reader sees all of it or nothing; raises UserError when the disk is full."""
    for part in _PARTS:
        array = np.ascontiguousarray(getattr(arrays, part))
        with atomic_file(folder / f"{part}.npy") as file:
            # not np.save, whose error on a full disk does not say that it is full
            np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))  # type: ignore[arg-type]
            file.write(array.data)  # type: ignore[arg-type]
    with atomic_file(folder / "meta.json") as file:
        file.write(json.dumps(asdict(meta), indent=2).encode() + b"\n")


def read(folder: Path) -> tuple[Arrays, Meta] | None:
    """Returns the arrays, memory-mapped, and their meta; None unless they are there, whole and of one another."""
    try:
        meta = Meta(**json.loads((folder / "meta.json").read_text()))
        arrays = Arrays(**{part: np.load(folder / f"{part}.npy", mmap_mode="r") for part in _PARTS})
    except (OSError, ValueError, TypeError):  # missing, cut short, or of another format
        return None
    return (arrays, meta) if meta.format == _FORMAT and meta.sizes == arrays.shapes() else None
