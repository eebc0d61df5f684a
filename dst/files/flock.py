"""One process at a time."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

log = logging.getLogger("dst")


@contextlib.contextmanager
def file_lock(path: Path) -> Iterator[bool]:
    """Holds the lock file ``path`` while the block runs, waiting for whoever holds it; a killed process lets go.

    It saves work (one download, one decoding) and is no safeguard: where the file system has no locks the block
    runs at once, and is given False.
    """
    with open(path, "a") as file:
        held = False
        with contextlib.suppress(OSError, ImportError):
            import fcntl  # not on every platform

            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                log.info("waiting for the process that prepares %s", path.parent)
                fcntl.flock(file, fcntl.LOCK_EX)
            held = True
        yield held
