"""The figures of the paper, by number: each is a function from data frames to matplotlib figures.

To add one, write a function ``FigureData -> list[Drawing]`` in a file of this folder and list it in :data:`FIGURES`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

import matplotlib
import pandas as pd

from dst.commands import ANALYSIS
from dst.errors import UserError, unknown
from dst.files.atomic import atomic_file

from ..compare import select_comparable
from ..frames import runs_with_results
from .accuracy import figure_1, figure_10, figure_22
from .appendix import figure_7, figure_8, figure_12, figure_13, figure_14, figure_15, figure_16
from .canvas import STYLE, Drawing, FigureData
from .critical_distance import figure_3
from .curves import LEARNING_CURVES, all_learning_curves, figure_2, learning_curves
from .jaccard import (
    NEEDS_END,
    NEEDS_FIRST,
    figure_6a,
    figure_6b,
    figure_17,
    figure_18,
    figure_19,
    figure_20,
    figure_21,
)
from .loss_gap import figure_4
from .periods import figure_5, figure_11
from .settings import at_main_settings

if TYPE_CHECKING:
    from ..collect import Collection
    from ..results_folder import ResultsFolder


@dataclass(frozen=True)
class PaperFigure:
    """A figure of the catalogue.

    Attributes:
        name: the value of ``fig=…``.
        about: its content, for ``fig=help``.
        needs: the runs it needs, for the message if there are none.
        draw: draws it; returns an empty list without such runs.
        varied: what it shows several values of, see :func:`analysis.figures.settings.at_main_settings`; None: it shows
            runs of all settings.
    """

    name: str
    about: str
    needs: str
    draw: Callable[[FigureData], list[Drawing]]
    varied: tuple[str, ...] | None = None


_TWO_PERIODS = "runs with two update periods or more"
_MAIN: tuple[str, ...] = ()
"""Nothing varies that the paper's main figures do not show."""

_ALL = (
    PaperFigure("1", "accuracy versus density, setups side by side", "finished runs", figure_1, _MAIN),
    PaperFigure("2", "ImageNet: validation accuracy and training loss over time", "runs on imagenet", figure_2, _MAIN),
    PaperFigure(
        "3", "critical-distance diagrams of the criteria", "two criteria in two blocks of runs", figure_3, _MAIN
    ),
    PaperFigure("4", "loss gap over time, and accuracy", "dynamic runs with learning curves", figure_4, _MAIN),
    PaperFigure("5", "update period versus validation accuracy", _TWO_PERIODS, figure_5, _MAIN),
    PaperFigure("6a", "similarity of what the criteria remove at the first update", NEEDS_FIRST, figure_6a),
    PaperFigure("6b", "similarity of the masks at the end of training", NEEDS_END, figure_6b),
    PaperFigure(
        "7",
        "accuracy versus density for values of MEST's λ",
        "MEST runs with two values of criterion.lam or more",
        figure_7,
        ("criterion_lam",),
    ),
    PaperFigure(
        "8", "sensitivity and its reciprocal", "runs of sensitivity and rsensitivity", figure_8, ("criterion",)
    ),
    PaperFigure(
        "10",
        "accuracy versus density, further setups",
        "runs of small_cnn/cifar10, resnet56/cifar100",
        figure_10,
        _MAIN,
    ),
    PaperFigure("11", "update period versus ITOP ratio", _TWO_PERIODS, figure_11, _MAIN),
    PaperFigure(
        "12",
        "accuracy versus density for batch sizes",
        "runs with two values of recipe.batch_size or more",
        figure_12,
        ("recipe_batch_size",),
    ),
    PaperFigure(
        "13",
        "accuracy versus density for batch sizes of updates",
        "runs with sparsity.update_batch_size and without",
        figure_13,
        ("sparsity_update_batch_size",),
    ),
    PaperFigure(
        "14",
        "from scratch and fine-tuned",
        "runs with model.weights=imagenet and without",
        figure_14,
        ("model_weights",),
    ),
    PaperFigure(
        "15",
        "global versus local pruning",
        "runs with sparsity.scope=global and local",
        figure_15,
        ("sparsity_scope",),
    ),
    PaperFigure(
        "16",
        "update period for schedules of ρ and batch sizes",
        f"{_TWO_PERIODS}, and two of prune_fraction or recipe.batch_size",
        figure_16,
        ("prune_fraction", "recipe_batch_size"),
    ),
    PaperFigure("17", "Figure 6a by prune fraction and density", NEEDS_FIRST, figure_17),
    PaperFigure("18", "similarity of what the criteria remove, over training", NEEDS_END, figure_18),
    PaperFigure("19", "shares of weights that all criteria keep or remove", NEEDS_END, figure_19),
    PaperFigure("20", "standard deviation of Figure 6a", NEEDS_FIRST, figure_20),
    PaperFigure("21", "standard deviation of Figure 6b", NEEDS_END, figure_21),
    PaperFigure("22", "accuracy versus density, all setups", "finished runs", figure_22, _MAIN),
    *(
        PaperFigure(number, f"learning curves of {setup}", f"runs of {setup}", learning_curves(setup), _MAIN)
        for number, setup in LEARNING_CURVES.items()
    ),
    PaperFigure("curves", "learning curves of every setup there is", "finished runs", all_learning_curves, _MAIN),
)
FIGURES = {figure.name: figure for figure in _ALL}
"""Every figure by the value of ``fig=…``."""


