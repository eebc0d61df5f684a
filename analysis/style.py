"""Plot style: the color, marker and name of each criterion in figures, tables and the report."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import Any

import yaml

from dst.config.tree import CONF_DIR
from dst.errors import UserError

_NAMES = {
    "dense": "Dense",
    "dropout": "Dense, dropout",
    "static": "Static",
    "magnitude": "Magnitude",
    "set": "SET",
    "mest": "MEST",
    "snip": "SNIP",
    "rsensitivity": "RSensitivity",
    "sensitivity": "Sensitivity",
    "random": "Random",
    "init": "Initial",
}
"""Printed names, in the order of legends."""

_COLORS = {
    "dense": "#000000",
    "dropout": "#8c6d31",
    "static": "#56b4e9",
    "magnitude": "#0072b2",
    "set": "#e69f00",
    "mest": "#009e73",
    "snip": "#d55e00",
    "rsensitivity": "#cc79a7",
    "sensitivity": "#7a5195",
    "random": "#8c8c8c",
}
"""The color-blind safe palette of Okabe and Ito (2008), and further colors that match it."""

_PAPER_METHODS = {
    "Prune": ("#000000", "P"),
    "Pruned solution": ("#000000", "P"),
    "Different pruned": ("#8c8c8c", "P"),
    "Lottery": ("#d55e00", "o"),
    "Prune restart": ("#cc79a7", "D"),
    "Scratch": ("#56b4e9", "v"),
    "Scratch, one init": ("#56b4e9", "v"),
    "Scratch+": ("#0072b2", "^"),
    "RigL": ("#66c2a4", "s"),
    "RigL+": ("#009e73", "s"),
    "SET": ("#f0c05a", "d"),
    "SET+": ("#e69f00", "d"),
    "RigL Inverted": ("#b09cc8", "h"),
    "RigL Inverted+": ("#7a5195", "h"),
    "Static": ("#b8b8b8", "x"),
    "Static+": ("#8c8c8c", "x"),
    "SNIP": ("#a6761d", "<"),
    "SNIP+": ("#a6761d", "<"),
    "GraSP": ("#5d3a00", ">"),
    "GraSP+": ("#5d3a00", ">"),
    "Small Dense": ("#8c6d31", "X"),
    "Dense": ("#4d4d4d", "*"),
}
"""Color and marker of the methods of the gradient-flow paper, in the order of legends."""

_EXTRA_COLORS = ("#5d3a00", "#a6761d", "#1b4d3e", "#9a031e", "#4b0082", "#556b2f", "#0b7a75", "#c71585", "#708090")
_assigned: dict[str, str] = {}
"""Colors assigned so far to other lines (user-defined criteria, values of a choice)."""

_EXTRA_MARKERS = "*p<>hd8XP"
_MARKERS = {"magnitude": "o", "set": "s", "mest": "^", "snip": "v", "rsensitivity": "D", "static": "X", "random": "P"}


def _name(method: str) -> str:
    """Returns the criterion of a line such as ``magnitude, recipe.lr=0.1``."""
    return method.partition(", ")[0]


def natural_sort_key(text: str) -> list[tuple[float, str]]:
    """A sort key that compares numbers inside text as numbers: ``Δt=25`` before ``Δt=100``."""
    parts = re.split(r"(\d+(?:\.\d+)?(?:e[-+]?\d+)?)", text)
    return [(float(part), "") if index % 2 else (-1.0, part) for index, part in enumerate(parts)]


def legend_order(methods: Iterable[str]) -> list[str]:
    """Returns the distinct methods (criteria, ``static``, ``dense``) in the order of legends."""
    names = list(_NAMES)
    rank = {method: names.index(_name(method)) if _name(method) in _NAMES else len(names) for method in methods}
    return sorted(rank, key=lambda method: (rank[method], natural_sort_key(method)))


def growth_order(growths: Iterable[str]) -> list[str | None]:
    """Returns the distinct growth criteria: random, gradient, then others; ``[None]`` if there are none."""
    first = ["random", "gradient"]
    rank = {growth: (first.index(growth) if growth in first else len(first), growth) for growth in growths}
    return [*sorted(rank, key=rank.__getitem__)] or [None]


def label(method: str) -> str:
    """Returns the printed name of a criterion (``label`` in its YAML), ``static`` or ``dense``."""
    name, comma, setting = method.partition(", ")
    return (_declared(name, "label") or _NAMES.get(name, name)) + comma + setting.replace("criterion.lam=", "λ = ")


def colors(methods: Iterable[str]) -> dict[str, str]:
    """Returns each method's color, in the order of legends; a method keeps its color within a process.

    ``color`` in a criterion's YAML overrides the default.

    Raises:
        UserError: if that is not a color.
    """
    found = {method: _declared(method, "color") or _COLORS.get(method) for method in legend_order(methods)}
    for method, color in found.items():
        if color is None and method not in _assigned:
            _assigned[method] = _EXTRA_COLORS[len(_assigned) % len(_EXTRA_COLORS)]
        if color is not None and not re.fullmatch(r"#[0-9a-fA-F]{6}", color):
            raise UserError(f"conf/criterion/{method}.yaml: color: {color}: write such as color: '#1b4d3e'")
    return {method: color or _assigned[method] for method, color in found.items()}


@cache
def _declared(method: str, key: str) -> str | None:
    """Returns ``label`` or ``color`` from a criterion's YAML; read now, so it also applies to finished runs."""
    path = CONF_DIR / "criterion" / f"{method}.yaml"
    node = yaml.safe_load(path.read_text()) if path.is_file() else None
    return str(node[key]) if isinstance(node, dict) and key in node else None


def marker(method: str) -> str:
    """Returns the matplotlib marker of a criterion or ``static``; one that :func:`colors` gave a color has its own."""
    if method in _assigned:
        return _EXTRA_MARKERS[list(_assigned).index(method) % len(_EXTRA_MARKERS)]
    return _MARKERS.get(_name(method), _EXTRA_MARKERS[0])


def setup_title(setup: str) -> str:
    """Returns the title of ``model/dataset``."""
    model, _, dataset = setup.partition("/")
    return f"{model} on {dataset}"


def paper_method_order(methods: Iterable[str]) -> list[str]:
    """Returns the distinct methods of the gradient-flow paper in the order of legends."""
    found = set(methods)
    return [method for method in _PAPER_METHODS if method in found]


def paper_method_style(method: str) -> dict[str, Any]:
    """Returns color and marker of a method of the gradient-flow paper, as matplotlib's keyword arguments."""
    color, marker = _PAPER_METHODS[method]
    return {"color": color, "marker": marker}


def growth_title(growth: str | None) -> str:
    """Returns the title of a growth criterion; empty for None."""
    return f"{growth} growth" if growth else ""
