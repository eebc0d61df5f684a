"""The commands ``table`` and ``figures``, of the three papers."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dst.errors import UserError

from .arguments import choice
from .source import Source

if TYPE_CHECKING:
    from .collect import Collection

PAPERS = ("fantastic_weights", "gradient_flow", "cyclic")
"""The papers whose tables and figures there are, the first by default."""

TABLE_KEYS = ("table", "device", "data_dir")
"""Keys of ``table`` that the first paper does not take."""

FIGURE_KEYS = ("device", "data_dir")
"""Keys of ``figures`` that the first paper does not take."""


def table(source: Source, own: dict[str, str]) -> None:
    """Prints and writes the tables of a paper.

    Args:
        source: which runs.
        own: the other keys of the command line.
    """
    from .collect import collect
    from .table import LAYOUTS, format_table

    layout, metric = choice(own, "layout", LAYOUTS), metric_of(own)
    paper = _paper(own, TABLE_KEYS)
    if paper == "cyclic":
        from .cyclic.commands import table_lines as families_lines
        from .cyclic.study import METRICS

        if wrong := [key for key in ("table", "reference") if key in own]:
            raise UserError(f"{wrong[0]}={own[wrong[0]]}: paper=cyclic has one table, without published numbers")
        print("\n".join(families_lines(collect(source), layout, choice(own, "metric", METRICS), own)))
        return
    if paper == "gradient_flow":
        from .gradient_flow.commands import table_lines
        from .gradient_flow.tables import TABLES

        if "reference" in own:
            raise UserError("reference: tables of paper=gradient_flow always show the paper's numbers; leave it out")
        which = choice(own, "table", ("all", *TABLES))
        print("\n".join(table_lines(collect(source), which, layout, metric, own)))
        return
    reference = _reference(own)
    collection = collect(source)
    paths = write_tables(collection, metric, reference=reference)
    print(format_table(collection.runs, layout, metric, reference=reference))
    print(f"written to {', '.join(map(str, paths))}", file=sys.stderr)


def figures(source: Source, own: dict[str, str]) -> None:
    """Draws figures of a paper.

    Args:
        source: which runs.
        own: the other keys of the command line.
    """
    if draw_paper := _FIGURES_OF.get(_paper(own, FIGURE_KEYS)):
        draw_paper(source, own)
        return
    from .figures import FIGURES, draw, select_figures

    if own.get("fig") == "help":
        print("\n".join(f"fig={name:<4} {figure.about}" for name, figure in FIGURES.items()))
        return
    chosen, metric, reference = select_figures(own.get("fig", "all")), metric_of(own), _reference(own)
    from .collect import collect
    from .status import missing_lines

    collection = collect(source)
    for figure in chosen:
        outcome = draw(figure, collection, metric, reference=reference)
        print("\n".join(outcome.lines))
    if len(collection.missing):
        print("\n".join(missing_lines(collection, source)))


def _gradient_flow_figures(source: Source, own: dict[str, str]) -> None:
    from .gradient_flow.commands import figure_lines
    from .gradient_flow.figures import FIGURES, select_figures

    if own.get("fig") == "help":
        print("\n".join(f"fig={name:<14} {figure.about}" for name, figure in FIGURES.items()))
        return
    if "metric" in own:
        raise UserError("metric: the figures of paper=gradient_flow show no accuracy; leave it out")
    _reference(own)
    chosen = select_figures(own.get("fig", "all"))
    from .collect import collect

    print("\n".join(figure_lines(collect(source), chosen, own)))


def _cyclic_figures(source: Source, own: dict[str, str]) -> None:
    from .cyclic.commands import figure_lines
    from .cyclic.figures import FIGURES, select_figures
    from .cyclic.study import METRICS

    if own.get("fig") == "help":
        print("\n".join(f"fig={name:<5} {figure.about}" for name, figure in FIGURES.items()))
        return
    if "reference" in own:
        raise UserError(f"reference={own['reference']}: only with paper=gradient_flow")
    chosen, metric = select_figures(own.get("fig", "all")), choice(own, "metric", METRICS)
    from .collect import collect

    print("\n".join(figure_lines(collect(source), chosen, metric, own)))


_FIGURES_OF = {"gradient_flow": _gradient_flow_figures, "cyclic": _cyclic_figures}


def write_tables(collection: Collection, metric: str, *, reference: bool = False) -> list[Path]:
    """Writes the table in every layout; returns the files.

    Args:
        collection: of the runs.
        metric: whose means are shown.
        reference: whether the paper's own numbers stand beside.
    """
    from .table import LAYOUTS, SUFFIXES, format_table

    return [
        collection.results.write_text(
            f"table.{SUFFIXES[layout]}",
            format_table(collection.runs, layout, metric, reference=reference).rstrip() + "\n",
        )
        for layout in LAYOUTS
    ]


def metric_of(own: dict[str, str]) -> str:
    """Returns the metric of tables and figures that the command line names."""
    from .table import METRICS

    return choice(own, "metric", METRICS)


def _paper(own: dict[str, str], keys: Sequence[str]) -> str:
    """Returns the paper whose tables or figures are wanted; ``keys`` are those that the first paper does not take."""
    paper = choice(own, "paper", PAPERS)
    if paper == PAPERS[0] and (wrong := [key for key in keys if key in own]):
        raise UserError(f"{wrong[0]}={own[wrong[0]]}: only with paper=gradient_flow or paper=cyclic")
    return paper


def _reference(own: dict[str, str]) -> bool:
    return choice(own, "reference", ("false", "true")) == "true"
