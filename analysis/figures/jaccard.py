"""Figures 6 and 17 to 21: how similar what the criteria remove is, and how similar the masks they end with are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

import numpy as np
from matplotlib.axes import Axes

from ..published import published
from ..similarity.matrices import (
    Matrix,
    end_matrices,
    end_notes,
    first_update_matrices,
    over_training,
    seeds_text,
    shared_shares,
)
from ..style import colors, label, legend_order
from .canvas import Drawing, FigureData, Grid, as_sentences, draw_matrix, line_style

NEEDS_FIRST = "dynamic runs with probes=jaccard that measured their first topology update (probes.jaccard.every=first)"
NEEDS_END = "dynamic runs with probes=jaccard that were trained to their end"


def figure_6a(data: FigureData) -> list[Drawing]:
    """Mean index of the sets removed at the first update, at the largest prune fraction and density below 1."""
    about = "Jaccard index between the weights removed at the first topology update"
    return _row_of_matrices(_main(data), "mean", about, "J_r")


def figure_20(data: FigureData) -> list[Drawing]:
    """Standard deviation of Figure 6a."""
    return _row_of_matrices(
        _main(data), "std", "Standard deviation over seeds, averaged over layers, of Figure 6a", "J_r"
    )


def figure_6b(data: FigureData) -> list[Drawing]:
    """Mean index of the masks at the end of training."""
    about = "Jaccard index between the masks at the end of training"
    return _row_of_matrices(end_matrices(data.runs), "mean", about, "J_init")


def figure_21(data: FigureData) -> list[Drawing]:
    """Standard deviation of Figure 6b."""
    about = "Standard deviation over seeds, of the means over layers, of Figure 6b"
    return _row_of_matrices(end_matrices(data.runs), "std", about, "J_init")


def figure_17(data: FigureData) -> list[Drawing]:
    """Mean index at the first update, a figure for each setup: rows are prune fractions, columns densities."""
    matrices, notes = first_update_matrices(data.runs)
    drawings = []
    for setup, of_setup in groupby(sorted(matrices, key=_order), key=_setup):
        chosen = list(of_setup)
        fractions = sorted({matrix.prune_fraction for matrix in chosen}, reverse=True)
        densities = sorted({matrix.density for matrix in chosen})
        panels = {(matrix.density, matrix.prune_fraction): matrix for matrix in chosen}
        grid = Grid.create(len(fractions), len(densities), panel=(3.0, 2.3))
        for axes, key in zip(grid.axes.flat, [(d, f) for f in fractions for d in densities], strict=True):
            if key in panels:
                _draw(axes, panels[key], "mean", "J_r")
            else:
                axes.set_axis_off()
        about = f"{setup}: Jaccard index between the weights removed at the first topology update."
        suffix = "_" + "_".join(setup.replace("/", " ").split())
        drawings.append(grid.finish([about, *_explained(chosen, "mean", "J_r"), *as_sentences(notes)], suffix))
    return drawings


def figure_18(data: FigureData) -> list[Drawing]:
    """Index of what the run's criterion removes with what each other one would, over training."""
    found = over_training(data.runs)
    if found.empty:
        return []
    panels = list(found.groupby(["setup", "density"], sort=False))
    own = legend_order(found["criterion"])
    grid = Grid.create(len(panels), len(own), sharex="row", sharey=True)
    palette = colors(found["other"])
    for row, ((setup, density), here) in enumerate(panels):
        for axes, criterion in zip(grid.axes[row], own, strict=True):
            for other, line in here[here["criterion"] == criterion].groupby("other"):
                style = line_style(str(other), palette[str(other)])
                axes.errorbar(line["step"], line["mean"], line["std"].fillna(0), elinewidth=0.6, **style)
            axes.set_title(f"{label(criterion)} prunes")
            axes.set_ylim(0, 1)
            axes.set_xlabel("step")
        grid.axes[row, 0].set_ylabel(f"{_short(str(setup))}\ndensity {density:g}\nJaccard index")
    grid.add_to_legend(palette)
    about = (
        "Jaccard index between what the run's criterion prunes and what each other one would prune in the same state."
    )
    over = f"Mean over layers, then mean and standard deviation over {seeds_text([found['seeds'].max()])}."
    return [grid.finish([about, over, *as_sentences(end_notes(data.runs))])]


