"""``python -m analysis figures|table paper=cyclic``: the lines to print."""

from __future__ import annotations

import matplotlib

from ..collect import Collection
from ..figures import save
from ..figures.canvas import STYLE, Drawing, as_sentences
from ..figures.critical_distance import draw_diagrams
from ..table import LAYOUTS, SUFFIXES
from .figures import CyclicFigure, draw
from .findings import compare_costs, ranking_findings
from .panels import line_styles
from .study import Study, studies
from .tables import families_table, format_families


def figure_lines(collection: Collection, figures: list[CyclicFigure], metric: str, own: dict[str, str]) -> list[str]:
    """Draws figures and returns what to print; with ``cost`` also ranks and findings, which go into a file as well.

    Args:
        collection: of the runs.
        figures: to draw.
        metric: one of :data:`analysis.cyclic.study.METRICS`.
        own: ``device`` and ``data_dir``, each if given.
    """
    found = studies(collection, own, metric)
    lines = []
    for figure in figures:
        lines += draw(figure, found)
        if figure.name == "cost":
            lines += _compare_costs(collection, found)
    return lines


def table_lines(collection: Collection, layout: str, metric: str, own: dict[str, str]) -> list[str]:
    """Writes the table of families in all layouts and returns what to print.

    Args:
        collection: of the runs.
        layout: to print, one of :data:`analysis.table.LAYOUTS`.
        metric: one of :data:`analysis.cyclic.study.METRICS`.
        own: ``device`` and ``data_dir``, each if given.
    """
    found = studies(collection, own, metric)
    frame = families_table(found)
    for each in LAYOUTS:
        collection.results.write_text(
            f"cyclic_families.{SUFFIXES[each]}", format_families(frame, each, found).rstrip() + "\n"
        )
    return [format_families(frame, layout, found).rstrip(), *(note for study in found for note in study.notes)]


def _compare_costs(collection: Collection, found: list[Study]) -> list[str]:
    ranking, told = compare_costs(found)
    lines = []
    if ranking is not None:
        palette = {name: style["color"] for name, style in line_styles(map(str, ranking.average.index)).items()}
        with matplotlib.rc_context(STYLE):
            drawing = Drawing(
                draw_diagrams({"equal cost": ranking}, palette), as_sentences(ranking_findings(ranking, [])[1:])
            )
            paths = save(drawing, "cyclic_cost_ranks", collection.results)
        lines.append(f"figure cost, ranks: {', '.join(map(str, paths))}")
    path = collection.results.write_text("figures/cyclic_cost_findings.txt", "".join(f"{line}.\n" for line in told))
    return [*lines, *told, f"findings: {path}"]
