"""Lists image files and their labels in ``<class>/<image>`` trees."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dst.errors import PlaceError, UserError

_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")
"""Control characters and line breaks in file names, escaped in messages."""

_LISTED = 3
"""Items that a message lists before it counts the rest."""


@dataclass(frozen=True)
class Images:
    """Image files with their labels, int64 ``(N,)``: indices into ``classes``, which are sorted."""

    paths: list[Path]
    labels: NDArray[np.int64]
    classes: list[str]

    def subset(self, indices: NDArray[np.int64]) -> Images:
        """Returns some of the images."""
        return Images([self.paths[index] for index in indices], self.labels[indices], self.classes)


def list_images(folder: Path) -> Images:
    """Returns the files in and below each class folder of ``folder``, sorted; ignores names that begin with a dot.

    Raises:
        UserError: when there are no class folders, one is empty, or there are files outside the class folders.
    """
    entries = _visible(folder)
    if strays := [Path(entry.path) for entry in entries if not entry.is_dir()]:
        raise UserError(f"{folder}: expected folders of images, one a class; move away {join_first(strays)}")
    files = [list(_files_below(entry)) for entry in entries]
    if not files or not all(files):
        empty = next((entry.path for entry, paths in zip(entries, files, strict=True) if not paths), str(folder))
        raise PlaceError(f"{empty}: holds no images; expected {folder}/<class>/<image> with some images in every class")
    labels = np.repeat(np.arange(len(files), dtype=np.int64), [len(paths) for paths in files])
    return Images([path for paths in files for path in paths], labels, [entry.name for entry in entries])


def list_train_and_test(train: Path, test: Path) -> tuple[Images, Images]:
    """Returns :func:`list_images` of both folders.

    Args:
        train: folder of class folders.
        test: folder with the same class folders.

    Raises:
        UserError: when their classes differ.
    """
    both = list_images(train), list_images(test)
    if different := sorted(set(both[0].classes) ^ set(both[1].classes)):
        raise UserError(
            f"{train} and {test} must have the same class folders; only one of them has {join_first(different)}"
        )
    return both


def join_first(items: Sequence[object]) -> str:
    """Joins the first few items with commas, counts the rest, escapes control characters."""
    first = ", ".join(_CONTROL.sub(lambda match: repr(match[0])[1:-1], str(item)) for item in items[:_LISTED])
    return first if len(items) <= _LISTED else f"{first} and {len(items) - _LISTED} more"


def check_regular_file(path: Path) -> None:
    """Raises ValueError unless ``path`` is a regular file; opening a named pipe would block."""
    if not path.is_file():
        raise ValueError("no regular file")


def _visible(folder: Path | os.DirEntry[str]) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)


def _files_below(folder: os.DirEntry[str]) -> Iterator[Path]:
    for entry in _visible(folder):
        if entry.is_dir():
            yield from _files_below(entry)
        else:
            yield Path(entry.path)