def figure_19(data: FigureData) -> list[Drawing]:
    """Shares of the weights that all criteria keep, and that all remove, at the end of training."""
    found = shared_shares(data.runs)
    if found.empty:
        return []
    grid = Grid.create(1, 1, panel=(4.6, 2.6))
    axes = grid.axes[0, 0]
    panels = found.groupby(["setup", "density"], sort=False)
    setups, places = [setup for (setup, _), _ in panels], np.arange(len(panels))
    for shift, column, color, name in (
        (-0.2, "kept", "#0072b2", "kept by all, of the active weights"),
        (0.2, "removed", "#cc79a7", "inactive in all, of the inactive weights"),
    ):
        means, stds = 100 * panels[column].mean(), 100 * panels[column].std().fillna(0)
        axes.bar(places + shift, means, 0.38, yerr=stds, color=color, label=name, error_kw={"elinewidth": 0.7})
        for place, mean, std in zip(places, means, stds, strict=True):
            axes.text(place + shift, mean + std + 1, f"{mean:.0f} %", ha="center", fontsize=7)
    printed = published("retained") if data.reference else {}
    compared = [(place, printed[setup]) for place, setup in zip(places, setups, strict=True) if setup in printed]
    for place, share in compared:
        axes.plot(place - 0.2, 100 * share, "+", color="black", markersize=9)
    axes.set_xticks(places, [f"{setup}, density {density:g}" for (setup, density), _ in panels], fontsize=7)
    axes.set_xlim(-0.7, len(panels) - 0.3)
    axes.set_ylabel("share of the weights (%)")
    grid.figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=7)
    about = (
        f"Masks at the end of training of {found['criteria'].max()} criteria; mean and standard deviation over "
        f"{seeds_text([panels.size().max()])}."
    )
    shown = ["+ is what the paper's text says, of the share kept."] if compared else []
    return [Drawing(grid.figure, [about, *shown, *as_sentences(end_notes(data.runs))])]


def _main(data: FigureData) -> tuple[list[Matrix], list[str]]:
    """Returns, of each setup, the matrix at the largest density below 1, if there is one, and prune fraction."""
    matrices, notes = first_update_matrices(data.runs)
    found = [list(of_setup) for _, of_setup in groupby(sorted(matrices, key=_order), key=_setup)]
    return [max(of_setup, key=lambda m: (m.density < 1, m.density, m.prune_fraction)) for of_setup in found], notes


def _row_of_matrices(found: tuple[list[Matrix], list[str]], value: str, about: str, chance: str) -> list[Drawing]:
    matrices, notes = found
    if not matrices:
        return []
    columns = min(3, len(matrices))
    grid = Grid.create(math.ceil(len(matrices) / columns), columns, panel=(3.0, 2.6))
    for axes in grid.axes.flat[len(matrices) :]:
        axes.set_axis_off()
    highest = max((float(np.nanmax(m.std)) for m in matrices if np.isfinite(m.std).any()), default=None)
    for axes, matrix in zip(grid.axes.flat, matrices, strict=False):
        _draw(axes, matrix, value, chance, highest)
    return [grid.finish([f"{about}.", *_explained(matrices, value, chance), *as_sentences(notes)])]


def _draw(axes: Axes, matrix: Matrix, value: str, chance: str, highest: float | None = None) -> None:
    values = np.where(np.tri(len(matrix.names), dtype=bool), getattr(matrix, value), np.nan)
    names = [label(name) for name in matrix.names]
    draw_matrix(axes, values, names, digits=2 if value == "mean" else 3, highest=1.0 if value == "mean" else highest)
    title = f"{_short(_setup(matrix))}\ndensity {matrix.density:g}, ρ = {matrix.prune_fraction:g}"
    known = value == "mean" and not np.isnan(matrix.chance)
    axes.set_title(title + (f", {chance} = {matrix.chance:.3f}" if known else ""))


def _explained(matrices: Sequence[Matrix], value: str, chance: str) -> list[str]:
    over = seeds_text([matrix.seeds for matrix in matrices])
    if value == "std":
        return [f"Over {over}. All panels have one color scale."]
    about = f"Mean over layers and {over}."
    if all(np.isnan(matrix.chance) for matrix in matrices):
        return [about]
    if chance == "J_init":
        return [about, "J_init: mean index of the initial masks of different seeds."]
    return [
        about,
        "J_r: mean index of what random pruning removes in runs of different seeds, whose masks differ too; the row of "
        "random pruning is within one mask, where chance is higher.",
    ]


def _setup(matrix: Matrix) -> str:
    """Returns the setup without the prune fraction that was appended to it."""
    kept = [part for part in matrix.setup.split(", ") if not part.startswith("prune_fraction.initial=")]
    return ", ".join(kept)


def _order(matrix: Matrix) -> tuple[str, float, float]:
    return _setup(matrix), matrix.density, -matrix.prune_fraction


def _short(setup: str) -> str:
    return setup.replace("/", " on ")
