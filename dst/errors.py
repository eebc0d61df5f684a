"""Errors that are not bugs: user mistakes, and environment faults such as a full disk or a missing GPU."""

from __future__ import annotations

import contextlib
import difflib
import errno
from collections.abc import Iterable, Iterator

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_ENVIRONMENT_ERRNOS = NO_SPACE | {
    getattr(errno, name)
    for name in (
        "EROFS EACCES EPERM EIO ESTALE ENODEV ENXIO ENOTCONN ETIMEDOUT EHOSTDOWN EHOSTUNREACH EREMOTEIO ENFILE EMFILE"
    ).split()
    if hasattr(errno, name)  # not on every platform
}


class UserError(Exception):
    """A mistake the user can fix; the message is one line: what was given, what is valid, what to type instead.

    Commands print it after ``error:``, without a traceback, and exit with status 2.
    """


class PlaceError(UserError):
    """A fault of the machine or a folder, not of the run: disk full, not mounted, data missing, no such device.

    Once the cause is fixed, the same command continues.
    """


def unknown(name: str, valid: Iterable[str]) -> str:
    """Returns a message that a name is unknown, with the closest valid one and all valid ones.

    Args:
        name: that was given.
        valid: all valid names.
    """
    names = list(valid)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"unknown; {hint}choose one of {', '.join(names) or '(none)'}"


def is_of_place(error: BaseException | None) -> bool:
    """Whether ``error`` or one of its causes is a :class:`PlaceError` or an OSError of the environment."""
    while error is not None:
        if isinstance(error, PlaceError) or (isinstance(error, OSError) and error.errno in _ENVIRONMENT_ERRNOS):
            return True
        error = error.__cause__
    return False


@contextlib.contextmanager
def place_faults_told() -> Iterator[None]:
    """Converts exceptions that :func:`is_of_place` accepts to a :class:`PlaceError` with a one-line message."""
    try:
        yield
    except PlaceError:
        raise
    except Exception as error:
        if not is_of_place(error):
            raise
        raise PlaceError(_one_line(error)) from error


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        told = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
        return f"{told}; give the same command again to continue once that is mended"
    return " ".join(str(error).split())
