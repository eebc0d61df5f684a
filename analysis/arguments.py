"""Values of the ``key=value`` arguments of ``python -m analysis``."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from dst.errors import UserError, unknown


def positive_integer(own: dict[str, str], key: str, default: int) -> int:
    """Returns the value of a key.

    Args:
        own: the keys given.
        key: its name.
        default: where it is not given.

    Raises:
        UserError: unless it is a whole number above 0.
    """
    value = own.get(key, str(default))
    if not (value.isdecimal() and int(value)):
        raise UserError(f"{key}={value}: give a whole number, 1 or more")
    return int(value)


def file_name(own: dict[str, str], default: str) -> str:
    """Returns the key ``name``, the beginning of the names of the files that a command writes.

    Args:
        own: the keys given.
        default: where it is not given.

    Raises:
        UserError: for a name that could lie outside the results folder.
    """
    name = own.get("name", default)
    if not re.fullmatch(r"\w[\w.+-]{0,99}", name):
        raise UserError(f"name={name}: give the beginning of a file's name, letters, digits and any of _ . + -")
    return name


def choice(own: Mapping[str, str], key: str, valid: Collection[str]) -> str:
    """Returns the value of a key, by default the first valid one.

    Args:
        own: the command's keys and values.
        key: one of them, or none.
        valid: what it may be.

    Raises:
        UserError: for another value.
    """
    value = own.get(key, next(iter(valid)))
    if value not in valid:
        raise UserError(f"{key}={value}: {unknown(value, valid)}")
    return value
