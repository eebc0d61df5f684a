"""Public functions say what their parameters mean."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from types import FunctionType
from typing import Any

import pytest

from tests.test_rooms import MODULES

ROOMS = sorted({".".join(name.split(".")[:2]) if name.startswith("dst.") else name.split(".")[0] for name in MODULES})


def public_functions(module: Any) -> Iterator[tuple[str, FunctionType, list[str | None]]]:
    """Yields each public function or method written in a module, with the docstrings of what it overrides."""
    for name, member in vars(module).items():
        if name.startswith("_") or getattr(member, "__module__", None) != module.__name__:
            continue
        if inspect.isfunction(inspect.unwrap(member)) and not inspect.isclass(member):
            yield name, inspect.unwrap(member), []
        elif inspect.isclass(member):
            for key, value in vars(member).items():
                function = inspect.unwrap(getattr(value, "__func__", value))
                if not key.startswith("_") and inspect.isfunction(function):
                    bases = [vars(base)[key] for base in member.__mro__[1:] if key in vars(base)]
                    yield f"{name}.{key}", function, [base.__doc__ for base in bases]


def undescribed(module: str) -> list[str]:
    found = []
    for name, function, inherited in public_functions(importlib.import_module(module)):
        parameters = [key for key in inspect.signature(function).parameters if key not in ("self", "cls")]
        if len(parameters) >= 2 and not any("Args:" in (text or "") for text in [function.__doc__, *inherited]):
            found.append(f"{module}.{name}({', '.join(parameters)})")
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_every_public_function_of_several_parameters_describes_them(room: str) -> None:
    names = [
        name
        for name in MODULES
        if (name == room or (room != "dst" and name.startswith(f"{room}."))) and not name.endswith("__main__")
    ]
    assert [line for name in names for line in undescribed(name)] == []
