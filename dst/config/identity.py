"""Which choices decide the result of a run: the one place that says so, for run ids and for comparisons of runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

_ALWAYS = (
    *("model", "dataset", "recipe", "seed", "precision", "deterministic", "procedure", "lr_schedule"),
    *("weight_init", "parent", "task"),
)
_MASKS = (*_ALWAYS, "density", "distribution")
_GROUPS = {
    "dense": _ALWAYS,
    "static": (*_MASKS, "initial_mask", "sparsity"),
    "dst": (*_MASKS, "initial_mask", "criterion", "growth", "prune_fraction", "update_period", "sparsity"),
    "gradual": (*_MASKS, "criterion", "update_period", "sparsity"),
    "iterative": (*_ALWAYS, "density", "criterion", "sparsity"),
    "sculpt": (*_MASKS, "initial_mask", "criterion", "sparsity"),
}
"""The groups and keys that decide the result of a run of each method."""

UPDATING = ("dst", "gradual")
"""The methods with topology updates."""

DEFAULTS: dict[str, Any] = {
    "procedure": {"_target_": "dst.procedures.SinglePhase", "name": "dst"},
    "initial_mask": {"name": "random"},
    "lr_schedule": {"_target_": "dst.training.lr_schedule.Step", "name": "step", "warmup": 0.0},
    "weight_init": {"name": "default"},
    "parent": None,
    "task": {"_target_": "dst.tasks.Classification", "name": "classification", "best_by": "val_acc"},
}
"""Groups that came later: where one is at its default it enters no identity, so that ids of earlier runs hold."""

PARENT_WEIGHTS = ("parent", "parent_signs", "parent_magnitudes")
"""The choices of ``weight_init`` that take weights, or something of them, from the run's parent."""

_ITERATIVE = ("imp", "wr", "lrr", "sculpt")
"""The procedures that prune between phases."""

GRADIENT_FREE = ("magnitude", "set", "random")
"""Criteria that score without the gradient."""

_KEY_DEFAULTS: dict[str, dict[str, Any]] = {
    "recipe": {"decay_biases": True, "label_smoothing": 0.0, "betas": [0.9, 0.999], "eps": 1e-8}
    | {"sync_batch_norm": False},
    "growth": {"sample": None},
    "sparsity": {
        **{"include": None, "exclude": None},
        **{"normalise": "none", "update_order": "before", "update_batch_size": None},
    },
    "dataset": {"label_noise": 0.0, "store": "original", "tokenizer": None},
    "model=large_mlp_dropout": {"input_dropout": 0.0},
    "procedure=cyclic": {"strategy": "constant", "max_cycles": 20},
    "procedure=sculpt": {"max_cycles": 20},
    "dst.models.from_torchvision": {"weights": None},
}
"""Keys that came later to groups, options or targets that were there: at its default, such a key enters no identity."""

_WITHOUT_EFFECT = {
    "model": ("_target_",),
    "dataset": ("source", "root", "workers", "like"),
    "recipe": ("name",),
    "criterion": ("_target_", "label", "color"),
    "growth": ("_target_", "label", "color"),
    "prune_fraction": ("_target_",),
    "procedure": ("_target_",),
    "lr_schedule": ("_target_",),
    "task": ("_target_",),
}
"""Keys of those groups that decide nothing: where things lie, how fast they are read, what they are called."""

_ONE_KEY = {"density": "value", "update_period": "steps", "distribution": "name"}
"""Groups of one key, whose value stands for the group in :func:`identity`."""


def method_of(resolved: Mapping[str, Any]) -> str:
    """Returns how the masks come about.

    ``dense``: there are none. ``static``: they never change. ``dst``: topology updates. ``gradual``: dense at first,
    pruned while it trains. ``iterative``: dense at first, pruned between phases. ``sculpt``: sparse at first, pruned
    between phases.
    """
    procedure = resolved.get("procedure") or {}
    if (resolved.get("density") or {}).get("value") is None:
        return "dense"
    if procedure.get("name") in _ITERATIVE:
        return "iterative" if procedure.get("start_density", 1) == 1 else "sculpt"
    if (resolved.get("update_period") or {}).get("steps") is None:
        return "static"
    return "gradual" if procedure.get("name") == "gradual" else "dst"


def groups_of(method: str) -> tuple[str, ...]:
    """Returns the groups and keys of a config that decide the result of a run of the method."""
    return _GROUPS[method]


def decides(group: str, key: str | None = None) -> bool:
    """Returns whether a key decides the result of a run of some method.

    Args:
        group: a group, or a key of no group such as ``seed``.
        key: a key of the group; None for a key of no group.
    """
    if group in _ONE_KEY and key is not None:
        return key == _ONE_KEY[group]
    return group in _GROUPS["dst"] and key not in _WITHOUT_EFFECT.get(group, ())


