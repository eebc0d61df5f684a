"""Signals of processes that tests start."""

from __future__ import annotations

import signal


def heed_signals() -> None:
    """Lets signals end a process that a shell with ``&`` or ``nohup`` has taught to ignore them."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
