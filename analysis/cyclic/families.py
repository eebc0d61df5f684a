"""The family of methods that a run's choices describe, such as ``cyclic SNIP`` or ``SCULPT balanced 0.5``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

_ITERATIVE = {"lrr": "LRR", "wr": "WR", "imp": "IMP"}
_DYNAMIC = {("magnitude", "random"): "SET", ("set", "random"): "SET", ("magnitude", "gradient"): "RigL"}
_ONE_SHOT = {"snip": "SNIP", "synflow": "SynFlow", "grasp": "GraSP", "magnitude": "magnitude one-shot"}
_FROM_PARENT = {
    "parent": "{} weights",
    "parent_signs": "{} signs",
    "parent_magnitudes": "{} magnitudes, random signs",
}
_STEPS = {"0": "first", "last": "last"}


def families(runs: pd.DataFrame) -> pd.Series:
    """Returns the family of each run.

    Args:
        runs: one row per run, with the id of its ``parent``; one whose parent is not among them has a ``parent mask``.
    """
    rows = {row["run_id"]: row for row in runs.to_dict(orient="records")}

    def name(run_id: str) -> str:
        parent = rows[run_id].get("parent")
        return family(rows[run_id], name(parent) if parent in rows else "parent")

    return runs["run_id"].map(name)


def family(run: Mapping[str, Any], parent: str = "parent") -> str:
    """Returns the family of one run, by its row.

    Args:
        run: its choices by column.
        parent: the family of its parent.
    """
    procedure = run.get("procedure", "dst")
    name = _method(run, procedure, parent) + _weights(run)
    if procedure == "cyclic":
        return "dense cyclic" if name == "dense" else f"cyclic {name.removeprefix('static ')}"
    return name if procedure in ("dst", "gradual", "sculpt", *_ITERATIVE) else f"{procedure}: {name}"


def is_cyclic(name: str) -> bool:
    """Returns whether a family trains in cycles without pruning between them."""
    return name.startswith(("cyclic ", "dense cyclic"))


def _method(run: Mapping[str, Any], procedure: str, parent: str) -> str:
    method = run["method"]
    if method in ("iterative", "sculpt"):
        pruned = "" if run["criterion"] == "magnitude" else f", pruned by {run['criterion']}"
        if procedure in _ITERATIVE:
            return _ITERATIVE[procedure] + pruned
        start = "dense" if method == "iterative" else f"{_mask(run, parent)} {run['procedure_start_density']:g}"
        return f"SCULPT {start}" + (", extended" if run.get("procedure_extend") is True else "") + pruned
    if method == "gradual":
        return "gradual" if run["criterion"] == "magnitude" else f"gradual {run['criterion']}"
    if method == "dense":
        return "dense"
    drawn = run.get("initial_mask", "random") == "random"
    if method == "dst":
        pair = run["criterion"], run["growth"]
        return _DYNAMIC.get(pair, " / ".join(pair)) + ("" if drawn else f" from {_mask(run, parent)}")
    return ("static " if drawn else "") + _mask(run, parent)


def _mask(run: Mapping[str, Any], parent: str) -> str:
    kind = run.get("initial_mask", "random")
    return str(run["distribution"]) if kind == "random" else f"{parent} mask" if kind == "parent" else _ONE_SHOT[kind]


def _weights(run: Mapping[str, Any]) -> str:
    init = run.get("weight_init", "default")
    if init in _FROM_PARENT:
        return ", " + _FROM_PARENT[init].format(_STEPS.get(str(run["weight_init_step"]), "warm-up"))
    if init == "default":
        return ", own init" if run.get("initial_mask") == "parent" else ""
    return f", {init} init"
