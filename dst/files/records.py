"""Validated reading of the files that this project writes; any other content raises :class:`Damaged`."""

from __future__ import annotations

import errno
import itertools
import json
import logging
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

log = logging.getLogger("dst")

Fields = Mapping[str, tuple[type, ...]]
"""The types that the values of a record have, by key; one of type None may be left out."""

TEXT, INTEGER, NUMBER, LIST, OBJECT = (str,), (int,), (int, float), (list,), (dict,)
NULL = (type(None),)

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MISSING = (errno.ENOENT, errno.ENOTDIR, errno.ESTALE)
_NO_FILE = (errno.ELOOP, errno.EISDIR, errno.ENXIO)
MAX_BYTES = 2**20
"""No object of ours is larger, and YAML is slow to parse."""

_MAX_VALUES = 1_000_000
_MAX_DEPTH = 50


class Damaged(ValueError):
    """A file of ours holds what we did not write; the message is one line and names the file, not its directory."""


def read_bytes(path: Path, max_bytes: int | None = None) -> bytes | None:
    """Returns the content of a file, None if there is none.

    Args:
        path: of the file.
        max_bytes: the largest size that is read; None for any.

    Raises:
        Damaged: if the path is not a regular file, or the file is larger than ``max_bytes``.
        OSError: if the file system refuses the access.
    """
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # a pipe would block
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise Damaged(f"{path.name} cannot be read (not a file)")
            if max_bytes is not None and found.st_size > max_bytes:
                raise Damaged(f"{path.name} cannot be read ({found.st_size} bytes, more than any that was written)")
            return file.read()
    except OSError as error:
        if error.errno in _MISSING:
            return None
        if error.errno in _NO_FILE:
            raise Damaged(f"{path.name} cannot be read ({error.strerror})") from error
        raise


def read_object(path: Path, fields: Fields | None = None, max_bytes: int = MAX_BYTES) -> dict[str, Any] | None:
    """Returns the JSON object that a file holds, None if there is no file.

    Args:
        path: of the file.
        fields: that the object must have.
        max_bytes: that the file may have.

    Raises:
        Damaged: if it holds anything else.
        OSError: if the file system refuses it.
    """
    content = read_bytes(path, max_bytes)
    try:
        return None if content is None else parse_object(content, fields)
    except Damaged as error:
        raise Damaged(f"{path.name} cannot be read ({error})") from error


def read_yaml(path: Path) -> dict[str, Any] | None:
    """Returns the mapping that a YAML file holds, None if there is no file; raises as :func:`read_object` does."""
    content = read_bytes(path, MAX_BYTES)
    try:
        return None if content is None else parse_yaml(content)
    except Damaged as error:
        raise Damaged(f"{path.name} cannot be read ({error})") from error


def scan_lines(path: Path, fields: Fields | None = None) -> tuple[list[dict[str, Any]], list[str]]:
    """Returns the records of a JSON-lines file, and a message for each damaged line.

    Both are empty if there is no file. A file that cannot be read at all gives one message.

    Args:
        path: of the file.
        fields: that each record must have.
    """
    try:
        content = read_bytes(path)
    except Damaged as error:
        return [], [str(error)]
    records, faults = [], []
    for number, line in enumerate((content or b"").splitlines(), start=1):
        try:
            records.append(parse_object(line, fields))
        except Damaged as error:
            faults.append(f"{path.name}, line {number}: {error}")
    return records, faults


def read_lines(path: Path, fields: Fields | None = None) -> list[dict[str, Any]]:
    """Returns the records of a JSON-lines file, none if there is no file; logs a warning about damaged lines.

    Args:
        path: of the file.
        fields: that each record must have.
    """
    records, faults = scan_lines(path, fields)
    if faults:
        more = f" and {len(faults) - 1} more" if len(faults) > 1 else ""
        log.warning("%s: passed over what is damaged: %s%s", path.parent, faults[0], more)
    return records


def parse_object(text: bytes, fields: Fields | None = None) -> dict[str, Any]:
    """Parses a JSON object.

    Args:
        text: UTF-8.
        fields: that the object must have.

    Raises:
        Damaged: if it is anything else.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise Damaged("nested too deeply") from None
    except ValueError as error:
        raise Damaged(" ".join(str(error).split())) from error
    if not isinstance(value, dict):
        raise Damaged("no JSON object")
    check_values(value)
    check_fields(value, fields or {})
    return value


def check_fields(record: Mapping[str, Any], fields: Fields) -> None:
    """Checks that a record has fields of given types; other fields are allowed.

    Args:
        record: to check.
        fields: the allowed types by key; a key may be missing if type None is among them.

    Raises:
        Damaged: if it does not.
    """
    for key, types in fields.items():
        if key not in record and type(None) not in types:
            raise Damaged(f"without {key}")
        if type(record.get(key)) not in types:
            raise Damaged(f"{key} is {shown(record[key])}, not {' or '.join(kind.__name__ for kind in types)}")


def parse_yaml(text: bytes | str) -> dict[str, Any]:
    """Returns the mapping that ``text`` is; raises :class:`Damaged` if it is anything else."""
    try:
        value = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:  # all but the first from odd scalars, keys
        raise Damaged(" ".join(str(error).split())[:200]) from error
    if not isinstance(value, dict):
        raise Damaged("no mapping")
    check_values(value)
    return value


def check_values(tree: Any) -> None:
    """Raises :class:`Damaged` unless ``tree`` is of dicts, lists, Unicode text, 64-bit numbers, booleans and None.

    Nor may it be nested too deeply or hold too many values.
    """
    level, count = [tree], 1
    for _ in range(_MAX_DEPTH):
        below: list[Any] = []
        for value in level:
            kind = type(value)  # compared by identity: plans hold hundreds of thousands of values
            if kind is str:
                if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
                    raise Damaged("text that is no Unicode")
            elif kind is dict or kind is list:
                count += 2 * len(value)
                if count > _MAX_VALUES:  # by references to one another, a short YAML file can hold billions
                    raise Damaged(f"more than {_MAX_VALUES} values")
                below += value
                if kind is dict:
                    below += value.values()
            elif kind is int:
                if not -(2**63) <= value < 2**63:
                    raise Damaged(f"{shown(value)} needs more than 64 bits")
            elif value is not None and kind is not bool and kind is not float:
                raise Damaged(f"a {kind.__name__}")
        if not below:
            return
        level = below
    raise Damaged("nested too deeply")


def keep_aside(path: Path) -> Path:
    """Renames a damaged file, so that a sound one can take its place, to ``<name>.damaged``, which it returns."""
    for number in itertools.count():
        aside = path.with_name(f"{path.name}.damaged{f'.{number}' if number else ''}")
        if not os.path.lexists(aside):
            os.rename(path, aside)
            return aside
    raise AssertionError


def shown(value: Any) -> str:
    """Returns a value as a sentence can hold it, shortened."""
    if isinstance(value, int) and abs(value) >= 10**30:  # Python refuses to print the longest
        return "a whole number of more than 30 digits"
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"
