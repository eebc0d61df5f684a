"""One process at a time."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the lock file ``path`` while the block runs, waiting for whoever holds it; a killed process lets go.

    It saves work (one download, one decoding) and is no safeguard: where the file system has no locks the block
    runs at once.
    """
    with open(path, "a") as file:
        with contextlib.suppress(OSError, ImportError):
            import fcntl  # not on every platform

            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                logging.getLogger(__name__).info("waiting for the process that prepares %s", path.parent)
                fcntl.flock(file, fcntl.LOCK_EX)
        yield
