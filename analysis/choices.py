"""A run's choices as flat columns: what its ``config.yaml`` says, group by group."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from dst.records import Damaged, parse_yaml

_SECTION = re.compile(r"^(?=[^\s#-])", re.MULTILINE)
_NO_CHOICE = ("tracker", "checkpoint", "device", "data_dir", "output_dir", "rerun")
"""Groups that say how a run is done, and nothing about its result."""

WITHOUT_EFFECT = {
    "dense": ("criterion", "growth", "update_period", "prune_fraction", "sparsity", "distribution"),
    "static": ("criterion", "growth", "update_period", "prune_fraction", "sparsity"),
    "dst": (),
}
"""Groups that a method does not use; their columns are empty for its runs (as in ``dst.config.identity``)."""


def parse_config(text: str) -> dict[str, Any]:
    """Returns what a ``config.yaml`` holds; raises ValueError if that is no run's config.

    Parsed section by section, as thousands of runs share most of their sections, and YAML is slow to parse.
    """
    try:
        config: dict[str, Any] = {}
        for section in _SECTION.split(text):
            config |= _section(section)
    except Damaged:  # or sections that refer to each other: the parser is to say
        config = parse_yaml(text)
    check_groups(config)
    return config


@lru_cache(maxsize=4096)
def _section(text: str) -> dict[str, Any]:
    return parse_yaml(text) if text.strip() else {}


def check_groups(config: Mapping[str, Any]) -> None:
    """Raises ValueError unless the config has the groups that every run of this framework has."""
    for group in ("model", "dataset", "density", "update_period"):
        if not isinstance(config.get(group), Mapping):
            raise ValueError(f"no {group}: no run of this framework")


def method_of(config: Mapping[str, Any]) -> str:
    """Returns ``dense`` (no masks), ``static`` (masks that never change) or ``dst``."""
    if (config.get("density") or {}).get("value") is None:
        return "dense"
    return "static" if (config.get("update_period") or {}).get("steps") is None else "dst"


def flatten(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the choices of a resolved config as columns.

    A group's ``name`` (or single value) is the column of that name; its other keys are ``<group>_<key>``. Lists become
    JSON text. Choices without effect are left out.
    """
    method = method_of(config)
    row: dict[str, Any] = {"method": method}
    for group, node in config.items():
        if group in _NO_CHOICE or group in WITHOUT_EFFECT[method]:
            continue
        if not isinstance(node, Mapping):
            row[str(group)] = _plain(node)
            continue
        for key, value in node.items():
            if not str(key).startswith("_"):
                row[_column(group, str(key))] = _plain(value)
    if method == "dense":
        row["density"] = 1.0
    row["setup"] = f"{row.get('model')}/{row.get('dataset')}"
    return row


def _column(group: str, key: str) -> str:
    names_the_group = key == "name" or (group, key) in (("density", "value"), ("update_period", "steps"))
    return group if names_the_group else f"{group}_{key}"


def _plain(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, (list, dict)) else value
