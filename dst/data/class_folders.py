"""Trees of ``<class>/<image>``: which files, of which class."""

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
"""Characters that would break a line in two where a file's name has them."""

_NAMED = 3
"""Files that an error names before it counts the rest."""


@dataclass(frozen=True)
class Images:
    """Image files with their labels, int64 ``(N,)``: positions in ``classes``, which are sorted."""

    paths: list[Path]
    labels: NDArray[np.int64]
    classes: list[str]


def list_images(folder: Path) -> Images:
    """Returns the files in and below each folder in ``folder``, sorted; names that begin with a dot don't count.

    Raises:
        UserError: when there are no such folders, one is empty, or files lie beside them, whose class nobody knows.
    """
    entries = _visible(folder)
    if strays := [Path(entry.path) for entry in entries if not entry.is_dir()]:
        raise UserError(f"{folder}: expected folders of images, one a class; move away {named(strays)}")
    files = [list(_below(entry)) for entry in entries]
    if not files or not all(files):
        empty = next((entry.path for entry, paths in zip(entries, files, strict=True) if not paths), str(folder))
        raise PlaceError(f"{empty}: holds no images; expected {folder}/<class>/<image> with some images in every class")
    labels = np.repeat(np.arange(len(files), dtype=np.int64), [len(paths) for paths in files])
    return Images([path for paths in files for path in paths], labels, [entry.name for entry in entries])


def list_pair(train: Path, test: Path) -> tuple[Images, Images]:
    """Returns :func:`list_images` of both; raises UserError unless they have the same classes."""
    both = list_images(train), list_images(test)
    if different := sorted(set(both[0].classes) ^ set(both[1].classes)):
        raise UserError(f"{train} and {test} must have the same class folders; only one of them has {named(different)}")
    return both


def named(problems: Sequence[object]) -> str:
    """Returns the first few, and how many there are."""
    first = ", ".join(_CONTROL.sub(lambda match: repr(match[0])[1:-1], str(problem)) for problem in problems[:_NAMED])
    return first if len(problems) <= _NAMED else f"{first} and {len(problems) - _NAMED} more"


def no_file(path: Path) -> ValueError | None:
    """Returns the error for what only looks like a file, as a pipe, whose reader would wait for ever."""
    return None if path.is_file() else ValueError("no regular file")


def _visible(folder: Path | os.DirEntry[str]) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)


def _below(folder: os.DirEntry[str]) -> Iterator[Path]:
    for entry in _visible(folder):
        if entry.is_dir():
            yield from _below(entry)
        else:
            yield Path(entry.path)
