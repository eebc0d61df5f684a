"""Barriers between the ends of consecutive cycles, and the largest eigenvalue of the Hessian at each of them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dst.errors import UserError

from ..figures.canvas import Drawing, Grid, as_sentences
from ..models.hessian import Settings
from ..models.measured import between_phases, spectra_of
from ..models.states import NetworkState, phase_ends
from ..style import setup_title
from .accuracy import Selection
from .panels import add_legend, line_styles
from .study import Study

_OPTIONS = {"mask": "none", "batch_norm": "keep", "split": "train"}
_HESSIAN = Settings(sample=256, method="lanczos", mode="eval")
_MOST_PANELS = 3


def draw_connectivity(study: Study, selection: Selection, *, curvature: bool) -> Drawing | None:
    """Draws the barrier of the training loss between consecutive ends against the epoch of the later one.

    Of each line and density the run with the lowest seed is shown. A run of one phase counts with its snapshots.

    Args:
        study: of the runs.
        selection: of families.
        curvature: a second row has the largest eigenvalue of the Hessian at each end.

    Raises:
        UserError: if no run kept the weights of its phases' ends.
    """
    chosen = selection.of(study)
    if chosen.empty:
        return None
    runs = chosen[chosen["final"]].sort_values("seed").drop_duplicates(["line", "density"])
    ends = _kept_ends(runs)
    shown = runs[runs["run_id"].isin(state.run_id for state in ends)]
    densities = sorted(shown["density"].value_counts().index[:_MOST_PANELS], reverse=True)
    states = [state for state in ends if (shown.set_index("run_id")["density"][state.run_id] in densities)]
    measured = measure_ends(study, states, curvature=curvature)
    values = {"barrier": "barrier of training loss"} | ({"largest": "largest eigenvalue"} if curvature else {})
    measured = measured.merge(shown[["run_id", "line", "density", "epoch", "step"]], on="run_id")
    at = pd.to_numeric(measured["point"], errors="coerce").fillna(measured["step"])
    measured = measured.assign(x=at / measured["step"] * measured["epoch"])
    styles = line_styles(study.points["line"])
    panel = (6.4 if len(densities) == 1 else 3.4, 2.4)
    grid = Grid.create(len(values), len(densities), panel=panel, sharex=True, sharey="row")
    for row, (value, title) in enumerate(values.items()):
        for column, density in enumerate(densities):
            for line, here in measured[measured["density"] == density].groupby("line", sort=False):
                here = here.dropna(subset=[value])
                grid.axes[row, column].plot(here["x"], here[value], **styles[str(line)])
        grid.axes[row, 0].set_ylabel(title)
        top = max(1.1 * measured[value].max(), 1e-3)  # barriers may be 0 but for rounding
        grid.axes[row, 0].set_ylim(-0.04 * top, top)
    for column, density in enumerate(densities):
        grid.axes[0, column].set_title(f"{100 * (1 - density):.3g} % sparse")
        grid.axes[-1, column].set_xlabel("epoch of the (later) end")
    add_legend(grid.figure, styles, measured["line"], setup_title(study.setup))
    study.results.write_csv(f"figures/cyclic_ends_{study.file}.csv", measured)
    caption = ["The run of the lowest seed of each line.", *as_sentences(study.notes)]
    if curvature:
        caption.append(f"Hessian of the loss on the first {_HESSIAN.sample} training samples, in evaluation mode.")
    return Drawing(grid.figure, caption)


def measure_ends(study: Study, ends: list[NetworkState], *, curvature: bool) -> pd.DataFrame:
    """Returns a row for each end of a phase, with columns ``run_id point barrier`` and, if asked for, ``largest``.

    Args:
        study: whose results folder has the cache.
        ends: networks of runs, those of a run in order.
        curvature: whether to compute the largest eigenvalue of the Hessian.
    """
    found = between_phases(study.results, ends, _OPTIONS, study.given)["barriers"]
    barriers = dict(zip(found["end"], found["barrier"], strict=True))
    rows = pd.DataFrame({"run_id": end.run_id, "point": end.point, "network": end.name} for end in ends)
    rows = rows.assign(barrier=rows["network"].map(barriers))
    if not curvature:
        return rows
    networks = spectra_of(study.results, ends, _HESSIAN, study.given)["networks"]
    return rows.assign(largest=rows["network"].map(networks.set_index("network")["largest"]))


def _kept_ends(runs: pd.DataFrame) -> list[NetworkState]:
    ends, last = [], None
    for run in runs.itertuples():
        try:
            ends += phase_ends(NetworkState(run.run_id, Path(run.path), "last", run.line))
        except UserError as error:
            last = error
    if not ends and last:
        raise last
    return ends
