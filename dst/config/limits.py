"""Limits of config values: declared as metadata of the schema's fields, checked by one walk over the config.

Besides, every number must be finite and fit 64 bits, and every string must be one non-empty line that is no secret,
because configs are written to files, tables and job scripts.
"""

from __future__ import annotations

import os
import pkgutil
import re
import unicodedata
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from dst.errors import UserError, unknown

if TYPE_CHECKING:
    Boolean = bool
else:
    Boolean = Any  # OmegaConf would take every number for true

_LARGEST = 3.4e38  # of float32, in which runs compute
_SECRET = re.compile(r"\w+_(KEY|TOKEN|PASSWORD|SECRET)")
_SHORTEST_SECRET = 8


def limited(holds: Callable[[Any], object], told: str | Callable[[Any], str]) -> dict[str, Any]:
    """Returns metadata that limits the values of a dataclass field; None is always valid.

    Args:
        holds: whether a value is valid.
        told: what is valid, as the end of an error message, or a function that returns it for an invalid value.
    """
    return {"limits": (holds, told)}


def one_of(*choices: str) -> dict[str, Any]:
    """Returns metadata of a dataclass field with these values to choose from."""
    return limited(lambda value: value in choices, lambda value: unknown(str(value), choices))


def key_of(registry: str) -> dict[str, Any]:
    """Returns metadata of a dataclass field whose values are the keys or elements of an object of another room.

    Args:
        registry: such as ``dst.data.sources:SOURCES``; imported when a value is checked, so that the schema itself
            loads neither torch nor the data sets.
    """
    return limited(
        lambda value: value in pkgutil.resolve_name(registry),
        lambda value: unknown(str(value), pkgutil.resolve_name(registry)),
    )


BOOLEAN = {**limited(lambda value: isinstance(value, bool), "must be true or false"), "required": True}
"""Metadata of a field of type ``Boolean``, for which null is no value."""


def check_limits(value: Any, key: str = "") -> None:
    """Checks every value of a config: in dataclasses, dicts and lists, at any depth.

    Args:
        value: a config or a part of one.
        key: what errors call it; empty for a whole config.

    Raises:
        UserError: one line with the key, its value (not where that is a secret) and what would be valid.
    """
    if is_dataclass(value):
        _check_fields(value, f"{key}." if key else "")
    elif isinstance(value, dict):
        for name, child in value.items():
            _check_string(f"a key of {key}", str(name))
            check_limits(child, f"{key}.{name}")
    elif isinstance(value, (list, tuple)):
        for child in value:
            check_limits(child, key)
    elif isinstance(value, str):
        _check_string(key, value)
    elif isinstance(value, float) and not abs(value) <= _LARGEST:
        raise UserError(f"{key}={value}: must be a finite number, at most {_LARGEST:g} in magnitude")
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise UserError(f"{key}={str(value)[:40]}: must be below 2^63 in magnitude")


def _check_fields(config: Any, prefix: str) -> None:
    known = [item.name for item in fields(config)]
    for name in vars(config):
        if name not in known:  # added with + or ++
            raise UserError(f"{prefix}{name}: {unknown(name, known)}")
    for item in fields(config):
        value = getattr(config, item.name)
        check_limits(value, prefix + item.name)
        holds, told = item.metadata.get("limits", (None, ""))
        if holds and (value is not None or item.metadata.get("required")) and not holds(value):
            raise UserError(f"{prefix}{item.name}={value}: {told(value) if callable(told) else told}")


def _check_string(key: str, value: str) -> None:
    if not value.strip():
        raise UserError(f"{key}={value}: is empty; give a value")
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in value):
        raise UserError(f"{key}={ascii(value)[1:-1][:60]}: must be one line without control characters")
    for name, secret in os.environ.items():
        if value == secret and len(secret) >= _SHORTEST_SECRET and _SECRET.fullmatch(name):
            raise UserError(f"{key}: has the value of {name}, a secret, which would be written to files; give another")
