"""A run's choices as flat columns: what its ``config.yaml`` says, group by group."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from dst.config.identity import DEFAULTS, decides, groups_of, ineffective_keys, method_of
from dst.files.records import Damaged, parse_yaml

_SECTION = re.compile(r"^(?=[^\s#-])", re.MULTILINE)
_HIDDEN_GROUPS = ("tracker", "checkpoint", "device", "data_dir", "output_dir", "rerun")
"""Groups that say how a run is done: no columns."""

_MAIN_KEY = {"density": "value", "update_period": "steps"}
"""The key after which a group's column is called like the group, where that is not ``name``."""


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


def flatten(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the choices of a resolved config as columns.

    A group's ``name`` (or single value) is the column of that name; its other keys are ``<group>_<key>``. Lists become
    JSON text. Choices without effect on the run's result are left out.
    """
    method = method_of(config)
    without_effect = set(groups_of("dst")) - set(groups_of(method))
    row: dict[str, Any] = {"method": method}
    without_effect_here = set(ineffective_keys(config))
    for group, node in {**DEFAULTS, **config}.items():  # runs of earlier versions lack the later groups
        if group in _HIDDEN_GROUPS or group in without_effect:
            continue
        if not isinstance(node, Mapping):
            row[str(group)] = _plain(node)
            continue
        for key, value in node.items():
            if not str(key).startswith("_") and (group, key) not in without_effect_here:
                row[column_name(f"{group}.{key}")] = _plain(value)
    if method == "dense":
        row["density"] = 1.0
    row["setup"] = f"{row.get('model')}/{row.get('dataset')}"
    return row


def column_name(name: str) -> str:
    """Returns the column of a config's key: ``recipe_lr`` of ``recipe.lr``, ``density`` of ``density.value``."""
    group, _, key = name.partition(".")
    return group if key == _MAIN_KEY.get(group, "name") else name.replace(".", "_")


def config_key(name: str) -> str | None:
    """Returns the config's own name of a column whose value decides a run's result; None for any other column."""
    for group in groups_of("dst"):
        if name == group:
            return group if decides(group, _MAIN_KEY.get(group, "name")) else None
        key = name.removeprefix(f"{group}_")
        if key != name and decides(group, key) and column_name(f"{group}.{key}") == name:
            return f"{group}.{key}"
    return None


def _plain(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, (list, dict)) else value
