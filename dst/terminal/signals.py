"""Signals that ask a training to stop at its next step."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable


class StopSignals:
    """Remembers that one of ``numbers`` came.

    A SIGHUP that is ignored, as under ``nohup``, stays so.

    Args:
        second_ends: a second signal ends the process as if it were not handled.
        with_parent: the end of the parent process counts as a signal too.
    """

    def __init__(self, numbers: Iterable[int], *, second_ends: bool = False, with_parent: bool = False) -> None:
        self._received, self._second_ends = False, second_ends
        self._parent = os.getppid() if with_parent else None
        for number in numbers:
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._receive)

    def _receive(self, number: int, frame: object) -> None:
        self._received = True
        if self._second_ends:
            signal.signal(number, signal.SIG_DFL)

    def received(self) -> bool:
        """Whether to stop."""
        return self._received or (self._parent is not None and os.getppid() != self._parent)