def deciding(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the part of a resolved config that decides the result, nested alike.

    No paths, tracker or device, and nothing without effect: a dense run has no masks, so nothing about them; a static
    one no criterion, growth, period or fraction.

    Args:
        resolved: a checked config as plain containers, ``dataclasses.asdict(checked(cfg))``.
    """
    found = {
        group: {
            key: value
            for key, value in resolved[group].items()
            if decides(group, str(key)) and (str(key), value) not in later_keys(group, resolved[group]).items()
        }
        if isinstance(resolved[group], Mapping)
        else resolved[group]
        for group in groups_of(method_of(resolved))
        if group in resolved or group not in DEFAULTS
    }
    for group, key in ineffective_keys(resolved):
        if group in found:
            found[group] = {name: value for name, value in found[group].items() if name != key}
    if not uses_parent(resolved):
        found.pop("parent", None)
    if found.get("task", {}).get("name") == "binary":  # classification of two classes
        found["task"] = {**found["task"], "name": "classification"}
    if stopping := stopping_probes(resolved):
        found["probes"] = {name: {"stop": True} for name in stopping}
    return {group: node for group, node in found.items() if node not in (_default(group), {})}


def stopping_probes(resolved: Mapping[str, Any]) -> list[str]:
    """Returns the names of the probes that end the run after its first topology update."""
    probes = resolved.get("probes")
    nodes = probes.items() if isinstance(probes, Mapping) else ()
    return [str(name) for name, node in nodes if isinstance(node, Mapping) and node.get("stop") is True]


def uses_parent(resolved: Mapping[str, Any]) -> bool:
    """Returns whether a run takes its first masks or weights from its parent."""
    masks, weights = (resolved.get(group) or DEFAULTS[group] for group in ("initial_mask", "weight_init"))
    takes_masks = masks["name"] == "parent" and "initial_mask" in groups_of(method_of(resolved))
    return takes_masks or weights["name"] in PARENT_WEIGHTS


def ineffective_keys(resolved: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yields ``(group, key)`` of the choices that other choices of a resolved config leave without effect."""
    procedure = resolved.get("procedure") or {}
    if procedure.get("budget") is not None:
        yield "recipe", "epochs"
    if procedure.get("name") in ("cyclic", "sculpt") and procedure.get("cycles") != "auto":
        yield "procedure", "max_cycles"
    if (resolved.get("recipe") or {}).get("optimizer") == "sgd":
        yield from (("recipe", "betas"), ("recipe", "eps"))
    if not (resolved.get("recipe") or {}).get("weight_decay", True):
        yield "recipe", "decay_biases"
    mask = (resolved.get("initial_mask") or DEFAULTS["initial_mask"]).get("name")
    if mask not in ("snip", "grasp"):
        yield "initial_mask", "batches"
    if mask != "random" and "initial_mask" in groups_of(method_of(resolved)):
        yield "distribution", "name"
    if method_of(resolved) == "gradual" and resolved["sparsity"]["scope"] == "global":
        yield "distribution", "name"
    sparsity = resolved.get("sparsity") or {}
    if method_of(resolved) not in UPDATING:
        yield from (("sparsity", key) for key in sparsity if key not in ("include", "exclude"))
    if sparsity.get("normalise") == "layer" and sparsity["scope"] == "local":
        yield "sparsity", "normalise"
    growth = resolved.get("growth") or {}
    grown_by_batch = growth.get("name") != "random" and not growth.get("sample")
    if not grown_by_batch and (resolved.get("criterion") or {}).get("name") in GRADIENT_FREE:
        yield "sparsity", "update_batch_size"
    weights = (resolved.get("weight_init") or DEFAULTS["weight_init"])["name"]
    if weights not in PARENT_WEIGHTS:
        yield "weight_init", "step"
    if weights != "sparsity_aware":
        yield from (("weight_init", key) for key in ("scale", "mode", "distribution"))
    schedule = resolved.get("lr_schedule") or DEFAULTS["lr_schedule"]
    ours = str(schedule.get("_target_")).startswith("dst.")
    if ours and schedule.get("name") != "step":
        yield "recipe", "lr_milestones"
        yield "recipe", "lr_decay"


def later_keys(group: str, node: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the keys, with their defaults, that configs of earlier versions lack.

    Args:
        group: of the config.
        node: the group's keys.
    """
    owners = (group, f"{group}={node.get('name')}", str(node.get("_target_")))
    return {key: value for owner in owners for key, value in _KEY_DEFAULTS.get(owner, {}).items()}


def _default(group: str) -> Any:
    node = DEFAULTS.get(group)
    return {key: value for key, value in node.items() if decides(group, key)} if isinstance(node, dict) else node


def identity(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what ``run_id`` is the hash of: :func:`deciding`, groups of one key as their value, the parent's id."""
    found = deciding(resolved)
    if "parent" in found:
        found["parent"] = resolved["parent_id"]
    return {group: node[_ONE_KEY[group]] if group in _ONE_KEY else node for group, node in found.items()}


def hashed(resolved: Mapping[str, Any]) -> str:
    """Returns the run's name: 12 hexadecimal digits, equal for two configs exactly when their runs are equal."""
    return hashlib.sha256(json.dumps(identity(resolved), sort_keys=True).encode()).hexdigest()[:12]
