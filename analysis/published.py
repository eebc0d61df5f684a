"""The first paper's own numbers, from ``published.yaml``."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml


def published(what: str, *keys: str | float) -> dict[Any, Any]:
    """Returns the paper's numbers of a quantity; none where it does not print them.

    Args:
        what: ``accuracy``, ``itop_ratio`` or ``retained``.
        keys: the levels below it in the file, such as setup and density.
    """
    node = _read()[what]
    for key in keys:
        node = node.get(key, {})
    return dict(node)


@cache
def _read() -> dict[str, Any]:
    return dict(yaml.safe_load(Path(__file__).with_name("published.yaml").read_text(encoding="utf-8")))
