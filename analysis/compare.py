"""Runs that may be compared: alike in every choice but those a figure is about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.frames import choices, done

AXES = ("setup", "model", "dataset", "method", "criterion", "growth", "density", "update_period", "seed")
"""What figures and tables tell apart; in all else the runs of a setup must agree."""

_SAME_RESULT = ("dataset_source", "dataset_root", "dataset_workers", "recipe")
"""Choices that decide no result by themselves (as in ``dst.config.identity``)."""

CELL = ["setup", "growth", "line", "density", "update_period"]
"""What runs of one cell, which differ in their seeds only, have in common."""


@dataclass(frozen=True)
class Comparable:
    """Finished runs of each setup that differ in nothing but :data:`AXES`.

    Attributes:
        runs: with the column ``line``: the criterion, ``static`` or ``dense``.
        notes: what was left out and why, a line each.
    """

    runs: pd.DataFrame
    notes: tuple[str, ...] = ()


def comparable(runs: pd.DataFrame) -> Comparable:
    """Keeps, of each setup, the finished runs with the most common of every choice that is no axis.

    A run in which a choice has no effect (``prune_fraction`` in a dense run) goes with any. A choice that all runs of
    a criterion share (MEST's ``λ``) is judged among that criterion's runs alone.
    """
    kept = done(runs)
    kept = kept.assign(line=kept["criterion"].where(kept["method"] == "dst", kept["method"]))
    notes: list[str] = []
    for name in (name for name in choices(runs) if name not in (*AXES, *_SAME_RESULT)):
        groups = ["setup", "line"] if name.startswith("criterion_") else ["setup"]
        kept, left_out = _most_common(kept, name, groups)
        if left_out:
            notes.append(f"{left_out} runs with another {name} than most of their setup are left out")
    return Comparable(kept, tuple(notes))


def at_one_period(chosen: Comparable) -> Comparable:
    """Keeps, of each setup, the runs with the update period that the most densities were trained with."""
    dynamic = chosen.runs[chosen.runs["method"] == "dst"]
    if dynamic.empty:
        return chosen
    counts = dynamic.groupby(["setup", "update_period"])["density"].agg(densities="nunique", runs="size").reset_index()
    best = counts.sort_values(["densities", "runs", "update_period"], kind="stable").groupby("setup").last()
    period = chosen.runs["setup"].map(best["update_period"])
    runs = chosen.runs[(chosen.runs["method"] != "dst") | (chosen.runs["update_period"] == period).fillna(False)]
    said = sorted({int(value) for value in best["update_period"]})
    left_out = len(chosen.runs) - len(runs)
    note = f"{left_out} runs with another update period than Δt = {', '.join(map(str, said))} are left out"
    return Comparable(runs, (*chosen.notes, note) if left_out else chosen.notes)


def cells(runs: pd.DataFrame, values: Sequence[str]) -> pd.DataFrame:
    """Returns mean, standard deviation (of the sample) and count over the seeds of each cell, a row a cell.

    Args:
        runs: of a :class:`Comparable`.
        values: columns to summarise: ``<value>``, ``<value>_std`` and ``<value>_n`` come back.
    """
    frame = runs[[*CELL, *values]]
    groups = frame.groupby(CELL, dropna=False, observed=True, sort=False)
    parts = {}
    for value in values:
        parts[value], parts[f"{value}_std"], parts[f"{value}_n"] = (
            groups[value].mean(),
            groups[value].std(ddof=1),
            groups[value].count(),
        )
    return pd.DataFrame(parts).reset_index()


def diverged_note(runs: pd.DataFrame) -> tuple[str, ...]:
    """Says how many of the runs diverged, and that they count."""
    count = int((runs["status"] == "diverged").sum())
    return (f"{count} diverged runs count with the accuracy they ended with",) if count else ()


def _most_common(runs: pd.DataFrame, name: str, groups: list[str]) -> tuple[pd.DataFrame, int]:
    known = runs[runs[name].notna()]
    if known.empty or (known.groupby(groups)[name].nunique() <= 1).all():
        return runs, 0
    counts = known.groupby([*groups, name]).size().rename("runs").reset_index().sort_values("runs", kind="stable")
    wanted = counts.groupby(groups)[name].last().rename("wanted")
    wanted_here = runs[groups].merge(wanted, how="left", left_on=groups, right_index=True)["wanted"]
    kept = runs[runs[name].isna() | (runs[name] == wanted_here.set_axis(runs.index))]
    return kept, len(runs) - len(kept)
