"""Accuracy and cost of each family of methods at each sparsity, the best first."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ..table import Cell
from ..text_table import formatted
from .cost import pareto_front
from .study import METRICS, Study, over_seeds

COLUMNS = ("setup", "density", "line", "epoch", "cost", "accuracy", "std", "count", "pareto")


def families_table(studies: Sequence[Study]) -> pd.DataFrame:
    """Returns a row for each setup, density and line, with :data:`COLUMNS`: means over seeds and their number.

    ``pareto`` is :func:`~.cost.pareto_front` of each setup, where a density has several families. Cycles that others of
    the run follow are left out.

    Args:
        studies: a setup each.
    """
    frames = [pd.DataFrame(columns=[*COLUMNS])]
    for study in studies:
        points = study.points[study.points["final"]].dropna(subset=["accuracy"])
        means = over_seeds(points, ["family", "line", "density"])
        several = means.groupby("density")["family"].transform("nunique") > 1  # else there is nothing to compare
        means = means.assign(setup=study.setup, pareto=pareto_front(means) & several)
        frames.append(means.sort_values(["density", "accuracy"], ascending=False))
    filled = [frame for frame in frames if len(frame)]
    return (pd.concat(filled, ignore_index=True) if filled else frames[0])[[*COLUMNS]]


def format_families(frame: pd.DataFrame, layout: str, studies: Sequence[Study]) -> str:
    """Formats a table of :func:`families_table`.

    Args:
        frame: the table.
        layout: one of :data:`analysis.table.LAYOUTS`.
        studies: that the table was made of.
    """
    if layout == "csv":
        return frame.to_csv(index=False)
    head = ("setup", "method", "sparsity (%)", METRICS[studies[0].metric], "epochs", "cost", "Pareto")
    cells = [
        [
            *(row.setup, row.line, f"{100 * (1 - row.density):.3g}"),
            Cell(row.accuracy, row.std, row.count).text(),
            *(f"{row.epoch:.4g}", "–" if pd.isna(row.cost) else f"{row.cost:.3g}", "*" if row.pareto else ""),
        ]
        for row in frame.itertuples(index=False, name="Row")
    ]
    units = {study.unit for study in studies}
    note = (
        "Accuracies in %: mean ± standard deviation (runs). Cost: FLOPs of training, with those of the parents, "
        f"in {' or '.join(sorted(units))}. *: no other of the setup and sparsity is as accurate for less."
    )
    return formatted(layout, head, cells, texts=2, note=note)
