"""Files that are either wholly there or not there at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from dst.errors import NO_SPACE, PlaceError, is_of_place


@contextlib.contextmanager
def atomic_file(path: Path, *, before: Callable[[], None] | None = None) -> Iterator[IO[bytes]]:
    """Opens a temporary file beside ``path`` that takes its place once written, synced and closed.

    Args:
        before: called when the file is wholly written and about to take its place; what it raises leaves ``path``.

    Raises:
        PlaceError: when the disk is full or cannot be written to; ``path`` is then as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with write_faults_told(path):
            with open(temporary, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if before:
                before()
            os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):  # what ended the writing is told already
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def write_faults_told(path: Path) -> Iterator[None]:
    """Turns a full disk, an exceeded quota or a file system that cannot be written to into a PlaceError."""
    try:
        yield
    except OSError as error:
        if not is_of_place(error):
            raise
        full = error.errno in NO_SPACE
        raise PlaceError(
            f"{'no space left to write' if full else 'cannot write'} {path} ({os.strerror(error.errno or 0)}): what "
            f"was saved before is kept; {'free some space and ' if full else ''}give the same command again to continue"
        ) from error
