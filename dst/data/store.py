"""The decoded dataset on disk: ``{train,test}_{x,y}.npy``, and ``meta.json``, written last, that vouches for them."""

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


class DamagedError(Exception):
    """A decoded dataset is there but not as it was written; names the file."""


@dataclass(frozen=True)
class Arrays:
    """A decoded dataset: ``x`` uint8 images ``(N, C, H, W)`` or float32 features ``(N, F)``, ``y`` int64 ``(N,)``."""

    train_x: NDArray[Any]
    train_y: NDArray[np.int64]
    test_x: NDArray[Any]
    test_y: NDArray[np.int64]

    def digests(self) -> dict[str, str]:
        """Returns the SHA-256 of each array's type, shape and contents."""
        return {part: _digest(getattr(self, part)) for part in _PARTS}


@dataclass(frozen=True)
class Meta:
    """What ``meta.json`` says of the arrays beside it.

    Attributes:
        source: what read them, with ``root``, where from, and ``image_size``, to what size.
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

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that the arrays hold."""
        return hashlib.sha256(" ".join(self.digests[part] for part in _PARTS).encode()).hexdigest()


def write(folder: Path, arrays: Arrays, meta: Meta) -> None:
    """Writes arrays and meta so that a reader sees all of it or nothing; raises UserError when the disk is full."""
    (folder / _META).unlink(missing_ok=True)  # it would not vouch for what comes
    for part in _PARTS:
        array = np.ascontiguousarray(getattr(arrays, part))
        with atomic_file(folder / f"{part}.npy") as file:
            # not np.save, whose error on a full disk does not say that it is full
            np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
            file.write(array.data)
    with atomic_file(folder / _META) as file:
        file.write(json.dumps(asdict(meta), indent=2).encode() + b"\n")


def read(folder: Path) -> tuple[Arrays, Meta] | None:
    """Returns the arrays, memory-mapped, and their meta; None if no dataset was ever wholly written there.

    All contents are read and compared with what was written: a second or less per gigabyte.

    Raises:
        DamagedError: for files that are missing, cut short, changed or of another version.
    """
    try:
        meta = Meta(**json.loads((folder / _META).read_text()))
        if not isinstance(meta.digests, dict):
            raise TypeError("no digests")
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise DamagedError(f"{folder / _META} was not written by this version") from error
    arrays = Arrays(**{part: _mapped(folder / f"{part}.npy") for part in _PARTS})
    for part, digest in arrays.digests().items():
        if digest != meta.digests.get(part):
            raise DamagedError(f"{folder / part}.npy is not what was written there")
    if meta.shape != list(arrays.train_x.shape[1:]) or not isinstance(meta.num_classes, int):
        raise DamagedError(f"{folder / _META} does not describe the arrays beside it")
    return arrays, meta


def _mapped(path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise DamagedError(f"{path} is missing or damaged ({error})") from error
    return array


def _digest(array: NDArray[Any]) -> str:
    digest = hashlib.sha256(f"{array.dtype} {array.shape}".encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
