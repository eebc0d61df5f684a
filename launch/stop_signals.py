"""The signals that ask for checkpoints, and how processes are started so that none is lost."""

from __future__ import annotations

import contextlib
import multiprocessing.resource_tracker
import signal
from collections.abc import Iterator

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


@contextlib.contextmanager
def signals_blocked() -> Iterator[None]:
    """Blocks stop signals in this process, and in one started in the block until it has installed its handlers."""
    multiprocessing.resource_tracker.ensure_running()  # starting it later would unblock the signals
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
