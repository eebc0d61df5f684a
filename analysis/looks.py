"""One colour, marker and name per criterion, in every figure, table and report."""

from __future__ import annotations

from collections.abc import Iterable

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
}
"""In the order of every legend."""

_COLOURS = {
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
"""The palette of Okabe and Ito (2008), told apart by colour-blind readers, and two that go with it."""

_FURTHER = ("#5d3a00", "#a6761d", "#1b4d3e", "#9a031e", "#4b0082", "#556b2f")
"""For criteria of a user's own, in alphabetical order."""

_MARKERS = {"magnitude": "o", "set": "s", "mest": "^", "snip": "v", "rsensitivity": "D", "static": "X", "random": "P"}


def ordered(methods: Iterable[str]) -> list[str]:
    """Returns the methods (criteria, ``static``, ``dense``), each once, in the order of every legend."""
    names = list(_NAMES)
    return sorted(set(methods), key=lambda method: (names.index(method) if method in _NAMES else len(names), method))


def growth_order(growths: Iterable[str]) -> list[str | None]:
    """Returns the growth criteria, each once: random, gradient, as in the paper, then others; if none, only None."""
    first = ["random", "gradient"]
    rank = {growth: (first.index(growth) if growth in first else len(first), growth) for growth in growths}
    return [*sorted(rank, key=rank.__getitem__)] or [None]


def label(method: str) -> str:
    """Returns what a criterion, ``static`` or ``dense`` is called in print."""
    return _NAMES.get(method, method)


def colours(methods: Iterable[str]) -> dict[str, str]:
    """Returns each method's colour; that of a known one never depends on the others."""
    further = [method for method in ordered(methods) if method not in _COLOURS]
    return {method: _COLOURS[method] for method in ordered(methods) if method in _COLOURS} | {
        method: _FURTHER[index % len(_FURTHER)] for index, method in enumerate(further)
    }


def marker(method: str) -> str:
    """Returns the matplotlib marker of a criterion or ``static``."""
    return _MARKERS.get(method, "*")


def setup_title(setup: str) -> str:
    """Returns ``model/dataset`` as a title."""
    model, _, dataset = setup.partition("/")
    return f"{model} on {dataset}"


def growth_title(growth: str | None) -> str:
    """Returns a growth criterion as a title; nothing for none."""
    return f"{growth} growth" if growth else ""
