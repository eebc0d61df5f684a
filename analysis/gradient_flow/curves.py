"""Figures of measurements over training steps: the gradient norm, and its change at topology updates."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from ..figures.canvas import Drawing, Grid, as_sentences, seeds_note
from ..probe_files import probe_frame
from ..style import paper_method_order, paper_method_style, setup_title
from .published import Curves
from .study import Study

NORM_METHODS = ("Lottery", "RigL+", "Scratch", "Scratch+", "Small Dense")
"""The lines of the paper's figure of the gradient norm."""

UPDATE_METHODS = ("RigL", "RigL+", "SET", "SET+", "RigL Inverted", "RigL Inverted+")
"""The methods whose topology updates the paper compares, with either initialisation."""


def gradient_norm(study: Study) -> Drawing | None:
    """Draws the norm of the gradient of the active weights against the step; None without such runs."""
    return _over_steps(study, "gradient_flow", "masked", NORM_METHODS, "gradient norm", study.published.gradient_norm)


def update_effect(study: Study) -> Drawing | None:
    """Draws the change of that norm at topology updates against the step; None without such runs."""
    title = "change of gradient norm at the update"
    drawing = _over_steps(study, "update_effect", "change", UPDATE_METHODS, title, study.published.update_effect)
    if drawing:
        drawing.figure.axes[0].axhline(0, color="0.6", linewidth=0.6, zorder=0)
    return drawing


def add_reference(axes: Axes, curves: Curves, methods: list[str]) -> list[str]:
    """Draws the paper's curves of some methods dashed; returns a sentence for the caption.

    Args:
        axes: the panel.
        curves: of the paper.
        methods: to draw.
    """
    there = [method for method in methods if method in curves]
    for method in there:
        points = curves[method]
        style = paper_method_style(method) | {"marker": ""}
        axes.plot([*points], [*points.values()], linestyle="--", linewidth=1, alpha=0.8, **style)
    return ["Dashed: as published (Evci et al., 2022)." if there else "The paper has no curves of this setup."]


def _over_steps(
    study: Study, probe: str, value: str, methods: tuple[str, ...], title: str, curves: Curves
) -> Drawing | None:
    runs = study.finished[study.finished["paper_method"].isin(methods)]
    if runs.empty:
        return None
    measured = probe_frame(probe, {run.run_id: Path(run.path) for run in runs.itertuples()})
    measured = measured[measured["layer"] == ""].merge(runs[["run_id", "paper_method"]], on="run_id")
    measured = measured.assign(value=pd.to_numeric(measured[value], errors="coerce")).dropna(subset=["value"])
    if measured.empty:
        return None
    grid = Grid.create(1, 1, panel=(4.6, 3.0))
    axes = grid.axes[0, 0]
    drawn = paper_method_order(measured["paper_method"])
    for method in drawn:
        _draw_band(axes, measured[measured["paper_method"] == method], method)
    axes.set_xscale("log")
    axes.set_xlabel("step (log scale)")
    axes.set_ylabel(title)
    axes.set_title(setup_title(study.setup))
    reference = add_reference(axes, curves, drawn) if study.reference else []
    axes.figure.legend(loc="outside upper center", ncols=3, frameon=False)
    counts = measured.groupby("paper_method")["run_id"].nunique()
    return Drawing(grid.figure, [seeds_note(counts), *reference, *as_sentences(study.notes)])


def _draw_band(axes: Axes, measured: pd.DataFrame, method: str) -> None:
    by_step = measured.groupby("step")["value"]
    mean, std = by_step.mean(), by_step.std(ddof=1).fillna(0)
    style = paper_method_style(method)
    axes.plot(mean.index, mean, label=method, markevery=max(1, len(mean) // 12), **style)
    axes.fill_between(mean.index, mean - std, mean + std, color=style["color"], alpha=0.2, linewidth=0)
