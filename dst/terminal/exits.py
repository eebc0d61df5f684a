"""How a command ends: one line on stderr and an exit status, never a traceback for a mistake."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

from dst.config.mistakes import explain, is_mistake

_FULL_ERROR = os.environ.get("HYDRA_FULL_ERROR") == "1"


@contextlib.contextmanager
def told_in_one_line() -> Iterator[None]:
    """Ends the process with status 2 and one line on stderr for a mistake; HYDRA_FULL_ERROR=1 shows where it arose."""
    try:
        yield
    except BrokenPipeError:  # of a reader such as head, which has seen enough
        raise
    except Exception as error:
        if _FULL_ERROR or not is_mistake(error):
            raise
        print(f"error: {explain(error)}", file=sys.stderr)
        sys.exit(2)


@contextlib.contextmanager
def closed_output_is_quiet() -> Iterator[None]:
    """Ends the process as SIGPIPE would, without a traceback, once nobody reads what it prints (``| head``)."""
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
