"""Figures of where runs start and end: loss on the lines to the pruned network, and the plane of all weights."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ..figures.canvas import Drawing, Grid, as_sentences
from ..models.measured import distances_between, interpolated
from ..models.pairs import distance_matrix, scale
from ..models.states import NetworkState
from ..style import paper_method_style, setup_title
from .study import Study

METHODS = ("Lottery", "Scratch")
"""The methods whose starts and ends the paper compares with the pruned network."""

_OPTIONS = {"mask": "start", "batch_norm": "keep", "split": "train"}


def interpolation(study: Study) -> Drawing | None:
    """Draws the training loss on lines to the pruned network, from start and end of a Lottery and a Scratch run.

    The runs are those of the lowest seed. Both ends of a line have the masks of its start. None without such runs.
    """
    starts = [
        state
        for method in METHODS
        for run_ids in [study.children(method)["run_id"].tolist()[:1]]
        for point, name in (("0", "start"), ("last", "end"))
        for state in study.networks(run_ids, f"{method} {name}", point)
    ]
    if not starts:
        return None
    (end,) = study.networks([study.pruned()], "Pruned solution")
    points = interpolated(study.results, starts, end, _OPTIONS, study.given)["points"]
    grid = Grid.create(1, 1, panel=(4.6, 3.0))
    axes = grid.axes[0, 0]
    highest = points.loc[points["alpha"].between(0, 1), "loss"].max()
    for state in starts:
        curve = points[points["start"] == state.name]
        style = _style(state)
        axes.plot(curve["alpha"], curve["loss"], markevery=4, label=state.group, **style)
        if study.reference:
            known = study.published.interpolation.get(state.group, {})
            axes.plot([*known], [*known.values()], color=style["color"], linestyle=":", marker=".", alpha=0.8)
            highest = max([highest, *known.values()])
    axes.set_ylim(-0.03 * highest, 1.1 * highest)
    for value in (0, 1):
        axes.axvline(value, color="0.6", linewidth=0.6, zorder=0)
    axes.set_xlabel("α (0: start or end of the run, 1: pruned network)")
    axes.set_ylabel("training loss")
    axes.set_title(setup_title(study.setup))
    axes.figure.legend(loc="outside upper center", ncols=2, frameon=False)
    about = "Each line has the masks of its start (α = 0)."
    return Drawing(grid.figure, [about, *_reference(study), *as_sentences(study.notes)])


def plane(study: Study) -> Drawing | None:
    """Draws starts (hollow) and ends (filled) of Lottery and Scratch runs, and the pruned network, in a plane (MDS).

    Lottery runs have one start. None without such runs.
    """
    children = {method: study.children(method)["run_id"].tolist() for method in METHODS}
    if not any(children.values()):
        return None
    states = [
        *study.networks([study.pruned()], "Prune end"),
        *study.networks(children["Lottery"][:1], "Lottery start", "0"),
        *study.networks(children["Lottery"], "Lottery end"),
        *study.networks(children["Scratch"], "Scratch start", "0"),
        *study.networks(children["Scratch"], "Scratch end"),
    ]
    pairs = distances_between(study.results, states, study.given)
    places, kept = scale(distance_matrix(pairs, [state.name for state in states], "l2"))
    points = pd.DataFrame({"network": [state.name for state in states], "line": [state.group for state in states],
                           "x": places[:, 0], "y": places[:, 1]})  # fmt: skip
    study.results.write_csv(f"figures/mds_{study.setup.replace('/', '_')}.csv", points)
    grid = Grid.create(1, 1, panel=(4.6, 3.6))
    axes = grid.axes[0, 0]
    by_line = {state.group: state for state in states}
    for line, here in points.groupby("line", sort=False):
        axes.plot(here["x"], here["y"], label=line, **(_style(by_line[line]) | {"linestyle": "", "markersize": 6}))
    axes.set_aspect("equal", adjustable="datalim")
    axes.margins(0.12)
    axes.set_xlabel("first axis")
    axes.set_ylabel("second axis")
    axes.set_title(setup_title(study.setup))
    axes.figure.legend(loc="outside upper center", ncols=3, frameon=False)
    about = f"Classical multidimensional scaling of L2 distances; the plane keeps {100 * kept:.1f} % of their squares."
    return Drawing(grid.figure, [about, *as_sentences(study.notes)])


def _style(state: NetworkState) -> dict[str, Any]:
    method, _, end = state.group.rpartition(" ")
    style = paper_method_style(method)
    return style | ({"markerfacecolor": "none", "linestyle": "--"} if end == "start" else {"linestyle": "-"})


def _reference(study: Study) -> list[str]:
    if not study.reference:
        return []
    known = study.published.interpolation
    return ["Dotted: as published (Evci et al., 2022)." if known else "The paper has no curves of this setup."]
