"""Accuracy versus density (Figures 1, 10, 22)."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes

from ..compare import aggregate_seeds, dynamic_lines, select_comparable, select_update_period, setup_of_panel
from ..style import colors, growth_order, growth_title, natural_sort_key
from ..table import METRIC_NAMES
from .canvas import (
    Drawing,
    FigureData,
    Grid,
    as_sentences,
    draw_lines,
    gaps_note,
    line_style,
    missing_note,
    panel_title,
    seeds_note,
    set_log_ticks,
)

MAIN = (
    *("small_mlp/higgs", "large_mlp/cifar10", "lenet5_caffe/fashion_mnist"),
    *("resnet56/cifar10", "vgg16/cifar100", "efficientnet_b0/tiny_imagenet"),
)
"""The setups of Figure 1."""

APPENDIX = ("small_cnn/cifar10", "resnet56/cifar100")
"""The setups of Figure 10."""


def figure_1(data: FigureData) -> list[Drawing]:
    """One column per setup and one row per growth; all setups of the runs if none is in the paper's figure."""
    setups = [setup for setup in MAIN if setup in set(data.runs["setup"])]
    return accuracy_versus_density(data, setups or None, by_rows=False)


def figure_10(data: FigureData) -> list[Drawing]:
    """As Figure 1, for the two setups of the appendix."""
    return accuracy_versus_density(data, APPENDIX, by_rows=False)


def figure_22(data: FigureData) -> list[Drawing]:
    """One row per setup, for all setups, and one column per growth."""
    return accuracy_versus_density(data, None, by_rows=True)


def accuracy_versus_density(data: FigureData, setups: Sequence[str] | None, *, by_rows: bool) -> list[Drawing]:
    """Draws one panel per setup and growth: criteria and static as lines, dense as a dashed line.

    Args:
        data: the runs.
        setups: the setups to draw, in this order; None: all.
        by_rows: one row, instead of one column, per setup.
    """
    chosen = select_update_period(
        select_comparable(data.runs if setups is None else data.runs[data.runs["setup"].isin(setups)])
    )
    summary = aggregate_seeds(chosen.runs, [data.metric])
    summary = summary[summary[f"{data.metric}_n"] > 0]
    if summary.empty:
        return []
    sparse = summary["line"].ne("dense").groupby(summary["setup"]).transform("any")
    dense_only = summary.loc[~sparse, "setup"].unique() if sparse.any() else []
    summary = summary[~summary["setup"].isin(dense_only)]
    below = False
    order = sorted(summary["setup"].unique(), key=natural_sort_key)
    if setups is not None:
        order.sort(key=lambda panel: setups.index(setup_of_panel(panel)))
    growths = growth_order(summary["growth"].dropna())
    shape = (len(order), len(growths)) if by_rows else (len(growths), len(order))
    alone = len(order) * len(growths) == 1
    grid = Grid.create(*shape, panel=(4.6, 3.0) if alone else (2.6, 2.2), sharey="row" if by_rows else "col")
    for row, setup in enumerate(order):
        for column, growth in enumerate(growths):
            axes = grid.axes[(row, column) if by_rows else (column, row)]
            here = summary[(summary["setup"] == setup) & (summary["growth"].isna() | (summary["growth"] == growth))]
            _panel(grid, axes, here, data.metric)
            limits = _y_limits(summary[summary["setup"] == setup], data.metric)
            if limits:
                below |= _crop_below(axes, here, data.metric, limits)
            axes.set_title(f"{panel_title(setup)}\n{growth_title(growth)}" if growth else panel_title(setup))
            if (column if by_rows else row) == 0:
                axes.set_ylabel(f"{METRIC_NAMES[data.metric]} (%)")
            if (row == len(order) - 1) if by_rows else (column == len(growths) - 1):
                axes.set_xlabel("density (log scale)")
    lines = summary[summary["line"] != "dense"]
    caption = [
        seeds_note(summary[f"{data.metric}_n"]),
        *(["▼ a mean that lies below the axis, in %."] if below else []),
        *missing_note(data.missing, set(map(setup_of_panel, order))),
        *gaps_note(lines, "density"),
        *([f"Without sparse runs, not shown: {', '.join(dense_only)}."] if len(dense_only) else []),
        *as_sentences(chosen.all_notes),
    ]
    return [grid.finish(caption)]


def _panel(grid: Grid, axes: Axes, here: pd.DataFrame, metric: str) -> None:
    sparse = here[here["line"] != "dense"]
    grid.add_to_legend(draw_lines(axes, sparse, "density", metric))
    for value in here.loc[here["line"] == "dense", metric]:
        axes.axhline(100 * value, **line_style("dense", colors(["dense"])["dense"]))
        grid.add_to_legend(["dense"])
    set_log_ticks(axes, sparse["density"], at_most=5)


def _y_limits(cells_of_setup: pd.DataFrame, metric: str) -> tuple[float, float] | None:
    """Returns y limits (%) that keep the criteria distinguishable; None if static does not stretch the axis."""
    criteria = dynamic_lines(cells_of_setup)
    if criteria.empty:
        return None
    shown = cells_of_setup[cells_of_setup["line"] != "static"]
    top, low = cells_of_setup[metric].max(), shown[metric].min()
    room = max(top - low, 0.01)
    if cells_of_setup[metric].min() > low - room:
        return None
    return 100 * (low - 0.7 * room), 100 * (top + 0.2 * room)


def _crop_below(axes: Axes, here: pd.DataFrame, metric: str, limits: tuple[float, float]) -> bool:
    """Sets the y limits and labels the points below them; returns whether there are any."""
    axes.set_ylim(*limits)
    below = here[100 * here[metric] < limits[0]]
    palette = colors(below["line"])
    for density, value, line in zip(below["density"], below[metric], below["line"], strict=True):
        place = axes.get_xaxis_transform()
        axes.text(density, 0.02, f"▼{100 * value:.0f}", transform=place, color=palette[line], ha="right", fontsize=6)
    return not below.empty
