"""Two sweeps compared: the runs that both have but for what sets the sweeps apart, paired by seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pandas as pd

from dst.errors import UserError
from dst.run.choices import config_key

from .axes import choice_columns, label_choices, result_named, varying
from .collect import Collection, collect
from .compare import value_text
from .frames import runs_with_results
from .paired import Differences, holm, paired
from .results_folder import ResultsFolder
from .source import Source
from .stats import ALPHA
from .text_table import aligned

_NAMED = 10


@dataclass(frozen=True)
class SweepDifferences:
    """What two sweeps have in common and how it differs.

    Attributes:
        apart: choices that have one value in each sweep, and another in the other.
        rows: a row for each choice of whatever else varies that both have: ``label mean_a mean_b difference low high
            pairs p p_holm``; NaN where no test is possible.
        alone: labels and numbers of the runs that only one sweep has, by sweep.
        unpaired: number of runs in the rows whose seed the other sweep lacks there, by sweep.
        same: number of runs that are in both sweeps themselves.
    """

    apart: list[str]
    rows: pd.DataFrame
    alone: dict[str, dict[str, int]] = field(default_factory=dict)
    unpaired: dict[str, int] = field(default_factory=dict)
    same: int = 0


def sweep_names(source: Source) -> tuple[str, str]:
    """Returns the two sweeps that ``sweep=a,b`` names; raises UserError unless they are two."""
    names = [name.strip() for name in (source.sweep or "").split(",") if name.strip()]
    if len(set(names)) != 2 or len(names) != 2:
        raise UserError(f"sweep={source.sweep or ''}: give the names of two sweeps, sweep=A,B")
    return names[0], names[1]


def report_differences(source: Source, by: str) -> str:
    """Returns the comparison of the two sweeps of ``sweep=a,b`` as text; writes ``compare.csv``.

    Args:
        source: which runs to read.
        by: the result to compare.

    Raises:
        UserError: unless two planned sweeps are named and they have the result.
    """
    names = sweep_names(source)
    collections = [collect(replace(source, sweep=name)) for name in names]
    frames = [_finished(collection, name) for collection, name in zip(collections, names, strict=True)]
    by = result_named(pd.concat(frames), by)
    found = compare_sweeps(frames[0], frames[1], by, names)
    results = ResultsFolder(source.results_dir / f"{names[0]}_vs_{names[1]}")
    path = results.write_csv("compare.csv", found.rows)
    notes = [
        f"Note: sweep {name} has {len(collection.missing)} planned runs without results yet."
        for name, collection in zip(names, collections, strict=True)
        if len(collection.missing)
    ]
    return "\n".join([*_text(found, frames, by, names), *notes, f"written to {path}"])


def compare_sweeps(a: pd.DataFrame, b: pd.DataFrame, by: str, names: tuple[str, str] = ("a", "b")) -> SweepDifferences:
    """Compares the finished runs of two sweeps.

    Args:
        a, b: one row per run.
        by: column of the result; differences are b minus a.
        names: of the sweeps.
    """
    both = pd.concat([a, b], ignore_index=True)
    both = both.assign(sweep=[names[0]] * len(a) + [names[1]] * len(b))
    choices = choice_columns(both)
    apart = [name for name in choices if _sets_apart(a, b, name)]
    axes = varying(both, [name for name in choices if name not in apart])
    alone: dict[str, dict[str, int]] = {name: {} for name in names}
    unpaired, rows = dict.fromkeys(names, 0), []
    for _, here in both.groupby(axes, dropna=False, sort=True) if axes else [((), both)]:
        label = label_choices(here.iloc[0], axes)
        sides = [here[here["sweep"] == name] for name in names]
        if any(side.empty for side in sides):
            alone[here["sweep"].iloc[0]][label] = len(here)
            continue
        difference = paired(sides[0], sides[1], by)
        for name, side in zip(names, sides, strict=True):
            unpaired[name] += int((~side["seed"].isin(difference.values.index)).sum())
        rows.append(_row(label, sides, difference, by))
    columns = ["label", "mean_a", "mean_b", "difference", "low", "high", "pairs", "p"]
    table = pd.DataFrame(rows, columns=columns)
    table["p_holm"] = holm(table["p"].astype(float))
    return SweepDifferences(
        _without_echoes(both, apart), table, alone, unpaired, len(set(a["run_id"]) & set(b["run_id"]))
    )


def _finished(collection: Collection, name: str) -> pd.DataFrame:
    runs = runs_with_results(collection.runs)
    if runs.empty:
        raise UserError(f"sweep={name}: has no finished runs to compare")
    return runs


def _sets_apart(a: pd.DataFrame, b: pd.DataFrame, name: str) -> bool:
    """Whether a choice has at most one value in each sweep, and not the same."""
    ours, theirs = (set(map(value_text, runs[name].dropna())) if name in runs else set() for runs in (a, b))
    return len(ours) < 2 and len(theirs) < 2 and ours != theirs


def _without_echoes(both: pd.DataFrame, apart: Sequence[str]) -> list[str]:
    """Returns the choices that set the sweeps apart, without parameters of a component that is among them."""
    return [name for name in apart if not any(name.startswith(f"{other}_") for other in apart)]


def _row(label: str, sides: Sequence[pd.DataFrame], difference: Differences, by: str) -> dict[str, object]:
    seeds = difference.values.index
    means = [side.loc[side["seed"].isin(seeds), by].mean() for side in sides]
    low, high = difference.interval()
    row = {"label": label, "mean_a": means[0], "mean_b": means[1], "difference": difference.mean}
    return row | {"low": low, "high": high, "pairs": len(seeds), "p": difference.wilcoxon()}


def _text(found: SweepDifferences, frames: Sequence[pd.DataFrame], by: str, names: tuple[str, str]) -> list[str]:
    a, b = names
    apart = [
        f"{config_key(name) or name} ({a}: {_values(frames[0], name)}; {b}: {_values(frames[1], name)})"
        for name in found.apart
    ]
    lines = [f"{by} of {b} minus {a}; they differ in: {', '.join(apart) or 'no one choice'}", ""]
    if len(found.rows):
        head = [by, a, b, "difference", "95 %", "pairs", "p (Holm)", ""]
        rows = [
            [
                row.label,
                *(_number(value) for value in (row.mean_a, row.mean_b)),
                f"{row.difference:+.4f}" if row.pairs else "–",
                "–" if pd.isna(row.low) else f"[{row.low:+.4f}, {row.high:+.4f}]",
                str(row.pairs),
                "–" if pd.isna(row.p_holm) else f"{row.p_holm:.2g}",
                "*" if row.p_holm < ALPHA else "",
            ]
            for row in found.rows.itertuples()
        ]
        lines += [aligned(head, rows, 1), ""]
        lines.append(
            "Paired by seed: mean difference, bootstrap interval, Wilcoxon's p adjusted by Holm over the rows "
            f"(* below {ALPHA}; with fewer than 6 pairs it cannot be)."
        )
    else:
        lines.append("The sweeps have nothing in common; where= selects runs that differ in one choice alone.")
    for name in names:
        if alone := found.alone[name]:
            shown = "; ".join(f"{label} ({count})" for label, count in list(alone.items())[:_NAMED])
            more = f" and {len(alone) - _NAMED} more" if len(alone) > _NAMED else ""
            lines.append(f"Only {name} has {sum(alone.values())} runs: {shown}{more}")
        if found.unpaired[name]:
            lines.append(f"{found.unpaired[name]} runs of {name} have no run of the same seed in the other sweep")
    if found.same:
        lines.append(f"{found.same} runs are in both sweeps, one and the same: there the difference is none")
    return lines


def _values(runs: pd.DataFrame, name: str) -> str:
    return ", ".join(sorted(set(map(value_text, runs[name].dropna())))) if name in runs else "–"


def _number(value: float) -> str:
    return "–" if pd.isna(value) else f"{value:.4f}"
