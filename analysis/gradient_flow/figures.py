"""The paper's figures by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import matplotlib

from dst.errors import UserError, unknown

from ..figures import save
from ..figures.canvas import STYLE, Drawing
from .curves import NORM_METHODS, gradient_norm, update_effect
from .solutions import METHODS, interpolation, plane
from .study import Study


@dataclass(frozen=True)
class GradientFlowFigure:
    """A figure of the paper.

    Attributes:
        name: the value of ``fig=…``.
        about: its content, for ``fig=help``.
        methods: those that the paper shows, as alternatives where either initialisation does.
        draw: draws a setup; returns None if no run is of these methods.
    """

    name: str
    about: str
    methods: tuple[tuple[str, ...], ...]
    draw: Callable[[Study], Drawing | None]

    def missing(self, study: Study) -> list[str]:
        """Returns the methods, or alternatives, of which no run has finished."""
        there = set(study.finished["paper_method"])
        return [" or ".join(names) for names in self.methods if not there.intersection(names)]


_PRUNED = tuple((name,) for name in ("Prune", *METHODS))
_UPDATED = tuple((name, f"{name}+") for name in ("RigL", "SET", "RigL Inverted"))
_ALL = (
    GradientFlowFigure(
        "gradient_norm", "gradient norm versus step", tuple((name,) for name in NORM_METHODS), gradient_norm
    ),
    GradientFlowFigure("update_effect", "change of the gradient norm at topology updates", _UPDATED, update_effect),
    GradientFlowFigure("interpolation", "training loss on the line to the pruned network", _PRUNED, interpolation),
    GradientFlowFigure(
        "mds", "plane of starts and ends of Lottery and Scratch, and the pruned network", _PRUNED, plane
    ),
)
FIGURES = {figure.name: figure for figure in _ALL}
"""Every figure by the value of ``fig=…``."""


def select_figures(text: str) -> list[GradientFlowFigure]:
    """Parses ``fig=…``: figure names separated by commas, or ``all``."""
    names = list(FIGURES) if text == "all" else text.split(",")
    for name in names:
        if name not in FIGURES:
            raise UserError(f"fig={name}: {unknown(name, ['all', 'help', *FIGURES])}")
    return [FIGURES[name] for name in names]


def draw(figure: GradientFlowFigure, studies: Iterable[Study]) -> list[str]:
    """Draws a figure of each setup into ``<results>/figures`` as PDF and PNG; returns the lines to print.

    Args:
        figure: one of :data:`FIGURES`.
        studies: a setup each.
    """
    return [line for study in studies for line in _draw(figure, study)]


def _draw(figure: GradientFlowFigure, study: Study) -> list[str]:
    about = f"figure {figure.name} of {study.setup}"
    missing = figure.missing(study)
    lacks = f"no finished runs of {', '.join(missing)}" if missing else ""
    with matplotlib.rc_context(STYLE):
        try:
            drawing = figure.draw(study)
        except UserError as error:
            return [f"{about}: nothing to draw: {error}"]
        if drawing is None:
            return [f"{about}: nothing to draw: {lacks or 'no measurements'}"]
        paths = save(drawing, f"{figure.name}_{study.setup.replace('/', '_')}", study.results)
    return [f"{about}: {', '.join(map(str, paths))}", *([f"{about}: incomplete: {lacks}"] if lacks else [])]
