"""The figures of the paper, by number: each is a function from data frames to matplotlib figures.

To add one, write a function ``FigureData -> list[Drawing]`` in a file of this folder and list it in :data:`FIGURES`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

import matplotlib

from analysis.compare import select_comparable
from analysis.figures.accuracy import figure_1, figure_10, figure_22
from analysis.figures.canvas import STYLE, Drawing, FigureData
from analysis.figures.critical_distance import figure_3
from analysis.figures.curves import LEARNING_CURVES, all_learning_curves, figure_2, figure_4, learning_curves
from analysis.figures.jaccard import (
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
from analysis.figures.periods import figure_5, figure_11
from analysis.frames import runs_with_results
from dst.errors import UserError, unknown
from dst.files.atomic import atomic_file

if TYPE_CHECKING:
    from analysis.collect import Collection
    from analysis.results_folder import ResultsFolder


@dataclass(frozen=True)
class PaperFigure:
    """A figure of the catalogue.

    Attributes:
        name: the value of ``fig=…``.
        about: its content, for ``fig=help``.
        needs: the runs it needs, for the message if there are none.
        draw: draws it; returns an empty list without such runs.
    """

    name: str
    about: str
    needs: str
    draw: Callable[[FigureData], list[Drawing]]


_ALL = (
    PaperFigure("1", "accuracy versus density, setups side by side", "finished runs", figure_1),
    PaperFigure("2", "ImageNet: validation accuracy and training loss over time", "runs on imagenet", figure_2),
    PaperFigure("3", "critical-distance diagrams of the criteria", "two criteria in two blocks of runs", figure_3),
    PaperFigure("4", "loss gap over time, and accuracy", "dynamic runs with learning curves", figure_4),
    PaperFigure("5", "update period versus validation accuracy", "runs with two update periods or more", figure_5),
    PaperFigure("6a", "similarity of what the criteria remove at the first update", NEEDS_FIRST, figure_6a),
    PaperFigure("6b", "similarity of the masks at the end of training", NEEDS_END, figure_6b),
    PaperFigure(
        "10", "accuracy versus density, further setups", "runs of small_cnn/cifar10, resnet56/cifar100", figure_10
    ),
    PaperFigure("11", "update period versus ITOP ratio", "runs with two update periods or more", figure_11),
    PaperFigure("17", "Figure 6a by prune fraction and density", NEEDS_FIRST, figure_17),
    PaperFigure("18", "similarity of what the criteria remove, over training", NEEDS_END, figure_18),
    PaperFigure("19", "shares of weights that all criteria keep or remove", NEEDS_END, figure_19),
    PaperFigure("20", "standard deviation of Figure 6a", NEEDS_FIRST, figure_20),
    PaperFigure("21", "standard deviation of Figure 6b", NEEDS_END, figure_21),
    PaperFigure("22", "accuracy versus density, all setups", "finished runs", figure_22),
    *(
        PaperFigure(number, f"learning curves of {setup}", f"runs of {setup}", learning_curves(setup))
        for number, setup in LEARNING_CURVES.items()
    ),
    PaperFigure("curves", "learning curves of every setup there is", "finished runs", all_learning_curves),
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


def draw(figure: PaperFigure, collection: Collection, metric: str) -> DrawnFigure:
    """Draws a figure into ``<results>/figures`` as PDF and PNG.

    Args:
        figure: one of :data:`FIGURES`.
        collection: the runs; if the figure needs others, the printed line says which.
        metric: one of :data:`analysis.table.METRICS`.
    """
    data = FigureData(collection.runs, collection.missing, lambda: collection.epochs, metric)
    lines: list[str] = []
    paths: list[Path] = []
    with matplotlib.rc_context(STYLE):
        drawings = figure.draw(data)
        for drawing in drawings:
            name = f"figure_{figure.name}{drawing.suffix}"
            written = save(drawing, name, collection.results)
            lines.append(f"figure {figure.name}: {', '.join(map(str, written))}")
            paths += written
    return DrawnFigure(
        lines or [f"figure {figure.name}: nothing to draw, it needs {figure.needs}{_left_out(collection)}"], paths
    )


def _left_out(collection: Collection) -> str:
    left_out = len(runs_with_results(collection.runs)) - select_comparable(collection.runs).runs["run_id"].nunique()
    return f" ({left_out} runs are left out; python -m analysis table says why)" if left_out else ""


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
