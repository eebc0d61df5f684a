"""Accuracy of selected families against sparsity, phase or epochs: most of the paper's figures."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from ..figures.canvas import Drawing, Grid, as_sentences, seeds_note
from ..style import setup_title
from .panels import add_legend, crop_outliers, draw_means, line_styles, set_sparsity_axis
from .study import METRICS, Study, over_seeds

AXES = {"density": "sparsity (%)", "phase": "level or cycle", "epoch": "epochs"}
"""What accuracies are drawn against, by column."""

_EQUAL = 0.1
"""Runs are of equal length if they differ in no more than this share of their epochs."""


_LEVEL_STYLES = ("-.", "--", (0, (7, 2, 1, 2, 1, 2)), (0, (1, 3)))


@dataclass(frozen=True)
class Selection:
    """The families of a figure.

    Attributes:
        families: regular expressions, one of which matches a family from its beginning.
        x: of :data:`AXES`; there is a panel for each density, unless that is the axis.
        equal_epochs: only runs as long as the most common length, within 10 %.
        setups: regular expression that matches the setups shown.
    """

    families: tuple[str, ...]
    x: str = "density"
    equal_epochs: bool = False
    setups: str = ".*"

    def of(self, study: Study) -> pd.DataFrame:
        """Returns the points of these families; without cycles that are followed by others, if x is the density."""
        points = study.points
        chosen = points[points["family"].str.match("|".join(self.families))]
        if not re.fullmatch(self.setups, study.setup):
            return chosen.iloc[:0]
        if self.equal_epochs and len(chosen):
            total = chosen.groupby("run_id")["epoch"].transform("max")
            usual = total[chosen["final"]].mode().max()
            chosen = chosen[(total / usual - 1).abs() <= _EQUAL]
        return chosen[chosen["final"]] if self.x == "density" else chosen


def draw_accuracy(study: Study, selection: Selection) -> Drawing | None:
    """Draws the mean accuracy over seeds of each line; None without runs of these families.

    Args:
        study: of the runs.
        selection: of families.
    """
    points = selection.of(study)
    if points.empty:
        return None
    means = over_seeds(points, ["family", "line", "density"] + ([] if selection.x == "density" else ["phase"]))
    styles = line_styles(study.points["line"])
    level = means[means["family"].str.startswith("dense") & (selection.x == "density")]
    for row, style in zip(level.itertuples(), itertools.cycle(_LEVEL_STYLES), strict=False):
        styles[row.line] = {"color": "black", "marker": "", "linestyle": ":" if row.family == "dense" else style}
    panels = _panels(means.drop(level.index), selection.x)
    grid = Grid.create(1, len(panels), panel=(6.4, 3.2) if len(panels) == 1 else (2.9, 2.4), sharey="row")
    for axes, (title, here) in zip(grid.axes[0], panels.items(), strict=True):
        draw_means(axes, here, selection.x, styles)
        for row in level.itertuples():
            axes.axhline(100 * row.accuracy, **styles[row.line])
        if selection.x == "density":
            set_sparsity_axis(axes, here["density"])
        else:
            axes.set_xlabel(AXES[selection.x])
        axes.set_title(title)
    below = crop_outliers(grid.axes[0], list(panels.values()), [selection.x] * len(panels), styles)
    grid.axes[0, 0].set_ylabel(f"{METRICS[study.metric]} (%)")
    add_legend(grid.figure, styles, pd.concat([*panels.values(), level])["line"], setup_title(study.setup))
    caption = [seeds_note(means["count"]), *_about(points, selection), *below, *as_sentences(study.notes)]
    return Drawing(grid.figure, caption)


def _panels(means: pd.DataFrame, x: str) -> dict[str, pd.DataFrame]:
    """Returns the means of each panel by its title: a panel for each density if epochs are the axis, else one.

    Of iterative pruning to several densities, levels that end a run are passed over where another run has more levels.
    """
    if x == "density":
        return {"": means}
    if x == "phase":
        return {"": means[means["density"] == means.groupby(["line", "phase"])["density"].transform("min")]}
    counts = means.groupby("density")["line"].nunique()
    densities = sorted(counts[counts >= min(2, counts.max())].index, reverse=True)[:4]
    return {f"{100 * (1 - value):.3g} % sparse": means[means["density"] == value] for value in densities}


def _about(points: pd.DataFrame, selection: Selection) -> Sequence[str]:
    if not selection.equal_epochs:
        return []
    epochs = points.groupby("run_id")["epoch"].max()
    return [f"All runs have {int(epochs.mode().max())} epochs, within {100 * _EQUAL:.0f} %."]
