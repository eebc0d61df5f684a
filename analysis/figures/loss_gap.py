"""The loss gap over the epochs (Figure 4)."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from ..compare import ComparableRuns, aggregate_seeds, select_comparable, select_update_period, setup_of_panel
from ..style import colors, growth_order, growth_title, label, legend_order, natural_sort_key, setup_title
from ..table import METRIC_NAMES
from .canvas import Drawing, FigureData, Grid, nearest_density
from .curves import curves_caption, draw_curves, mean_curves, panel_slug

_LOSS_GAP_SETUP, _LOSS_GAP_DENSITY = "large_mlp/cifar10", 0.5
_DROPOUT = "_dropout"


def figure_4(data: FigureData) -> list[Drawing]:
    """The loss gap over the epochs and the accuracy of each line; all setups if the paper's has no runs."""
    setups = sorted(data.runs["setup"].dropna().unique())
    if _LOSS_GAP_SETUP in setups:
        return _loss_gaps(data, _LOSS_GAP_SETUP, "")
    plain = [setup for setup in setups if _DROPOUT not in setup]
    return [drawing for setup in plain for drawing in _loss_gaps(data, setup, f"_{setup.replace('/', '_')}")]


def _loss_gaps(data: FigureData, setup: str, suffix: str) -> list[Drawing]:
    """Draws the loss gap of a setup, and that of the dense model with dropout as a further line."""
    with_dropout = setup.replace("/", f"{_DROPOUT}/")
    chosen = select_update_period(select_comparable(data.runs[data.runs["setup"].isin([setup, with_dropout])]))
    plain = chosen.runs[chosen.runs["setup"].map(setup_of_panel) == setup]
    dropout = chosen.runs[(chosen.runs["setup"].map(setup_of_panel) == with_dropout) & (chosen.runs["line"] == "dense")]
    panels = sorted(plain["setup"].unique(), key=natural_sort_key)
    drawings = []
    for panel in panels:
        own = dropout["setup"].isin([with_dropout, panel.replace(setup, with_dropout)])
        runs = pd.concat([plain[plain["setup"] == panel], dropout[own].assign(line="dropout")], ignore_index=True)
        name = suffix + (panel_slug(panel) if len(panels) > 1 else "")
        drawings += _loss_gap(data, ComparableRuns(runs, chosen.notes), name)
    return drawings


def _loss_gap(data: FigureData, chosen: ComparableRuns, suffix: str) -> list[Drawing]:
    runs = chosen.runs
    densities = sorted(runs.loc[runs["method"] == "dst", "density"].unique())
    if not densities:
        return []
    density = nearest_density(densities, _LOSS_GAP_DENSITY)
    title = f"{setup_title(str(runs['setup'].iloc[0]))}, density {density:g}."
    runs = runs[(runs["density"] == density) | (runs["method"] == "dense")]
    chosen = ComparableRuns(runs, chosen.notes)
    curves = mean_curves(chosen, data, ["gap"])
    lines = legend_order(runs["line"])
    growths = growth_order(runs["growth"].dropna())
    grid = Grid.create(len(growths), 2, panel=(3.2, 2.4), sharex="col")
    for row, growth in enumerate(growths):
        left, right = grid.axes[row]
        grid.add_to_legend(draw_curves(left, curves[curves["growth"].isna() | (curves["growth"] == growth)], "gap"))
        left.set(ylabel="validation − training loss", title=growth_title(growth))
        _accuracy_bars(right, runs[runs["growth"].isna() | (runs["growth"] == growth)], lines, data.metric)
    grid.axes[-1, 0].set_xlabel("epoch")
    return [
        grid.finish(
            [f"{title} The accuracy axis does not start at 0.", *curves_caption(chosen, data)], suffix, markers=False
        )
    ]


def _accuracy_bars(axes: Axes, runs: pd.DataFrame, lines: list[str], metric: str) -> None:
    """Draws a bar for each line, cut off below the lowest so that their differences show."""
    summary = aggregate_seeds(runs, [metric]).set_index("line").reindex(lines)
    means, deviations = 100 * summary[metric], 100 * summary[f"{metric}_std"].fillna(0)
    palette = colors(lines)
    axes.bar(
        range(len(lines)), means, yerr=deviations, color=[palette[line] for line in lines], ecolor="0.5", capsize=2
    )
    axes.set_axisbelow(True)
    low, high = (means - deviations).min(), (means + deviations).max()
    if pd.notna(high):
        axes.set_ylim(max(0.0, low - 0.5 * max(high - low, 1)), high + 0.1 * max(high - low, 1))
    axes.set_xticks(range(len(lines)), [label(line) for line in lines], rotation=35, ha="right")
    axes.set_ylabel(f"{METRIC_NAMES[metric]} (%)")
