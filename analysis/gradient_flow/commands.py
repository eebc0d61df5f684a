"""``python -m analysis figures|table paper=gradient_flow``: the lines to print."""

from __future__ import annotations

from ..collect import Collection
from ..table import LAYOUTS, SUFFIXES
from .figures import GradientFlowFigure, draw
from .study import studies
from .tables import TABLES, format_comparison, make_tables


def figure_lines(collection: Collection, figures: list[GradientFlowFigure], own: dict[str, str]) -> list[str]:
    """Draws figures and returns what to print.

    Args:
        collection: of the runs.
        figures: to draw.
        own: ``device``, ``data_dir`` and ``reference``, each if given.
    """
    found = studies(collection, own, reference=own.get("reference") == "true")
    return [line for figure in figures for line in draw(figure, found)]


def table_lines(collection: Collection, table: str, layout: str, metric: str, own: dict[str, str]) -> list[str]:
    """Writes tables in all layouts and returns what to print.

    Args:
        collection: of the runs.
        table: one of :data:`analysis.gradient_flow.tables.TABLES`, or ``all``.
        layout: to print, one of :data:`analysis.table.LAYOUTS`.
        metric: one of :data:`analysis.table.METRICS`.
        own: ``device`` and ``data_dir``, each if given.
    """
    found = studies(collection, own)
    lines = []
    for name in TABLES if table == "all" else [table]:
        frame, notes = make_tables(name, found, metric)
        if len(frame):
            for each in LAYOUTS:
                text = format_comparison(frame, each).rstrip() + "\n"
                collection.results.write_text(f"gradient_flow_{name}.{SUFFIXES[each]}", text)
            lines += [format_comparison(frame, layout).rstrip(), ""]
        lines += notes
    return lines
