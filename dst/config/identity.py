"""Which choices decide the result of a run: the one place that says so, for run ids and for comparisons of runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

_GROUPS = {
    "dense": ("model", "dataset", "recipe", "seed", "precision", "deterministic"),
    "static": ("density", "distribution"),
    "dst": ("criterion", "growth", "prune_fraction", "update_period", "sparsity"),
}
"""The groups and keys that decide the result of a run of each method, besides those of the methods before it."""

_WITHOUT_EFFECT = {
    "model": ("_target_",),
    "dataset": ("source", "root", "workers", "like"),
    "recipe": ("name",),
    "criterion": ("_target_", "label", "color"),
    "growth": ("_target_", "label", "color"),
    "prune_fraction": ("_target_",),
}
"""Keys of those groups that decide nothing: where things lie, how fast they are read, what they are called."""

_ONE_KEY = {"density": "value", "update_period": "steps", "distribution": "name"}
"""Groups of one key, whose value stands for the group in :func:`identity`."""


def method_of(resolved: Mapping[str, Any]) -> str:
    """Returns ``dense`` (no masks), ``static`` (masks that never change) or ``dst``."""
    if (resolved.get("density") or {}).get("value") is None:
        return "dense"
    return "static" if (resolved.get("update_period") or {}).get("steps") is None else "dst"


def groups_of(method: str) -> tuple[str, ...]:
    """Returns the groups and keys of a config that decide the result of a run of the method."""
    methods = list(_GROUPS)
    return tuple(group for name in methods[: methods.index(method) + 1] for group in _GROUPS[name])


def decides(group: str, key: str | None = None) -> bool:
    """Whether ``group.key``, or the key ``group`` of no group, decides the result of a run of some method."""
    if group in _ONE_KEY and key is not None:
        return key == _ONE_KEY[group]
    return group in groups_of("dst") and key not in _WITHOUT_EFFECT.get(group, ())


def deciding(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the part of a resolved config that decides the result, nested alike.

    No paths, tracker or device, and nothing without effect: a dense run has no masks, so nothing about them; a static
    one no criterion, growth, period or fraction.

    Args:
        resolved: a checked config as plain containers, ``dataclasses.asdict(checked(cfg))``.
    """
    return {
        group: {key: value for key, value in resolved[group].items() if decides(group, str(key))}
        if isinstance(resolved[group], Mapping)
        else resolved[group]
        for group in groups_of(method_of(resolved))
    }


def identity(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what ``run_id`` is the hash of: :func:`deciding`, groups of one key as their value."""
    return {group: node[_ONE_KEY[group]] if group in _ONE_KEY else node for group, node in deciding(resolved).items()}


def hashed(resolved: Mapping[str, Any]) -> str:
    """Returns the run's name: 12 hexadecimal digits, equal for two configs exactly when their runs are equal."""
    return hashlib.sha256(json.dumps(identity(resolved), sort_keys=True).encode()).hexdigest()[:12]
