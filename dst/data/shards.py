"""Shards: files of a few thousand JPEG images each, read by memory map and offset.

A shard is the images, one after the other; then their index, an array of :data:`ROW`; then :data:`_TRAILER`, by which a
truncated or damaged file is recognised. It is written atomically, so a shard that is there is finished.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dst.errors import PlaceError, UserError
from dst.files.atomic import atomic_file

ROW = np.dtype(
    [("offset", "<i8"), ("length", "<i4"), ("crc32", "<u4"), ("width", "<i4"), ("height", "<i4"), ("label", "<i4")]
)
"""Where an image lies in its shard, its checksum, the size of its original in pixels, and its label."""

_TRAILER = struct.Struct("<8sQI")
"""A signature, the number of rows and the checksum of the index."""

_SIGNATURE = b"shard\0v1"


class DamagedShardError(Exception):
    """A shard is missing, truncated or changed; names the file."""


@dataclass(frozen=True)
class Encoded:
    """A JPEG image with the size of its original, in pixels, and its label."""

    jpeg: bytes
    width: int
    height: int
    label: int


def write_shard(path: Path, images: Iterable[Encoded]) -> None:
    """Writes a shard atomically; what ``images`` raises leaves no file.

    Args:
        path: of the file; replaced if it is there.
        images: in order; taken one at a time.

    Raises:
        PlaceError: when the disk is full or cannot be written to.
    """
    rows, offset = [], 0
    with atomic_file(path) as file:
        for image in images:
            checksum = zlib.crc32(image.jpeg)
            rows.append((offset, len(image.jpeg), checksum, image.width, image.height, image.label))
            file.write(image.jpeg)
            offset += len(image.jpeg)
        index = np.array(rows, dtype=ROW).tobytes()
        file.write(index + _TRAILER.pack(_SIGNATURE, len(rows), zlib.crc32(index)))


def read_index(path: Path) -> NDArray[np.void]:
    """Returns the index of a shard, :data:`ROW` ``(N,)``; the images themselves are not read.

    Raises:
        DamagedShardError: when the file is missing or not as it was written.
    """
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(size - _TRAILER.size, 0))
            signature, count, checksum = _TRAILER.unpack(file.read())
            begin = size - _TRAILER.size - count * ROW.itemsize
            if signature != _SIGNATURE or begin < 0:
                raise ValueError("truncated, or no shard")
            file.seek(begin)
            content = file.read(count * ROW.itemsize)
    except (FileNotFoundError, ValueError, struct.error) as error:
        reason = "it is missing" if isinstance(error, FileNotFoundError) else "truncated, or no shard"
        raise DamagedShardError(f"{path} cannot be used ({reason})") from error
    index = np.frombuffer(content, dtype=ROW)
    if zlib.crc32(content) != checksum or int(index["length"].sum()) != begin:
        raise DamagedShardError(f"{path} cannot be used (its index is damaged)")
    return index


class MappedShards:
    """Shards, each mapped when it is first read from in a process."""

    def __init__(self, paths: list[Path]) -> None:
        self._paths = paths
        self._maps: dict[int, mmap.mmap] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return MappedShards, (self._paths,)  # maps cannot be pickled

    def read(self, shard: int, row: np.void) -> bytes:
        """Returns an image as it was written.

        Args:
            shard: number of the file.
            row: of the shard's index.

        Raises:
            UserError: when the image is damaged.
            PlaceError: when the file cannot be read.
        """
        try:
            if shard not in self._maps:
                with open(self._paths[shard], "rb") as file:
                    self._maps[shard] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise PlaceError(f"{self._paths[shard]} cannot be read ({error}); give the same command again") from error
        jpeg = self._maps[shard][row["offset"] : row["offset"] + row["length"]]
        if zlib.crc32(jpeg) != row["crc32"]:
            raise UserError(f"{self._paths[shard]} is damaged; remove it, and the same command makes this file anew")
        return jpeg


@dataclass(frozen=True)
class StoredImages:
    """Images in shards with their labels, int64 ``(N,)``: indices into ``classes``, which are sorted.

    Attributes:
        shards: the files.
        numbers: of each image's shard, int32 ``(N,)``.
        rows: of each image in its shard's index, :data:`ROW` ``(N,)``.
    """

    shards: MappedShards
    numbers: NDArray[np.int32]
    rows: NDArray[np.void]
    labels: NDArray[np.int64]
    classes: list[str]

    def subset(self, indices: NDArray[np.int64]) -> StoredImages:
        """Returns some of the images."""
        return replace(self, numbers=self.numbers[indices], rows=self.rows[indices], labels=self.labels[indices])

    def jpeg(self, index: int) -> bytes:
        """Returns the image as it was written; raises as :meth:`MappedShards.read`."""
        return self.shards.read(int(self.numbers[index]), self.rows[index])
