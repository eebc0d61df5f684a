"""Shared by the figures of this package: what lines look like, the axis of sparsities, the legend."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from ..figures.canvas import set_log_ticks
from ..style import natural_sort_key
from .families import is_cyclic

_COLORS = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5195", "#8c6d31"),
    *("#9a031e", "#1b4d3e", "#6b6b6b", "#b07aa1", "#4b0082", "#a6761d", "#66c2a4", "#ef5675"),
)
_MARKERS = "os^vDPXd<>ph*"
_FIRST = ("dense", "LRR", "WR", "IMP", "gradual", "RigL", "SET", "balanced", "erk", "er", "uniform")

_LABELLED = 3
"""Means below the axis have their values written beside them if a panel has no more."""

Styles = dict[str, dict[str, Any]]
"""Keyword arguments of :meth:`matplotlib.axes.Axes.plot` by the name of the line."""


def line_styles(lines: Iterable[str]) -> Styles:
    """Returns the style of each line, in the order of legends.

    A family in cycles has the color of the family without, which is dashed with hollow markers.
    """
    names = sorted(set(lines), key=lambda line: (_rank(line), _base(line), natural_sort_key(line)))
    bases = list(dict.fromkeys(map(_base, names)))
    both = {base for base in bases if {is_cyclic(line) for line in names if _base(line) == base} == {True, False}}
    styles = {}
    for line in names:
        index = bases.index(_base(line))
        color = "#000000" if _base(line) == "dense" else _COLORS[index % len(_COLORS)]
        styles[line] = {"color": color, "marker": _MARKERS[index % len(_MARKERS)], "linestyle": "-"}
        if _base(line) in both and not is_cyclic(line):
            styles[line] |= {"linestyle": "--", "markerfacecolor": "white"}
    return styles


def _base(line: str) -> str:
    return "dense" if line.startswith("dense") else line.removeprefix("cyclic ").removeprefix("static ")


def _rank(line: str) -> int:
    return next((index for index, start in enumerate(_FIRST) if _base(line).startswith(start)), len(_FIRST))


def draw_means(axes: Axes, means: pd.DataFrame, x: str, styles: Styles) -> None:
    """Draws each line's accuracies in %, with error bars.

    Args:
        axes: the panel.
        means: columns ``line accuracy std`` and that of the x axis.
        x: the column on the x axis.
        styles: of the lines.
    """
    for line, here in means.groupby("line", sort=False):
        here = here.sort_values(x)
        spread = 100 * here["std"].fillna(0)
        axes.errorbar(here[x], 100 * here["accuracy"], yerr=spread, elinewidth=0.6, capsize=1.2, **styles[str(line)])


def set_sparsity_axis(axes: Axes, densities: Iterable[float]) -> None:
    """Makes the x axis that of densities, logarithmic and from right to left, labelled with sparsities.

    Args:
        axes: the panel.
        densities: the candidates for ticks.
    """
    set_log_ticks(axes, densities, at_most=7)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda density, _: f"{100 * (1 - density):.3g}"))
    axes.invert_xaxis()
    axes.set_xlabel("sparsity (%)")


def crop_outliers(panels: Sequence[Axes], means: Sequence[pd.DataFrame], x: Sequence[str], styles: Styles) -> list[str]:
    """Keeps means far below the others from squeezing the y axis; returns a sentence for the caption if there are any.

    The axis reaches twice as far below the best mean as the lowest mean of half of the lines, and 5 points at least.

    Args:
        panels: that share their y axis.
        means: those of each panel, with columns ``line accuracy`` and that of the x axis.
        x: the column on the x axis of each panel.
        styles: of the lines.
    """
    shown = pd.concat(means)
    accuracy = 100 * shown["accuracy"]
    lowest = accuracy.groupby(shown["line"]).min().median()
    limit = accuracy.max() - max(2 * (accuracy.max() - lowest), 5)
    if not (accuracy < limit).any():
        return []
    for axes, here, column in zip(panels, means, x, strict=True):
        axes.set_ylim(limit, accuracy.max() + 0.1 * (accuracy.max() - limit))
        outside = here[100 * here["accuracy"] < limit].sort_values("accuracy")
        above = outside.groupby(column).cumcount() if len(outside) <= _LABELLED else outside[column] * 0
        for row, count in zip(outside.itertuples(), above, strict=True):
            place, color = axes.get_xaxis_transform(), styles[row.line]["color"]
            text = f"▼{100 * row.accuracy:.0f}" if len(outside) <= _LABELLED else "▼"
            height = 0.02 + 0.04 * count  # numbers at one place stand above each other
            axes.text(getattr(row, column), height, text, transform=place, color=color, ha="center", fontsize=6)
    return ["▼ a mean that lies below the axis."]


def add_legend(figure: Figure, styles: Styles, drawn: Iterable[str], title: str = "") -> None:
    """Draws one legend above all panels.

    Args:
        figure: the figure.
        styles: of the lines, in the order of the legend.
        drawn: the lines that are in some panel.
        title: above the legend.
    """
    there = set(drawn)
    names = [line for line in styles if line in there]
    handles = [figure.axes[0].plot([], [], **styles[line])[0] for line in names]
    columns = max(1, int(figure.get_size_inches()[0] / (0.5 + 0.052 * max(map(len, names), default=0))))
    rows = math.ceil(len(names) / columns)
    figure.set_size_inches(figure.get_size_inches()[0], figure.get_size_inches()[1] + 0.15 * max(0, rows - 3))
    figure.legend(handles, names, loc="outside upper center", ncols=columns, frameon=False, fontsize=7, title=title)
