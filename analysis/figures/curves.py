"""Curves over the epochs (Figures 2, 23–30)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import pandas as pd
from matplotlib.axes import Axes

from ..compare import (
    CELL_COLUMNS,
    ComparableRuns,
    select_comparable,
    select_update_period,
    setup_of_panel,
)
from ..style import colors, growth_order, growth_title, natural_sort_key, setup_title
from .canvas import (
    Drawing,
    FigureData,
    Grid,
    as_sentences,
    line_style,
    missing_note,
    seeds_note,
)

LEARNING_CURVES = {
    "23": "lenet5_caffe/fashion_mnist",
    "24": "small_mlp/higgs",
    "25": "small_cnn/cifar10",
    "26": "resnet56/cifar10",
    "27": "resnet56/cifar100",
    "28": "large_mlp/cifar10",
    "29": "efficientnet_b0/tiny_imagenet",
    "30": "vgg16/cifar100",
}
"""The setup of each figure."""

_Draw = Callable[[FigureData, ComparableRuns, str], list[Drawing]]


def figure_2(data: FigureData) -> list[Drawing]:
    """ImageNet: validation accuracy and training loss over the epochs; the dense model's best as a dashed line."""
    return _draw_per_panel(data, "dataset", "imagenet", _accuracy_and_loss)


def _accuracy_and_loss(data: FigureData, chosen: ComparableRuns, suffix: str) -> list[Drawing]:
    """Draws one row per density and growth."""
    curves = mean_curves(chosen, data, ["val_acc", "train_loss"])
    if curves.empty:
        return []
    sparse, dense = curves[curves["line"] != "dense"], curves.loc[curves["line"] == "dense", "val_acc"]
    rows = [
        (density, growth)
        for density in sorted(sparse["density"].unique()) or [1.0]
        for growth in growth_order(sparse.loc[sparse["density"] == density, "growth"].dropna())
    ]
    grid = Grid.create(len(rows), 2, panel=(3.2, 2.6))
    for (density, growth), (left, right) in zip(rows, grid.axes, strict=True):
        here = sparse[(sparse["density"] == density) & (sparse["growth"].isna() | (sparse["growth"] == growth))]
        grid.add_to_legend(draw_curves(left, here, "val_acc", scale=100) + draw_curves(right, here, "train_loss"))
        if len(dense):
            left.axhline(100 * dense.max(), **line_style("dense", "black"))
            grid.add_to_legend(["dense"])
        left.set(xlabel="epoch", ylabel="validation accuracy (%)", title=f"density {density:g}")
        right.set(xlabel="epoch", ylabel="training loss", yscale="log", title=growth_title(growth))
    return [grid.finish([f"{_title(chosen)}.", *curves_caption(chosen, data)], suffix, markers=False)]


def learning_curves(setup: str) -> Callable[[FigureData], list[Drawing]]:
    """Returns the function that draws the learning curves of one setup."""
    return lambda data: _draw_per_panel(data, "setup", setup, _learning_curves)


def all_learning_curves(data: FigureData) -> list[Drawing]:
    """One figure per setup."""
    setups = sorted(data.runs["setup"].dropna().unique())
    return [
        drawing
        for setup in setups
        for drawing in _draw_per_panel(data, "setup", setup, _learning_curves, f"_{setup.replace('/', '_')}")
    ]


def _draw_per_panel(data: FigureData, column: str, value: str, draw: _Draw, suffix: str = "") -> list[Drawing]:
    """Draws the runs whose ``column`` equals ``value``: one figure per value of a further choice that varies."""
    chosen = select_update_period(select_comparable(data.runs[data.runs[column] == value]))
    panels = sorted(chosen.runs["setup"].unique(), key=natural_sort_key)
    return [
        drawing
        for panel in panels
        for drawing in draw(
            data,
            ComparableRuns(chosen.runs[chosen.runs["setup"] == panel], chosen.notes),
            suffix + (panel_slug(panel) if len(panels) > 1 else ""),
        )
    ]


def panel_slug(panel: str) -> str:
    """Returns what a panel's setup says besides model and dataset, for a file name."""
    return re.sub(r"[^\w.=-]+", "_", panel.removeprefix(setup_of_panel(panel)))


