"""Figures of trained networks: loss on a line between two, disagreement, plane of the weights, Hessian spectrum."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ..style import colors, label
from .canvas import Drawing, Grid, as_sentences, draw_matrix, line_style

_LABELLED = 30
"""Points are labelled if there are no more than these."""

_BESIDE = {"xytext": (4, 3), "textcoords": "offset points", "fontsize": 5.5, "color": "0.3"}


def interpolation_figure(points: pd.DataFrame, lines: dict[str, str], about: str, notes: Sequence[str]) -> Drawing:
    """Draws loss and accuracy on each line, one column a split; lines of one group have one colour.

    Args:
        points: columns ``start end split alpha loss accuracy``.
        lines: what each network's line is called, by the network's name.
        about: a sentence on what was interpolated.
        notes: for the caption.
    """
    splits = list(dict.fromkeys(points["split"]))
    grid = Grid.create(2, len(splits), panel=(3.2, 2.0), sharex=True, sharey="row")
    starts = points["start"].map(lines)
    palette = colors(starts)
    for column, split in enumerate(splits):
        for row, (value, factor, title) in enumerate((("loss", 1, "loss"), ("accuracy", 100, "accuracy (%)"))):
            axes = grid.axes[row, column]
            for (_, _, line), curve in points[points["split"] == split].groupby(["start", "end", starts], sort=False):
                style = line_style(line, palette[line])
                axes.plot(curve["alpha"], factor * curve[value], markevery=4, **style)
            for end in (0, 1):
                axes.axvline(end, color="0.6", linewidth=0.6, zorder=0)
            if column == 0:
                axes.set_ylabel(title)
        _limit_loss(grid.axes[0, column], points)
        grid.axes[0, column].set_title(f"{split} split")
        grid.axes[1, column].set_xlabel("α (0: start, 1: end)")
    grid.add_to_legend(palette)
    return grid.finish([about, *as_sentences(notes)])


def _limit_loss(axes: Axes, points: pd.DataFrame) -> None:
    """Cuts off what the loss may reach beyond the ends, which can be many times the loss between them."""
    inside = points.loc[points["alpha"].between(0, 1), "loss"]
    axes.set_ylim(0, 1.25 * max(inside.max(), 1e-3))


def disagreement_figure(groups: pd.DataFrame, members: pd.DataFrame, notes: Sequence[str]) -> Drawing:
    """Draws the mean disagreement within and between lines as a matrix, and single and ensemble accuracy beside it.

    Args:
        groups: columns ``line other mean std pairs``.
        members: columns ``line networks accuracy accuracy_std ensemble``.
        notes: for the caption.
    """
    names, count = list(members["line"]), len(members)
    high = max(1.6, 0.32 * count + 0.9)
    grid = Grid.create(1, 2, panel=(max(3.4, 0.5 * count + 2.2), high))
    matrix, bars = grid.axes[0]
    both = pd.concat([groups, groups.rename(columns={"line": "other", "other": "line"})])
    values = (
        100 * both.pivot_table(index="line", columns="other", values="mean").reindex(names, columns=names).to_numpy()
    )
    draw_matrix(matrix, values, [label(name) for name in names], digits=1)
    matrix.set_title("predictions that differ (%)")
    palette = colors(names)
    for row, member in enumerate(members.itertuples()):
        std = 0 if pd.isna(member.accuracy_std) else 100 * member.accuracy_std
        color = palette[member.line]
        bars.errorbar(100 * member.accuracy, row, xerr=std, color=color, marker="o", capsize=1.5, elinewidth=0.7)
        bars.plot(100 * member.ensemble, row, color=color, marker="D", markersize=5, markerfacecolor="none")
    bars.set_yticks(range(count), [])
    bars.set_ylim(count - 0.5, -0.5)
    bars.set_xlabel("test accuracy (%)")
    bars.set_title("members (●) and ensemble (◇)")
    pairs = f"Mean over {groups['pairs'].min()} to {groups['pairs'].max()} pairs of networks."
    return Drawing(grid.figure, [pairs, *as_sentences(notes)])


def plane_figure(plane: pd.DataFrame, kept: float, notes: Sequence[str]) -> Drawing:
    """Draws the plane of classical multidimensional scaling, a point for each network.

    Args:
        plane: columns ``network line x y``.
        kept: share of the squared distances that the plane keeps.
        notes: for the caption.
    """
    grid = Grid.create(1, 1, panel=(4.6, 3.6))
    axes = grid.axes[0, 0]
    palette = colors(plane["line"])
    for point in plane.itertuples():
        style = line_style(point.line, palette[point.line]) | {"linestyle": "", "markersize": 5}
        axes.plot(point.x, point.y, **(style | {"marker": style["marker"] or "o"}))
        if len(plane) <= _LABELLED:
            axes.annotate(_short(point.network), (point.x, point.y), **_BESIDE)
    axes.set_aspect("equal", adjustable="datalim")
    axes.margins(0.12)
    axes.set_xlabel("first axis")
    axes.set_ylabel("second axis")
    grid.add_to_legend(palette)
    about = f"Classical multidimensional scaling; the plane keeps {100 * kept:.1f} % of the squared distances."
    return grid.finish([about, *as_sentences(notes)])


def spectrum_figure(eigenvalues: pd.DataFrame, lines: dict[str, str], notes: Sequence[str]) -> Drawing:
    """Draws how many eigenvalues lie where, a line for each network, on a symmetric logarithmic axis.

    The axis is linear within ± 1/1000 of the largest magnitude.

    Args:
        eigenvalues: columns ``network eigenvalue``.
        lines: what each network's line is called, by the network's name.
        notes: for the caption.
    """
    grid = Grid.create(1, 1, panel=(4.6, 2.8))
    axes = grid.axes[0, 0]
    palette = colors(lines.values())
    threshold = max(eigenvalues["eigenvalue"].abs().max(), 1e-12) / 1000
    edges = np.concatenate([-np.geomspace(1000, 1, 37), np.geomspace(1, 1000, 37)]) * threshold * 1.001
    for network, found in eigenvalues.groupby("network", sort=False)["eigenvalue"]:
        counts, _ = np.histogram(found, edges)
        axes.stairs(counts, edges, color=palette[lines[network]], linewidth=1)
    axes.set_xscale("symlog", linthresh=threshold)
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.5)
    axes.set_xlabel("eigenvalue of the Hessian")
    axes.set_ylabel("number")
    grid.add_to_legend(palette)
    return grid.finish(as_sentences(notes), markers=False)


def _short(name: str) -> str:
    """Returns the first digits of a run id, with its point."""
    run_id, at, point = name.partition("@")
    return run_id[:6] + at + point
