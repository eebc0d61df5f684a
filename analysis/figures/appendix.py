"""Figures of the appendix: the main experiments with one choice varied (Figures 7, 8, 12–16)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pandas as pd
from matplotlib.ticker import MaxNLocator

from dst.config.identity import GRADIENT_FREE

from ..compare import CELL_COLUMNS, aggregate_seeds, select_comparable, select_update_period, setup_of_panel
from ..frames import runs_with_results
from ..style import colors, growth_order, growth_title
from ..table import METRIC_NAMES
from .accuracy import accuracy_versus_density
from .canvas import (
    Drawing,
    FigureData,
    Grid,
    as_sentences,
    draw_lines,
    line_style,
    missing_note,
    nearest_density,
    panel_title,
    seeds_note,
    set_log_ticks,
)
from .curves import curves_caption, draw_curves, mean_curves
from .periods import accuracy_versus_period

_MLP, _LENET = "large_mlp/cifar10", "lenet5_caffe/fashion_mnist"
_PAIR = ("sensitivity", "rsensitivity")
_CURVE_DENSITY, _PERIOD_DENSITY = 0.2, 0.1
_SCHEDULES = ("linear", "constant", "cosine")


def figure_7(data: FigureData) -> list[Drawing]:
    """Accuracy versus density, a line for each λ of MEST."""
    data = data.of_setups([_MLP]).select(lambda runs: (runs["method"] == "dst") & (runs["criterion"] == "mest"))
    data = _where_several(data, "criterion_lam")
    return accuracy_versus_density(data, None, by_rows=False)


def figure_8(data: FigureData) -> list[Drawing]:
    """Accuracy versus density, and validation accuracy over the epochs at one density, a row per setup and growth."""
    data = data.of_setups([_MLP]).select(lambda runs: (runs["method"] == "dst") & runs["criterion"].isin(_PAIR))
    data = _where_several(data, "criterion")
    chosen = select_update_period(select_comparable(data.runs))
    if chosen.runs.empty:
        return []
    cells, curves = aggregate_seeds(chosen.runs, [data.metric]), mean_curves(chosen, data, ["val_acc"])
    rows = [
        (setup, growth) for setup, here in cells.groupby("setup", sort=False) for growth in growth_order(here["growth"])
    ]
    grid = Grid.create(len(rows), 2, panel=(3.2, 2.4), sharex="col")
    for (left, right), (setup, growth) in zip(grid.axes, rows, strict=True):
        here = cells[(cells["setup"] == setup) & (cells["growth"] == growth)]
        density = nearest_density(here["density"], _CURVE_DENSITY)
        grid.add_to_legend(draw_lines(left, here, "density", data.metric))
        left.axvline(density, color="0.6", linestyle="--", linewidth=0.8, zorder=0)
        set_log_ticks(left, here["density"])
        wanted = (curves["setup"] == setup) & (curves["growth"] == growth) & (curves["density"] == density)
        draw_curves(right, curves[wanted], "val_acc", scale=100)
        left.set(title=f"{panel_title(setup)}\n{growth_title(growth)}", ylabel=f"{METRIC_NAMES[data.metric]} (%)")
        right.set(title=f"density {density:g}", ylabel="validation accuracy (%)")
    grid.axes[-1, 0].set_xlabel("density (log scale)")
    grid.axes[-1, 1].set_xlabel("epoch")
    grid.axes[-1, 1].xaxis.set_major_locator(MaxNLocator(integer=True))
    return [grid.finish(["Dashed: the density of the panel beside.", *curves_caption(chosen, data)])]


def figure_12(data: FigureData) -> list[Drawing]:
    """As Figure 1, a column per batch size."""
    names = ["recipe_batch_size", "recipe_lr"]
    data = _as_columns(data.of_setups([_LENET]), names, lambda batch, lr: f"batch {batch:g}, lr {lr:g}")
    return accuracy_versus_density(data, None, by_rows=False)


def figure_13(data: FigureData) -> list[Drawing]:
    """As Figure 1, a column per setup and batch size of the gradient of updates.

    Runs that use no gradient at updates are in each column of their setup.
    """

    def independent(runs: pd.DataFrame) -> pd.Series:
        return (runs["method"] != "dst") | (runs["criterion"].isin(GRADIENT_FREE) & (runs["growth"] == "random"))

    name = "sparsity_update_batch_size"
    data = _as_columns(
        data.of_setups([_MLP, _LENET]),
        [name],
        lambda size: "" if pd.isna(size) else f"updates by {size:g} samples",
        independent,
    )
    return accuracy_versus_density(data, None, by_rows=False)


def figure_14(data: FigureData) -> list[Drawing]:
    """As Figure 1, a column for training from scratch and one for fine-tuning."""
    data = data.of_setups(["efficientnet_b0/tiny_imagenet"])
    data = _as_columns(
        data, ["model_weights"], lambda weights: "from scratch" if pd.isna(weights) else f"weights of {weights}"
    )
    return accuracy_versus_density(data, None, by_rows=False)


def figure_15(data: FigureData) -> list[Drawing]:
    """Accuracy with global versus with local pruning: a panel per setup and growth, a point per cell."""
    data = data.of_setups(["resnet56/cifar10"]).select(lambda runs: runs["method"] == "dst")
    chosen = select_comparable(_as_columns(data, ["sparsity_scope"], str).runs)
    cells = aggregate_seeds(chosen.runs, [data.metric])
    scope = cells["setup"].str.extract(r", (local|global)", expand=False)
    cells["setup"] = cells["setup"].str.replace(r", (local|global)", "", regex=True)
    pairs = cells[scope == "local"].merge(cells[scope == "global"], on=CELL_COLUMNS, suffixes=("", "_global"))
    pairs = pairs.dropna(subset=[data.metric, f"{data.metric}_global"])
    if pairs.empty:
        return []
    setups, growths = list(dict.fromkeys(pairs["setup"])), growth_order(pairs["growth"])
    grid = Grid.create(len(setups), len(growths), panel=(3.2, 3.2))
    for row, setup in enumerate(setups):
        for column, growth in enumerate(growths):
            axes = grid.axes[row, column]
            here = pairs[(pairs["setup"] == setup) & (pairs["growth"] == growth)]
            for line, color in colors(here["line"]).items():
                points = here[here["line"] == line]
                x, y = data.metric, f"{data.metric}_global"
                axes.errorbar(
                    100 * points[x],
                    100 * points[y],
                    xerr=100 * points[f"{x}_std"].fillna(0),
                    yerr=100 * points[f"{x}_std_global"].fillna(0),
                    elinewidth=0.7,
                    **line_style(line, color) | {"linestyle": ""},
                )
                for point in points.itertuples():
                    place = (100 * getattr(point, x), 100 * getattr(point, y))
                    axes.annotate(f"{point.density:g}", place, (4, -7), textcoords="offset points", fontsize=5.5)
                grid.add_to_legend([line])
            axes.axline((100 * here[data.metric].mean(),) * 2, slope=1, color="0.6", linestyle="--", zorder=0)
            axes.set_title(f"{panel_title(setup)}\n{growth_title(growth)}")
            axes.set(
                xlabel=f"{METRIC_NAMES[data.metric]}, local (%)", ylabel=f"{METRIC_NAMES[data.metric]}, global (%)"
            )
    caption = [
        "Numbers are densities; above the diagonal, global pruning is better.",
        seeds_note(pd.concat([pairs[f"{data.metric}_n"], pairs[f"{data.metric}_n_global"]])),
        *missing_note(data.missing, map(setup_of_panel, setups)),
        *as_sentences(chosen.all_notes),
    ]
    return [grid.finish(caption)]


def figure_16(data: FigureData) -> list[Drawing]:
    """As Figure 5, a column per schedule of ρ and batch size, with random growth at one density."""
    data = data.of_setups([_MLP]).select(lambda runs: (runs["method"] == "dst") & (runs["growth"] == "random"))
    if data.runs.empty:
        return []
    density = nearest_density(data.runs["density"].unique(), _PERIOD_DENSITY)
    data = data.select(lambda runs: runs["density"] == density)
    rank = data.runs["prune_fraction"].map(lambda name: _SCHEDULES.index(name) if name in _SCHEDULES else -1)
    order = data.runs.assign(rank=rank).sort_values(["setup", "recipe_batch_size", "rank"], kind="stable").index
    names = ["prune_fraction", "recipe_batch_size"]
    data = _as_columns(replace(data, runs=data.runs.loc[order]), names, lambda name, size: f"{name}, batch {size:g}")
    return accuracy_versus_period(data, [_MLP])


def _where_several(data: FigureData, name: str) -> FigureData:
    """Returns the runs of those setups and growths that have finished runs with several values of a choice."""
    found = runs_with_results(data.runs).reindex(columns=["setup", "growth", name])
    values = found.groupby(["setup", "growth"])[name].nunique()
    several = values.index[values > 1]
    return data.select(
        lambda runs: pd.Series(pd.MultiIndex.from_frame(runs[["setup", "growth"]]).isin(several), runs.index)
    )


def _as_columns(
    data: FigureData,
    names: Sequence[str],
    label: Callable[..., str],
    independent: Callable[[pd.DataFrame], pd.Series] = lambda runs: pd.Series(False, index=runs.index),
) -> FigureData:
    """Appends to the setup of each finished run what it is with its values of some choices.

    Setups without two different labels are left out.

    Args:
        data: the runs.
        names: columns of the choices, which need not exist; afterwards they are empty.
        label: returns the label of their values.
        independent: returns which runs do not depend on the choices; they are repeated for each label of their setup.
    """
    runs = runs_with_results(data.runs)
    runs = runs.reindex(columns=list(dict.fromkeys([*runs.columns, *names])))
    labels = pd.Series(
        [label(*values) for values in runs[list(names)].itertuples(index=False)], runs.index, dtype=object
    )
    free = independent(runs)
    runs, parts = runs.assign(**dict.fromkeys(names)), []
    for setup, here in runs.groupby("setup", sort=False):
        found = list(dict.fromkeys(labels[here.index][~free]))
        for text in found if len(found) > 1 else []:
            part = here[(labels == text)[here.index] | free[here.index]]
            parts.append(part.assign(setup=f"{setup}, {text}" if text else setup))
    return replace(data, runs=pd.concat(parts, ignore_index=True) if parts else runs.iloc[:0])
