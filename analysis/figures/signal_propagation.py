"""The figure of signal propagation at initialisation."""

from __future__ import annotations

import pandas as pd

from ..style import colors
from .canvas import Drawing, Grid


def signal_figure(found: pd.DataFrame, about: str) -> Drawing:
    """Draws the standard deviation of the logits by sparsity, a line for each initialisation; points are repeats.

    Points at 0, of networks whose inputs reach no output, lie below the axis; the means contain them.

    Args:
        found: columns ``init sparsity repeat std``.
        about: a sentence for the caption.
    """
    grid = Grid.create(1, 1, panel=(4.0, 2.8))
    axes = grid.axes[0, 0]
    palette = colors(found["init"])
    for init, points in found.groupby("init", sort=False):
        color = palette[init]
        axes.plot(points["sparsity"], points["std"], color=color, linestyle="", marker=".", alpha=0.5)
        means = points.groupby("sparsity")["std"].mean()
        axes.plot(means.index, means, color=color)
    axes.set_yscale("log", nonpositive="mask")
    axes.set_xlabel("sparsity")
    axes.set_ylabel("std of the logits")
    grid.add_to_legend(palette)
    return grid.finish([about], markers=False)
