"""Writes a self-contained ``report.html``, which needs no network."""

from __future__ import annotations

import base64
import io
import json
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import pandas as pd
from matplotlib.figure import Figure
from plotly.offline import get_plotlyjs

from ..code import package_version_notes
from ..compare import aggregate_seeds, line_names, select_comparable, select_update_period, varying_choices
from ..cyclic.cost import draw_cost
from ..cyclic.findings import compare_costs
from ..cyclic.study import studies
from ..figures.canvas import STYLE, as_sentences
from ..figures.critical_distance import describe_ranking, draw_diagrams
from ..figures.periods import cells_with_several_periods
from ..stats import Ranking, rankings
from ..status import status_table
from ..style import colors, label, marker
from ..table import METRIC_NAMES
from .findings import findings
from .payload import CURVES, POINTS, columnar, pack_curves, table_columns, with_costs

if TYPE_CHECKING:
    from ..collect import Collection

_SYMBOLS = {
    "s": "square",
    "^": "triangle-up",
    "v": "triangle-down",
    "D": "diamond",
    "X": "x",
    "P": "cross",
    "*": "star",
    "p": "pentagon",
    "<": "triangle-left",
    ">": "triangle-right",
    "h": "hexagon",
    "d": "diamond-tall",
    "8": "octagon",
}
"""Plotly's names of matplotlib's markers."""

_SCRIPTS = (
    *("statistics.js", "page.js", "theme.js", "charts.js", "runs.js", "curves.js", "tradeoff.js", "compare.js"),
    "start.js",
)
"""One script in this order; ``start.js`` runs the others."""


def write_report(collection: Collection) -> Path:
    """Writes ``report.html`` into the results folder and returns its path."""
    runs = collection.runs.assign(line=line_names(collection.runs))
    parts = {
        "title": "Where to prune: dynamic sparse training, compared",
        "data": _script_safe(json.dumps(_data(collection, runs), ensure_ascii=False, allow_nan=False)),
        "curves": pack_curves(runs["run_id"], collection.epochs),
        "plotly": get_plotlyjs(),
        "css": _file("page.css"),
        "js": "\n".join(['"use strict";', *map(_file, _SCRIPTS)]),
    }
    pieces = _file("page.html").split("{{")
    page = pieces[0] + "".join(parts[key] + rest for key, rest in (piece.split("}}", 1) for piece in pieces[1:]))
    return collection.results.write_text("report.html", page)


def _data(collection: Collection, runs: pd.DataFrame) -> dict[str, Any]:
    chosen = select_comparable(collection.runs)
    at_period = select_update_period(chosen)
    ranked = rankings(at_period.runs)
    found = {regime: ranking for regime, ranking in ranked.items() if ranking is not None}
    varied = cells_with_several_periods(chosen)
    accuracy = aggregate_seeds(at_period.runs, list(METRIC_NAMES))
    palette = colors([*accuracy["line"], *varied["line"]])
    notes = as_sentences([*at_period.all_notes, *package_version_notes(at_period.runs)])
    overall, by_setup = findings(at_period.runs, varied, ranked)
    runs = with_costs(runs)
    columns = table_columns(runs, varying_choices(runs))
    made = datetime.now().astimezone().isoformat(sep=" ", timespec="minutes")
    return {
        "origin": f"{len(runs)} runs in {collection.origin}; report of {made}",
        "tiles": _tiles(collection, runs),
        "statuses": _statuses(runs),
        "findings": [*overall, *notes],
        "setup_findings": by_setup,
        "diagrams": [_diagram(regime, ranking) for regime, ranking in found.items()],
        "rankings": [_ranking(regime, ranking) for regime, ranking in found.items()],
        "costs": _costs(collection),
        "rank_notes": [sentence for regime, ranking in found.items() for sentence in describe_ranking(regime, ranking)],
        "notes": notes,
        "metrics": METRIC_NAMES,
        "lines": {line: _line_style(line, color) for line, color in palette.items()},
        "cells": columnar(accuracy.drop(columns="update_period")),
        "periods": columnar(varied),
        "columns": columns,
        "runs": columnar(runs[[column["name"] for column in columns]]),
        "curves": {"names": CURVES, "points": POINTS},
    }


def _tiles(collection: Collection, runs: pd.DataFrame) -> list[tuple[str, str]]:
    status = runs["status"].value_counts()
    finished = [(f"{count:,}", str(name)) for name, count in status.items()]
    hours = runs["duration_s"].sum() / 3600
    tiles = [*finished, (f"{hours:,.1f}", "hours of training"), (f"{runs['setup'].nunique()}", "setups")]
    if collection.planned is not None:
        tiles.insert(0, (f"{collection.planned:,}", "planned"))
    return tiles


def _statuses(runs: pd.DataFrame) -> dict[str, Any]:
    table = status_table(runs).rename_axis("setup").reset_index() if len(runs) else pd.DataFrame({"setup": []})
    return {"columns": list(table.columns), "rows": table.to_numpy(object).tolist()}


def _line_style(line: str, color: str) -> dict[str, str]:
    return {"label": label(line), "color": color, "symbol": _SYMBOLS.get(marker(line), "circle")}


def _costs(collection: Collection) -> dict[str, list[Any]]:
    """Returns images and findings of the comparison at equal cost; none where all runs have the same procedure."""
    if collection.runs.get("procedure", pd.Series()).nunique() < 2:
        return {"images": [], "findings": []}
    found = studies(collection, {})
    images = []
    for study in found:
        with matplotlib.rc_context(STYLE):
            if drawing := draw_cost(study):
                images.append(_image(drawing.figure, f"{study.setup}: {' '.join(drawing.caption)}"))
    return {"images": images, "findings": compare_costs(found)[1] if images else []}


def _diagram(regime: str, ranking: Ranking) -> dict[str, str]:
    with matplotlib.rc_context(STYLE):
        return _image(draw_diagrams({regime: ranking}), " ".join(describe_ranking(regime, ranking)))


def _ranking(regime: str, ranking: Ranking) -> dict[str, Any]:
    tests = {"cd": ranking.cd, "blocks": ranking.blocks, "tested": ranking.tested, "significant": ranking.significant}
    return {"title": regime.capitalize(), "average": ranking.average.to_dict(), **tests}


def _image(figure: Figure, about: str) -> dict[str, str]:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", transparent=True)
    return {"source": f"data:image/svg+xml;base64,{base64.b64encode(buffer.getvalue()).decode()}", "about": about}


def _script_safe(text: str) -> str:
    return text.replace("<", "\\u003c")


def _file(name: str) -> str:
    return resources.files(__package__).joinpath("page").joinpath(name).read_text("utf-8")
