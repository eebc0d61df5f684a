"""Files that are either wholly there or not there at all."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from dst.errors import UserError

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """Opens a temporary file beside ``path`` that takes its place once written, synced and closed.

    Raises:
        UserError: when the disk is full; ``path`` is then as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with disk_full_told(path):
            with open(temporary, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def disk_full_told(path: Path) -> Iterator[None]:
    """Turns a full disk or exceeded quota while writing ``path`` into a UserError."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_SPACE:
            raise
        raise UserError(
            f"no space left to write {path} ({os.strerror(error.errno or 0)}): what was saved before is kept; "
            "free some space and give the same command again to continue"
        ) from error
