"""Validation accuracy (Figure 5) and ITOP ratio (Figure 11) versus the update period Δt."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ..compare import ComparableRuns, aggregate_seeds, select_comparable, setup_of_panel
from ..published import published
from ..style import colors, growth_order, growth_title
from .canvas import (
    Drawing,
    FigureData,
    Grid,
    as_sentences,
    draw_lines,
    gaps_note,
    missing_note,
    nearest_density,
    panel_title,
    seeds_note,
    set_log_ticks,
)

_SETUPS = ("large_mlp/cifar10", "small_cnn/cifar10", "resnet56/cifar10")
_ITOP_SETUP, _ITOP_DENSITY = "large_mlp/cifar10", 0.1


def figure_5(data: FigureData) -> list[Drawing]:
    """One column per setup and density, one row per growth; static as a dotted line."""
    return accuracy_versus_period(data, _SETUPS)


def accuracy_versus_period(data: FigureData, setups: Sequence[str]) -> list[Drawing]:
    """Draws Figure 5.

    Args:
        data: the runs; setups become columns in their order there.
        setups: those to draw; all if none has runs with several update periods.
    """
    chosen, varied = _varied(data, setups)
    if varied.empty:
        return []
    static, varied = varied[varied["line"] == "static"], varied[varied["line"] != "static"]
    order = list(dict.fromkeys(varied["setup"]))
    pairs = varied[["setup", "density"]].drop_duplicates().itertuples(index=False)
    columns = sorted(pairs, key=lambda pair: (order.index(pair.setup), pair.density))
    growths = growth_order(varied["growth"])
    grid = Grid.create(len(growths), len(columns), sharey="col")
    for row, growth in enumerate(growths):
        for column, (setup, density) in enumerate(columns):
            axes = grid.axes[row, column]
            here = varied[(varied["growth"] == growth) & (varied["setup"] == setup) & (varied["density"] == density)]
            grid.add_to_legend(draw_lines(axes, here, "update_period", "val_acc"))
            for value in static.loc[(static["setup"] == setup) & (static["density"] == density), "val_acc"]:
                axes.axhline(100 * value, color=colors(["static"])["static"], linestyle=":")
                grid.add_to_legend(["static"])
            set_log_ticks(axes, here["update_period"], at_most=4)
            axes.set_title(f"{panel_title(setup)}\n{growth_title(growth)}, density {density:g}")
            if row == len(growths) - 1:
                axes.set_xlabel("Δt (steps, log scale)")
            if column == 0:
                axes.set_ylabel("validation accuracy (%)")
    return [grid.finish(_caption(varied, "val_acc", chosen, data))]


def figure_11(data: FigureData) -> list[Drawing]:
    """One row per setup and one column per growth, at density 0.1 or the nearest one."""
    chosen, varied = _varied(data, (_ITOP_SETUP,))
    varied = varied[varied["line"] != "static"]
    if varied.empty:
        return []
    density = nearest_density(varied["density"], _ITOP_DENSITY)
    varied = varied[varied["density"] == density]
    setups, growths = sorted(varied["setup"].unique()), growth_order(varied["growth"])
    grid = Grid.create(len(setups), len(growths), panel=(3.0, 2.3), sharey=True)
    shown = False
    for row, setup in enumerate(setups):
        for column, growth in enumerate(growths):
            axes = grid.axes[row, column]
            here = varied[(varied["growth"] == growth) & (varied["setup"] == setup)]
            grid.add_to_legend(draw_lines(axes, here, "update_period", "itop_ratio", scale=1))
            points = published("itop_ratio", setup, density, str(growth)) if data.reference else {}
            axes.plot([*points], [*points.values()], linestyle="", marker="+", markersize=9, color="black")
            shown |= bool(points)
            set_log_ticks(axes, here["update_period"], at_most=4)
            axes.set_title(f"{panel_title(setup)}\n{growth_title(growth)}, density {density:g}")
            axes.set_xlabel("Δt (steps, log scale)")
        grid.axes[row, 0].set_ylabel("ITOP ratio")
    reference = ["+ is what the paper's text says."] if shown else []
    return [grid.finish([*_caption(varied, "itop_ratio", chosen, data), *reference])]


def cells_with_several_periods(chosen: ComparableRuns) -> pd.DataFrame:
    """Returns the cells of setups and densities with two or more update periods, and their static cells."""
    values = ["val_acc", "itop_ratio"]
    summary = aggregate_seeds(chosen.runs[chosen.runs["method"] != "dense"], values).astype(
        {"update_period": "float64"}
    )
    periods = summary.groupby(["setup", "growth", "density"])["update_period"].transform("nunique")
    varied = summary[periods > 1]
    pairs = varied[["setup", "density"]].drop_duplicates()
    static = summary[summary["line"] == "static"].merge(pairs, on=["setup", "density"])
    return pd.concat([static, varied], ignore_index=True)


def _varied(data: FigureData, setups: Sequence[str]) -> tuple[ComparableRuns, pd.DataFrame]:
    """Returns the cells with several update periods: of the paper's setups if there are any, else all."""
    chosen = select_comparable(data.runs)
    varied = cells_with_several_periods(chosen)
    of_paper = varied[varied["setup"].map(setup_of_panel).isin(setups)]
    return chosen, varied if of_paper.empty else of_paper


def _caption(varied: pd.DataFrame, value: str, chosen: ComparableRuns, data: FigureData) -> Sequence[str]:
    return [
        seeds_note(varied[f"{value}_n"]),
        *missing_note(data.missing, varied["setup"].map(setup_of_panel).unique()),
        *gaps_note(varied.assign(growth=varied["growth"] + varied["density"].astype(str)), "update_period"),
        *as_sentences(chosen.all_notes),
    ]
