"""The paper's tables: accuracy of the methods, and how alike their networks are, beside the published numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pandas as pd

from dst.errors import UserError

from ..models.measured import predictions_compared
from ..models.pairs import summarise_pairs
from ..style import paper_method_order
from ..table import METRIC_NAMES
from ..text_table import formatted
from .study import Study

COLUMNS = ("setup", "method", "quantity", "mean", "std", "count", "published", "published_std")
_SIMILAR = ("Lottery", "Scratch", "Scratch+", "Prune restart")
_QUANTITIES = {
    "test_acc": "test accuracy",
    "ensemble": "ensemble accuracy",
    "disagreement": "disagreement",
    "disagreement_with_pruned": "disagreement with pruned",
}
_UNIT = (
    "In %: mean ± standard deviation (runs, or pairs of runs). Difference: here minus published. Within 2 std: "
    "the difference is at most twice the published ±."
)
_HEAD = ("setup", "method", "quantity", "here", "published", "difference", "within 2 std")


def methods_table(study: Study, metric: str) -> pd.DataFrame:
    """Returns a row for each method, with :data:`COLUMNS`: its accuracy over the seeds, diverged runs included.

    Args:
        study: a setup.
        metric: one of :data:`analysis.table.METRICS`; the published numbers are test accuracies.
    """
    known = study.published.similarity if metric == "test_acc" else {}
    rows = []
    for method in paper_method_order(study.runs["paper_method"]):
        values = study.runs.loc[study.runs["paper_method"] == method, metric].dropna()
        if len(values):
            of_paper = known.get("Different pruned" if method == "Prune" else method, {}).get("test_acc", [])
            about = (study.setup, method, METRIC_NAMES[metric])
            rows.append((*about, values.mean(), values.std(ddof=1), len(values), *_two(of_paper)))
    return pd.DataFrame(rows, columns=[*COLUMNS])


def similarity_table(study: Study, metric: str = "test_acc") -> pd.DataFrame:
    """Returns a row for each line of networks and quantity, with :data:`COLUMNS`.

    Lines: the Lottery, Scratch, Scratch+ and Prune restart runs that start from one Prune run, that run itself
    (``Pruned solution``) and the other Prune runs (``Different pruned``). Quantities: test accuracy; that of the
    ensemble, the mean of the probabilities; the share of test samples on which two networks of the line differ; and on
    which one differs from the pruned solution.

    Args:
        study: a setup.
        metric: not used: all is computed from the networks' predictions.

    Raises:
        UserError: if there is no finished Prune run that others start from, or a run kept no checkpoint.
    """
    pruned = study.pruned()
    others = [run_id for run_id in study.of("Prune")["run_id"] if run_id != pruned]
    states = [
        *(state for method in _SIMILAR for state in study.networks(study.children(method)["run_id"].tolist(), method)),
        *study.networks([pruned], "Pruned solution"),
        *study.networks(others, "Different pruned"),
    ]
    pairs, members = predictions_compared(study.results, states, study.given)
    between = summarise_pairs(pairs, {state.name: state.line for state in states}, "disagreement")
    found: dict[tuple[str, str], tuple[float, float, int]] = {}
    for row in members.itertuples():
        found[row.line, "test_acc"] = (row.accuracy, row.accuracy_std, row.networks)
        if row.networks > 1:
            found[row.line, "ensemble"] = (row.ensemble, float("nan"), row.networks)
    for row in between.itertuples():
        if row.line == row.other:
            found[row.line, "disagreement"] = (row.mean, row.std, row.pairs)
        elif "Pruned solution" in (row.line, row.other):
            line = row.line if row.other == "Pruned solution" else row.other
            found[line, "disagreement_with_pruned"] = (row.mean, row.std, row.pairs)
    known = study.published.similarity
    rows = [
        (study.setup, line, name, *found.get((line, key), (None, None, 0)), *_two(known.get(line, {}).get(key, [])))
        for line in paper_method_order([*members["line"], *known])
        for key, name in _QUANTITIES.items()
        if (line, key) in found or key in known.get(line, {})
    ]
    return pd.DataFrame(rows, columns=[*COLUMNS])


TABLES: dict[str, Callable[[Study, str], pd.DataFrame]] = {"methods": methods_table, "similarity": similarity_table}
"""Every table by the value of ``table=…``."""


def make_tables(table: str, studies: Iterable[Study], metric: str) -> tuple[pd.DataFrame, list[str]]:
    """Returns a table of all setups, and a line for each setup that lacks the runs for it.

    Args:
        table: one of :data:`TABLES`.
        studies: a setup each.
        metric: one of :data:`analysis.table.METRICS`.
    """
    frames, notes = [pd.DataFrame(columns=[*COLUMNS])], []
    for study in studies:
        try:
            frames.append(TABLES[table](study, metric))
        except UserError as error:
            notes.append(f"table {table} of {study.setup}: left out: {error}")
    filled = [frame for frame in frames if len(frame)]
    return with_difference(pd.concat(filled, ignore_index=True) if filled else frames[0]), notes


def with_difference(frame: pd.DataFrame) -> pd.DataFrame:
    """Returns the table with the columns ``difference`` (here minus published) and ``within_two_std``.

    The latter says whether the difference is at most twice the published ±, empty where none is published.
    """
    numbers = {name: pd.to_numeric(frame[name]) for name in ("mean", "std", "published", "published_std")}
    difference = numbers["mean"] - numbers["published"]
    limit = 2 * numbers["published_std"] + 1e-9  # rounding
    within = (difference.abs() <= limit).astype("boolean").where(difference.notna() & limit.notna())
    return frame.assign(**numbers, difference=difference, within_two_std=within)


def format_comparison(frame: pd.DataFrame, layout: str) -> str:
    """Formats a table of :func:`make_tables`.

    Args:
        frame: the table.
        layout: one of :data:`analysis.table.LAYOUTS`.
    """
    if layout == "csv":
        return frame.to_csv(index=False)
    return formatted(layout, _HEAD, _cells(frame), texts=3, note=_UNIT)


def _two(values: list[float]) -> tuple[float | None, float | None]:
    mean, std, *_ = [*values, None, None]
    return mean, std


def _cells(frame: pd.DataFrame) -> list[list[str]]:
    return [
        [
            *(row.setup, row.method, row.quantity),
            _percent(row.mean, row.std, row.count),
            _percent(row.published, row.published_std),
            "–" if pd.isna(row.difference) else f"{100 * row.difference:+.2f}",
            _yes(row.within_two_std),
        ]
        for row in frame.itertuples(index=False, name="Row")
    ]


def _percent(mean: float, std: float, count: int = 0) -> str:
    if pd.isna(mean):
        return "–"
    return f"{100 * mean:.2f}" + ("" if pd.isna(std) else f" ± {100 * std:.2f}") + (f" ({count})" if count else "")


def _yes(value: Any) -> str:
    return "–" if pd.isna(value) else "yes" if value else "no"
