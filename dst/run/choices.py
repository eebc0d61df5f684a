"""Flattens a run's ``config.yaml`` into columns, one per choice."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from dst.config.identity import (
    DEFAULTS,
    decides,
    groups_of,
    ineffective_keys,
    later_keys,
    method_of,
    stopping_probes,
    uses_parent,
)
from dst.files.records import Damaged, parse_yaml

_SECTION = re.compile(r"^(?=[^\s#-])", re.MULTILINE)
_HIDDEN_GROUPS = ("probes", "tracker", "checkpoint", "device", "data_dir", "output_dir", "rerun", "parent_id")
"""Groups without columns: they do not change the result, or say the same as another (``parent_id``: ``parent``)."""

_MAIN_KEY = {"density": "value", "update_period": "steps"}
"""The key whose column has the name of its group, if it is not ``name``."""


def parse_config(text: str) -> dict[str, Any]:
    """Parses a ``config.yaml``; raises ValueError if it is not the config of a run.

    Sections are parsed one by one and cached: thousands of runs share most of them, and YAML is slow to parse.
    """
    try:
        config: dict[str, Any] = {}
        for section in _SECTION.split(text):
            config |= _section(section)
    except Damaged:  # damaged, or sections refer to each other: the YAML parser decides
        config = parse_yaml(text)
    check_groups(config)
    return config


@lru_cache(maxsize=4096)
def _section(text: str) -> dict[str, Any]:
    return parse_yaml(text) if text.strip() else {}


def check_groups(config: Mapping[str, Any]) -> None:
    """Raises ValueError if the config lacks a group that every run of this framework has."""
    for group in ("model", "dataset", "density", "update_period"):
        if not isinstance(config.get(group), Mapping):
            raise ValueError(f"no {group}: no run of this framework")


def flatten(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the choices of a resolved config as columns.

    A group's ``name`` (or only value) becomes the column ``<group>``, its other keys become ``<group>_<key>``. Lists
    become JSON text. Choices without effect on the run's result are left out.
    """
    method = method_of(config)
    without_effect = set(groups_of("dst")) - set(groups_of(method))
    if not uses_parent(config):
        without_effect.add("parent")
    row: dict[str, Any] = {"method": method}
    without_effect_here = set(ineffective_keys(config))
    for group, node in {**DEFAULTS, **config}.items():  # runs of earlier versions lack the later groups
        if group in _HIDDEN_GROUPS or group in without_effect:
            continue
        if not isinstance(node, Mapping):
            row[str(group)] = _plain(node)
            continue
        for key, value in {**later_keys(group, node), **node}.items():
            if not str(key).startswith("_") and (group, key) not in without_effect_here:
                row[column_name(f"{group}.{key}")] = _plain(value)
    row |= {column_name(f"probes.{name}.stop"): True for name in stopping_probes(config)}
    if method == "dense":
        row["density"] = 1.0
    row["setup"] = f"{row.get('model')}/{row.get('dataset')}"
    return row


def column_name(name: str) -> str:
    """Converts a config key to its column: ``recipe.lr`` to ``recipe_lr``, ``density.value`` to ``density``."""
    group, _, key = name.partition(".")
    return group if key == _MAIN_KEY.get(group, "name") else name.replace(".", "_")


def config_key(name: str) -> str | None:
    """Converts a column to its config key; None if the column does not decide a run's result."""
    if stops := re.fullmatch(r"probes_(\w+)_stop", name):
        return f"probes.{stops[1]}.stop"
    for group in groups_of("dst"):
        if name == group:
            return group if decides(group, _MAIN_KEY.get(group, "name")) else None
        key = name.removeprefix(f"{group}_")
        if key != name and decides(group, key) and column_name(f"{group}.{key}") == name:
            return f"{group}.{key}"
    return None


def _plain(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, (list, dict)) else value
