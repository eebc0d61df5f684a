"""How a command ends: one line on stderr and an exit status, never a traceback for a mistake."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

from dst.config.mistakes import explain, is_mistake

_FULL_ERROR = os.environ.get("HYDRA_FULL_ERROR") == "1"


@contextlib.contextmanager
def command() -> Iterator[None]:
    """Runs a command in its block, and ends the process as its user expects.

    A mistake (see :func:`~dst.config.mistakes.is_mistake`) is one line on stderr and exit status 2; with
    ``HYDRA_FULL_ERROR=1`` it is a traceback. Ctrl-C is one line and status 1. Output that nobody reads any more
    (``| head``) ends the process in silence, with the status of SIGPIPE.
    """
    with _quiet_when_output_is_closed():
        try:
            yield
        except KeyboardInterrupt:
            sys.exit("stopped; give the same command again to go on")
        except BrokenPipeError:
            raise
        except Exception as error:
            if _FULL_ERROR or not is_mistake(error):
                raise
            print(f"error: {explain(error)}", file=sys.stderr)
            sys.exit(2)


@contextlib.contextmanager
def _quiet_when_output_is_closed() -> Iterator[None]:
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for descriptor in (1, 2):  # the interpreter flushes both at its end
            os.dup2(nowhere, descriptor)
        sys.exit(128 + 13)
