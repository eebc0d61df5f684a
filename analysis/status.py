"""The text that ``collect`` prints: runs by status, missing runs, problems."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from dst.commands import LAUNCH

from .collect import problem_lines
from .compare import line_names
from .source import Source

if TYPE_CHECKING:
    from .collect import Collection

_SHOWN = 5


def status_text(collection: Collection, source: Source) -> str:
    """Returns the runs by setup and status, the planned runs without results, problems, and the files written.

    Args:
        collection: the collected runs.
        source: names the sweep and ``output_dir`` in the command that trains the missing runs.
    """
    lines = [f"{len(collection.runs)} runs in {collection.origin}"]
    if not collection.runs.empty:
        lines.append(status_table(collection.runs).to_string())
    lines += missing_lines(collection, source) + _problem_lines(collection)
    files = ("runs.parquet", "runs.csv", "epochs.parquet")
    return "\n".join([*lines, f"frames in {', '.join(str(collection.results.folder / name) for name in files)}"])


def status_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Returns, for each setup, the number of runs by status and their total duration in hours."""
    setup = runs["setup"].fillna("(unreadable)")
    table = pd.crosstab(setup, runs["status"]).rename_axis(None).rename_axis(None, axis=1)
    table.insert(0, "runs", table.sum(axis=1))
    table["hours"] = (runs["duration_s"].fillna(0).groupby(setup).sum() / 3600).round(2)
    return table


def missing_lines(collection: Collection, source: Source) -> list[str]:
    """Returns how many planned runs have no results, and the command that trains them; nothing without a plan.

    Args:
        collection: the collected runs.
        source: as in :func:`status_text`.
    """
    if collection.planned is None:
        return []
    missing = collection.missing
    if missing.empty:
        return [f"complete: all {collection.planned} planned runs have results"]
    counts = missing["status"].value_counts()
    what = ", ".join(f"{count} {status}" for status, count in counts.items())
    lines = [f"missing {len(missing)} of {collection.planned} planned runs: {what}"]
    groups = missing.assign(line=line_names(missing)).groupby(["setup", "line"]).size()
    lines += [f"  {setup} {line}: {count}" for (setup, line), count in groups.head(_SHOWN).items()]
    lines += [f"  … and {len(groups) - _SHOWN} more"] if len(groups) > _SHOWN else []
    listed = collection.results.folder / "missing.csv"
    where = "" if source.output_dir == Source.output_dir else f" output_dir={source.output_dir}"
    command = f"{LAUNCH} submit sweep={source.sweep}{where}"
    return [*lines, f"  each with its command in {listed}; train them with: {command}"]


def _problem_lines(collection: Collection) -> list[str]:
    found = problem_lines(collection.runs)
    if not found:
        return []
    more = [f"  … and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
    log = collection.results.folder / "collect.log"
    return [
        f"{len(found)} directories with a problem, listed in {log}",
        *(f"  {line}" for line in found[:_SHOWN]),
        *more,
    ]