def _title(chosen: ComparableRuns) -> str:
    return setup_title(str(chosen.runs["setup"].iloc[0]))


def _learning_curves(data: FigureData, chosen: ComparableRuns, suffix: str) -> list[Drawing]:
    """Draws validation accuracy over the epochs: one row per density, one column per growth."""
    curves = mean_curves(chosen, data, ["val_acc"])
    densities = sorted(curves.loc[curves["line"] != "dense", "density"].unique())
    if not densities:
        return []
    growths = growth_order(curves["growth"].dropna())
    grid = Grid.create(len(densities), len(growths), panel=(3.1, 1.7), sharex=True)
    for row, density in enumerate(densities):
        for column, growth in enumerate(growths):
            axes = grid.axes[row, column]
            wanted = (curves["density"] == density) & (curves["growth"].isna() | (curves["growth"] == growth))
            grid.add_to_legend(draw_curves(axes, curves[wanted | (curves["line"] == "dense")], "val_acc", scale=100))
            _crop_first_epochs(axes, curves[wanted | (curves["line"] == "dense")])
            axes.set_title(f"density {density:g}" + (f", {growth_title(growth)}" if growth else ""))
            if column == 0:
                axes.set_ylabel("validation acc. (%)")
            if row == len(densities) - 1:
                axes.set_xlabel("epoch")
    caption = [f"{_title(chosen)}. The first epochs may lie below the axis.", *curves_caption(chosen, data)]
    return [grid.finish(caption, suffix, markers=False)]


def _crop_first_epochs(axes: Axes, curves: pd.DataFrame) -> None:
    """Sets the lower y limit to the minimum after the first tenth of the epochs, to show later differences."""
    later = curves[curves["epoch"] > 0.1 * curves["epoch"].max()]
    low, high = 100 * later["val_acc"].min(), 100 * curves["val_acc"].max()
    if high > low:
        axes.set_ylim(low - 0.05 * (high - low), high + 0.08 * (high - low))


def mean_curves(chosen: ComparableRuns, data: FigureData, values: list[str]) -> pd.DataFrame:
    """Returns mean and standard deviation over the seeds, one row per cell and epoch.

    Args:
        chosen: the runs.
        data: whose epochs are taken.
        values: columns of the epochs, or ``gap``: validation loss − training loss. Each has its ``<value>_std``.
    """
    if chosen.runs.empty:
        return pd.DataFrame(columns=[*CELL_COLUMNS, "epoch", *values])
    epochs = data.epochs()
    epochs = epochs.assign(gap=epochs["val_loss"] - epochs["train_loss"])[["run_id", "epoch", *values]]
    frame = chosen.runs[["run_id", *CELL_COLUMNS]].merge(epochs, on="run_id")
    groups = frame.groupby([*CELL_COLUMNS, "epoch"], dropna=False, sort=False)[values]
    return groups.mean().join(groups.std(ddof=1).add_suffix("_std")).reset_index()


def draw_curves(axes: Axes, curves: pd.DataFrame, value: str, scale: float = 1) -> list[str]:
    """Draws each line's mean with its standard deviation as a band; returns the lines.

    Args:
        axes: the panel.
        curves: see :func:`mean_curves`.
        value: column of the means.
        scale: factor of the values.
    """
    palette = colors(curves["line"])
    for line, color in palette.items():
        points = curves[curves["line"] == line].sort_values("epoch")
        mean, std = scale * points[value], scale * points[f"{value}_std"].fillna(0)
        style = line_style(line, color) | {"marker": "", "linewidth": 1.0}
        axes.plot(points["epoch"], mean, **style)
        axes.fill_between(points["epoch"], mean - std, mean + std, color=color, alpha=0.15, linewidth=0)
    return list(palette)


def curves_caption(chosen: ComparableRuns, data: FigureData) -> Sequence[str]:
    """Returns the sentences on seeds, missing runs and runs left out.

    Args:
        chosen: the runs drawn.
        data: whose missing runs are counted.
    """
    counts = chosen.runs.groupby(CELL_COLUMNS, dropna=False).size()
    return [
        seeds_note(counts),
        *missing_note(data.missing, chosen.runs["setup"].map(setup_of_panel).unique()),
        *as_sentences(chosen.all_notes),
    ]
