"""Methods at equal cost: accuracy against training FLOPs and time, the Pareto front, budgets and ranks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes

from ..figures.canvas import Drawing, Grid, as_sentences, seeds_note, set_log_ticks
from ..stats import Ranking, rank
from ..style import setup_title
from .panels import add_legend, crop_outliers, draw_means, line_styles
from .study import METRICS, Study, over_seeds

WITHIN = 0.2
"""Costs that differ from a budget by no more than this share of it count as equal: epochs are whole."""

_MOST_PANELS = 3
_UNITS = ((3 * 3600.0, 3600.0, "h"), (180.0, 60.0, "min"), (0.0, 1.0, "s"))


def cost_means(study: Study) -> pd.DataFrame:
    """Returns means over seeds of each line at each of its phases, densities below 1, as columns of :func:`over_seeds`.

    ``pareto`` says whether no other mean of the same density is as accurate for less, or more accurate for as much.
    """
    points = study.points.dropna(subset=["cost", "accuracy"])
    means = over_seeds(points[points["density"] < 1], ["family", "line", "density", "phase"])
    return means.assign(pareto=pareto_front(means))


def pareto_front(means: pd.DataFrame) -> pd.Series:
    """Returns whether no other mean of the same density is as accurate for less, or more accurate for as much.

    Args:
        means: with ``density``, ``cost`` (NaN: never on the front) and ``accuracy``.
    """
    ordered = means.dropna(subset=["cost"]).sort_values(["density", "cost", "accuracy"], ascending=[True, True, False])
    best = ordered.groupby("density")["accuracy"].cummax()
    front = ordered["accuracy"] > best.groupby(ordered["density"]).shift(fill_value=-1.0)
    return front.reindex(means.index, fill_value=False)


def panel_densities(means: pd.DataFrame) -> list[float]:
    """Returns up to three densities, densest first: those with the most families, and at least half as many."""
    counts = means.groupby("density")["family"].nunique()
    enough = counts[(counts > 1) & (counts >= counts.max() / 2)].reset_index()
    most = enough.sort_values(["family", "density"], ascending=[False, True])["density"]
    return sorted(most.head(_MOST_PANELS), reverse=True)


def draw_cost(study: Study) -> Drawing | None:
    """Draws accuracy against training FLOPs and time, a panel for each density, and writes the means as CSV.

    None unless two families have results at one density.
    """
    means = cost_means(study)
    densities = panel_densities(means)
    if not densities:
        return None
    study.results.write_csv(f"figures/cyclic_cost_{study.file}.csv", means)
    styles = line_styles(means["family"])
    divisor, unit = _time_unit(means["seconds"].max())
    shown = means[means["density"].isin(densities)]
    shown = shown.assign(curve=_curves(shown), line=shown["family"], time=shown["seconds"] / divisor)
    grid = Grid.create(2, len(densities), panel=(6.4 if len(densities) == 1 else 3.6, 2.6), sharey=True, sharex="row")
    rows = {"cost": f"FLOPs of training and parents ({study.unit})", "time": f"time ({unit})"}
    for row, (x, title) in enumerate(rows.items()):
        panels = [shown[shown["density"] == density] for density in densities]
        for axes, here in zip(grid.axes[row], panels, strict=True):
            for _, curve in here.groupby("curve", sort=False):
                draw_means(axes, curve, x, styles)
            axes.set_xlabel(title)
            if x == "cost":
                front = here[here["pareto"]]
                axes.plot(front[x], 100 * front["accuracy"], "o", color="black", markersize=8, markerfacecolor="none")
        _set_log_ticks(grid.axes[row], shown[x])
        below = crop_outliers(grid.axes[row], panels, [x] * len(panels), styles)
        grid.axes[row, 0].set_ylabel(f"{METRICS[study.metric]} (%)")
    for axes, density in zip(grid.axes[0], densities, strict=True):
        axes.set_title(f"{100 * (1 - density):.3g} % sparse")
    for axes in grid.axes.flat:
        axes.axhline(100 * study.dense_accuracy, color="black", linestyle=":", linewidth=1)
    add_legend(grid.figure, styles, shown["family"], setup_title(study.setup))
    more, known = means["density"].nunique() - len(densities), not math.isnan(study.dense_accuracy)
    caption = [
        seeds_note(means["count"]),
        "Ringed: the Pareto front of accuracy and FLOPs. A line joins the cycles of runs of one length, or runs of "
        "several lengths.",
        *([f"One dense training has {study.dense_epochs} epochs; dotted: its accuracy."] if known else []),
        *([f"{more} further densities, with few families, are not shown."] if more else []),
        *below,
        *as_sentences(study.notes),
    ]
    return Drawing(grid.figure, caption)


def _curves(means: pd.DataFrame) -> pd.Series:
    """Returns what is joined by a line: the cycles of runs of one length, or else the lengths of a family."""
    has_cycles = means.groupby(["density", "line"])["phase"].transform("size") > 1
    return means["line"].where(has_cycles, means["family"])


def _set_log_ticks(panels: Sequence[Axes], values: pd.Series) -> None:
    low, high = values.min(), values.max()
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [digit * 10.0**decade for decade in decades for digit in (1, 2, 5)]
    for axes in panels:
        set_log_ticks(axes, [tick for tick in ticks if 0.8 * low <= tick <= 1.25 * high])


def _time_unit(longest: float) -> tuple[float, str]:
    return next((divisor, name) for least, divisor, name in _UNITS if not longest < least)


def at_budgets(study: Study) -> pd.DataFrame:
    """Returns the points of each density that cost about as much as those of other families, with their ``budget``.

    A budget is the cost within :data:`WITHIN` of which most families have points; then, among the points left, the next
    one. It is of two families or more. A family counts there with one line and phase: rather the end of runs than a
    cycle of longer ones, then that of most seeds, then what costs most nearly as much. No cyclic family counts with its
    first cycle, which is the training without cycles.
    """
    points = study.points.dropna(subset=["cost", "accuracy"])
    points = points[points["final"] | (points["phase"] > 1)]
    found = [_budgets(here) for density, here in points.groupby("density") if density < 1]
    return pd.concat([points.iloc[:0].assign(budget=0.0), *found], ignore_index=True)


def _budgets(points: pd.DataFrame) -> pd.DataFrame:
    found, left = [points.iloc[:0].assign(budget=0.0)], points
    while len(left):
        near = {cost: left[(left["cost"] / cost - 1).abs() <= WITHIN] for cost in left["cost"].unique()}
        budget = max(near, key=lambda cost: (near[cost]["family"].nunique(), len(near[cost]), -cost))
        here = near[budget]
        if here["family"].nunique() < 2:
            break
        away = (here["cost"] / budget - 1).abs()
        ends = here.assign(away=away).groupby(["family", "line", "phase", "final"], as_index=False)
        ends = ends.agg(seeds=("seed", "nunique"), away=("away", "mean"))
        ends = ends.sort_values(["final", "seeds", "away"], ascending=[False, False, True])
        chosen = ends.drop_duplicates("family")[["family", "line", "phase", "final"]]
        found.append(here.merge(chosen).assign(budget=budget))
        left = left.drop(here.index)
    return pd.concat(found)


def rank_families(points: Sequence[pd.DataFrame]) -> tuple[Ranking | None, list[str]]:
    """Ranks families by their mean accuracies in blocks of setup, density and budget.

    Ranked are the families, two or more, that meet in two or more blocks, such that most pairs of them are compared.

    Args:
        points: of :func:`at_budgets`, with their ``setup``.

    Returns:
        The ranking, None unless two families meet in two blocks; and the families that are left out.
    """
    blocks = ["setup", "density", "budget"]
    scores = pd.concat(points).pivot_table(index=blocks, columns="family", values="accuracy")
    there = {str(name): frozenset(scores.index[scores[name].notna()]) for name in scores}
    meetings = {a & b for a, b in itertools.product(there.values(), repeat=2) if len(a & b) > 1}
    names = {where: [name for name in there if where <= there[name]] for where in meetings}
    if not any(len(met) > 1 for met in names.values()):
        return None, list(there)
    where = max(
        sorted(meetings, key=sorted), key=lambda where: (math.comb(len(names[where]), 2) * len(where), len(where))
    )
    ranked = scores.loc[sorted(where), names[where]]
    return rank(ranked), [name for name in there if name not in names[where]]
