"""The parents of planned runs, which are runs of the plan themselves, each once and before its children."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache
from typing import Any

from dst.config import parent_of, run_id
from dst.config.identity import uses_parent
from dst.config.tree import options
from dst.run.plan import PlannedRun

from .sweep import Overrides, merge_overrides

_OF_THE_CHILD = ("parent", "initial_mask", "weight_init", "checkpoint.snapshots")
_KEPT = ("nothing", "weights", "all")
_LATER = {"snapshots": [], "phases": False}
"""Keys of ``checkpoint`` that plans frozen by earlier versions lack."""


def family(overrides: Overrides, config: Mapping[str, Any]) -> list[PlannedRun]:
    """Returns a run after its parent, if it has one, and that after its own.

    Args:
        overrides: what one types for the run.
        config: resolved and checked, as plain containers; its ``parent_id`` is found here.

    Raises:
        UserError: for a parent that cannot be.
    """
    if not uses_parent(config):
        return [PlannedRun(run_id(config), overrides, dict(config))]
    parent = _parent(json.dumps(config, sort_keys=True))
    ours, theirs = config["checkpoint"], parent["checkpoint"]
    kept = [f"checkpoint.snapshots={json.dumps(theirs['snapshots'])}"] if theirs["snapshots"] else []
    kept += [f"checkpoint.keep={theirs['keep']}"] if theirs["keep"] != ours["keep"] else []
    ancestors = family(_overrides(overrides, [*config["parent"], *kept]), parent)
    config = {**config, "parent_id": ancestors[-1].run_id}
    return [*ancestors, PlannedRun(run_id(config), overrides, config)]


def merged(one: PlannedRun, other: PlannedRun) -> PlannedRun:
    """Returns a run that keeps the weights which either of two plannings of it asks for.

    Args:
        one, other: of the same run id.
    """
    ours, theirs = ({**_LATER, **run.config["checkpoint"]} for run in (one, other))
    kept = {
        "phases": ours["phases"] or theirs["phases"],
        "snapshots": sorted({*ours["snapshots"], *theirs["snapshots"]}),
        "keep": max(ours["keep"], theirs["keep"], key=_KEPT.index),
    }
    if kept.items() <= ours.items():
        return one
    changed = [f"checkpoint.{key}={value if key == 'keep' else json.dumps(value)}" for key, value in kept.items()]
    config = {**one.config, "checkpoint": ours | kept}
    return replace(one, overrides=merge_overrides(one.overrides, changed), config=config)


def generations(runs: Iterable[PlannedRun]) -> list[list[PlannedRun]]:
    """Returns the runs whose parents are not among them, then those whose parents are among the former, and so on."""
    left = {run.run_id: run for run in runs}
    found = []
    while left:
        ready = [run for run in left.values() if run.parent_id not in left]
        found.append(ready)
        for run in ready:
            del left[run.run_id]
    return found


@cache
def _parent(config: str) -> dict[str, Any]:
    parent = parent_of(json.loads(config))
    assert parent is not None
    return asdict(parent)


def _overrides(child: Overrides, parent: Sequence[str]) -> Overrides:
    """Returns what one types for a parent: a group that it chooses itself replaces all that its child says of it."""
    chosen = {key for key in (override.partition("=")[0] for override in parent) if options(key)}
    inherited = [
        override
        for override in child
        if not {key := override.partition("=")[0].lstrip("+~"), key.partition(".")[0]} & {*_OF_THE_CHILD, *chosen}
    ]
    return merge_overrides(inherited, parent)
