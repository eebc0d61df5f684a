"""Errors that are no defect of the program: a user's mistake, and a machine or folder that cannot do it now."""

from __future__ import annotations

import contextlib
import difflib
import errno
from collections.abc import Iterable, Iterator

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_OF_PLACE = NO_SPACE | {
    getattr(errno, name)
    for name in (
        "EROFS EACCES EPERM EIO ESTALE ENODEV ENXIO ENOTCONN ETIMEDOUT EHOSTDOWN EHOSTUNREACH EREMOTEIO ENFILE EMFILE"
    ).split()
    if hasattr(errno, name)  # not on every platform
}


class UserError(Exception):
    """A mistake the user can mend: one line that says what was given, what is valid, what to type instead.

    Entry points print it after ``error:`` and exit with status 2; it never shows as a traceback.
    """


class PlaceError(UserError):
    """This machine or folder cannot do it now (disk full, not mounted, data missing, no such device).

    Nothing is wrong with the run: once the cause is gone, the same command goes on.
    """


def unknown(name: str, valid: Iterable[str]) -> str:
    """Says that ``name`` is not among ``valid``, and which of those comes close."""
    names = list(valid)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"unknown; {hint}choose one of {', '.join(names) or '(none)'}"


def is_of_place(error: BaseException | None) -> bool:
    """Whether ``error``, or what it was raised from, is a fault of the place and not of what was to be done there."""
    while error is not None:
        if isinstance(error, PlaceError) or (isinstance(error, OSError) and error.errno in _OF_PLACE):
            return True
        error = error.__cause__
    return False


@contextlib.contextmanager
def place_faults_told() -> Iterator[None]:
    """Turns whatever :func:`is_of_place` into a :class:`PlaceError` of one line."""
    try:
        yield
    except PlaceError:
        raise
    except Exception as error:
        if not is_of_place(error):
            raise
        raise PlaceError(_line(error)) from error


def _line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        told = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
        return f"{told}; give the same command again to continue once that is mended"
    return " ".join(str(error).split())