@dataclass(frozen=True)
class DrawnFigure:
    """The files of a figure, and the lines to print."""

    lines: list[str]
    paths: list[Path]


def select_figures(text: str) -> list[PaperFigure]:
    """Parses ``fig=…``: figure names separated by commas, or ``all``."""
    if text == "all":
        return list(FIGURES.values())
    for name in text.split(","):
        if name not in FIGURES:
            raise UserError(f"fig={name}: {unknown(name, ['all', 'help', *FIGURES])}")
    return [FIGURES[name] for name in text.split(",")]


def draw(figure: PaperFigure, collection: Collection, metric: str, *, reference: bool = False) -> DrawnFigure:
    """Draws a figure into ``<results>/figures`` as PDF and PNG.

    Args:
        figure: one of :data:`FIGURES`.
        collection: the runs; if the figure needs others, the printed line says which.
        metric: one of :data:`analysis.table.METRICS`.
        reference: whether to draw the paper's own numbers too, where it prints them.
    """
    everything = FigureData(collection.runs, collection.missing, lambda: collection.epochs, metric, reference)
    data = everything if figure.varied is None else at_main_settings(everything, figure.varied)
    other = len(runs_with_results(everything.runs)) - len(runs_with_results(data.runs))
    note = [f"{other} runs of the paper's other experiments are not shown."] if other else []
    lines: list[str] = []
    paths: list[Path] = []
    with matplotlib.rc_context(STYLE):
        drawings = figure.draw(data)
        for drawing in drawings:
            name = f"figure_{figure.name}{drawing.suffix}"
            drawing = replace(drawing, caption=[*drawing.caption, *note])
            written = save(drawing, name, collection.results)
            lines.append(f"figure {figure.name}: {', '.join(map(str, written))}")
            paths += written
    return DrawnFigure(
        lines or [f"figure {figure.name}: nothing to draw, it needs {figure.needs}{_left_out(data.runs)}"], paths
    )


def _left_out(runs: pd.DataFrame) -> str:
    left_out = len(runs_with_results(runs)) - select_comparable(runs).runs["run_id"].nunique()
    return f" ({left_out} runs are left out; {ANALYSIS} table says why)" if left_out else ""


def save(drawing: Drawing, name: str, results: ResultsFolder) -> list[Path]:
    """Writes a figure with its caption as PDF and PNG and returns their paths.

    Args:
        drawing: made within matplotlib's ``rc_context(STYLE)``.
        name: of the files, without suffix.
        results: whose folder ``figures`` they go to.
    """
    paths = [results.path(f"figures/{name}.{suffix}") for suffix in ("pdf", "png")]
    width = drawing.figure.get_size_inches()[0]
    if drawing.caption:
        text = "\n".join(fill(sentence, int(width * 19)) for sentence in drawing.caption)
        drawing.figure.supxlabel(text, fontsize=6.5, color="0.35", x=0.01, ha="left")
    for path in paths:
        with atomic_file(path) as file:
            drawing.figure.savefig(
                file, format=path.suffix[1:], metadata={"CreationDate": None} if path.suffix == ".pdf" else None
            )
    return paths
