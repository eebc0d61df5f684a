"""The figures of this paper by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import matplotlib

from dst.errors import UserError, unknown

from ..figures import save
from ..figures.canvas import STYLE, Drawing
from .accuracy import Selection, draw_accuracy
from .connectivity import draw_connectivity
from .cost import draw_cost
from .study import Study


@dataclass(frozen=True)
class CyclicFigure:
    """A figure of the paper.

    Attributes:
        name: the value of ``fig=…``.
        about: its content, for ``fig=help``.
        needs: the runs it needs, for the message if there are none.
        draw: draws a setup; returns None without such runs.
    """

    name: str
    about: str
    needs: str
    draw: Callable[[Study], Drawing | None]


_DENSE, _ITERATIVE = "dense", "(LRR|WR)(?!.* mask, )"
_RANDOM = "(static|cyclic) (balanced|erk?|uniform)"
_AT_INIT = "(cyclic )?(SNIP|SynFlow|GraSP|magnitude one-shot)(?!.* mask, )"
_PARENT = "(cyclic )?.* mask, "
_SCULPT = ("SCULPT (?!.*pruned by)", "LRR(?!.* mask, )", "cyclic (?!.* mask, )", _DENSE)


def _accuracy(name: str, about: str, families: tuple[str, ...], needs: str, **more: object) -> CyclicFigure:
    selection = Selection(families, **more)  # type: ignore[arg-type]
    return CyclicFigure(name, about, needs, partial(draw_accuracy, selection=selection))


_CYCLES, _SETTINGS = "procedure=cyclic", "procedure=sculpt"
_ALL = (
    CyclicFigure("cost", "all families: accuracy versus training FLOPs and time", "two families", draw_cost),
    _accuracy("2a", "accuracy versus sparsity: dense in cycles, LRR, WR", (_DENSE, _ITERATIVE), "procedure=lrr or wr"),
    _accuracy("2b", "accuracy versus level or cycle: the same", ("dense cyclic", _ITERATIVE), _CYCLES, x="phase"),
    _accuracy("2c", "accuracy versus epochs: random masks in cycles, or once", (_RANDOM,), _CYCLES, x="epoch"),
    _accuracy(
        "2d",
        "accuracy versus sparsity at equal epochs: the same, and dense",
        (_RANDOM, _DENSE),
        _CYCLES,
        equal_epochs=True,
    ),
    CyclicFigure(
        "3",
        "barriers between consecutive cycles, largest eigenvalue of the Hessian: random masks in cycles, or once",
        _CYCLES,
        partial(draw_connectivity, selection=Selection((_RANDOM, "dense"), x="epoch"), curvature=True),
    ),
    _accuracy(
        "4",
        "accuracy versus sparsity: masks at initialization, with and without cycles, and LRR",
        (_RANDOM, _AT_INIT, "LRR(?!.* mask, )", _DENSE),
        "update_period=never",
    ),
    _accuracy(
        "5",
        "accuracy versus sparsity: masks of a parent with weights of other origin",
        (_PARENT, _RANDOM, _ITERATIVE),
        "initial_mask=parent",
    ),
    CyclicFigure(
        "6",
        "barriers between consecutive cycles: masks of a parent in cycles, with weights of other origin",
        "initial_mask=parent procedure=cyclic",
        partial(draw_connectivity, selection=Selection(("cyclic .* mask, ",), x="epoch"), curvature=False),
    ),
    _accuracy("7", "accuracy versus sparsity: SCULPT-ing, cycles, LRR", _SCULPT, _SETTINGS),
    _accuracy(
        "8a",
        "accuracy versus sparsity: masks of a parent with its signs",
        (r".* mask, .*(signs|warm-up weights)", _ITERATIVE),
        "weight_init=parent_signs",
    ),
    _accuracy(
        "8b",
        "as 7, ResNet-50 on CIFAR-100",
        (*_SCULPT, _DENSE),
        "resnet50_cifar/cifar100",
        setups="resnet50_cifar/cifar100",
    ),
    _accuracy("8c", "as 7, ResNet-50 on ImageNet", _SCULPT, "resnet50/imagenet", setups="resnet50/imagenet"),
    _accuracy(
        "9a",
        "accuracy versus sparsity: SCULPT-ing that prunes by other criteria",
        ("SCULPT (?!.*extended)",),
        _SETTINGS,
    ),
    _accuracy(
        "9b",
        "accuracy versus sparsity with wrong labels: random masks in cycles, dense",
        (_RANDOM, _DENSE),
        "dataset.label_noise",
        setups=".*dataset.label_noise.*",
    ),
)
FIGURES = {figure.name: figure for figure in _ALL}
"""Every figure by the value of ``fig=…``."""


def select_figures(text: str) -> list[CyclicFigure]:
    """Parses ``fig=…``: figure names separated by commas, or ``all``."""
    names = list(FIGURES) if text == "all" else text.split(",")
    for name in names:
        if name not in FIGURES:
            raise UserError(f"fig={name}: {unknown(name, ['all', 'help', *FIGURES])}")
    return [FIGURES[name] for name in names]


def draw(figure: CyclicFigure, studies: Iterable[Study]) -> list[str]:
    """Draws a figure of each setup into ``<results>/figures`` as PDF and PNG; returns the lines to print.

    Args:
        figure: one of :data:`FIGURES`.
        studies: a setup each.
    """
    lines = []
    for study in studies:
        about = f"figure {figure.name} of {study.setup}"
        with matplotlib.rc_context(STYLE):
            try:
                drawing = figure.draw(study)
            except UserError as error:
                lines.append(f"{about}: nothing to draw: {error}")
                continue
            if drawing is None:
                lines.append(f"{about}: nothing to draw, it needs finished runs of {figure.needs}")
                continue
            paths = save(drawing, f"cyclic_{figure.name}_{study.file}", study.results)
        lines.append(f"{about}: {', '.join(map(str, paths))}")
    return lines
