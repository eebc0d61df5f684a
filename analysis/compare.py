"""Runs that may be compared: what varies among them is an axis, and nothing is averaged over different settings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.choices import config_key
from analysis.code import component_version_notes
from analysis.frames import runs_with_results
from analysis.style import natural_sort_key

AXES = ("setup", "model", "dataset", "method", "criterion", "growth", "density", "update_period", "seed")
"""What every figure and table tells apart. Any other choice that varies within a setup is an axis of its own."""

CELL_COLUMNS = ["setup", "growth", "line", "density", "update_period"]
"""What runs of one cell, which differ in their seeds only, have in common."""

REFERENCE_LINES = ("dense", "static")
"""Lines that are not criteria."""

_NO_EFFECT = ""
"""Stands for the value of a choice that a run does not depend on, in :func:`_values`."""


@dataclass(frozen=True)
class ComparableRuns:
    """Finished runs that differ in nothing but the columns of :data:`CELL_COLUMNS` and the seed.

    Attributes:
        runs: with the column ``line``: the criterion, ``static`` or ``dense``. A further choice that varies stands
            behind the setup (``small_mlp/digits, recipe.lr=0.1``: a panel a value; runs that do not depend on it are
            in every panel) or, where the panel would have but one line, behind the line (``magnitude, recipe.lr=0.1``).
        notes: what was left out and why, a line each.
    """

    runs: pd.DataFrame
    notes: tuple[str, ...] = ()

    @property
    def all_notes(self) -> list[str]:
        """The notes, and what else is to be known of the runs, for the foot of every table and figure."""
        count = self.runs.loc[self.runs["status"] == "diverged", "run_id"].nunique()
        diverged = [f"{count} diverged runs count with the accuracy they ended with"] if count else []
        return [*self.notes, *diverged, *component_version_notes(self.runs)]


def select_comparable(runs: pd.DataFrame) -> ComparableRuns:
    """Returns the finished runs; those of a setup that vary in several further choices at once are left out.

    Choices that change together count as one. A criterion's own parameters (MEST's ``λ``) make lines of their own.
    """
    kept = runs_with_results(runs).reset_index(drop=True)
    kept = kept.assign(line=line_names(kept))
    names = _other_choices(kept)
    parameters = [name for name in names if name.startswith("criterion_")]
    kept = kept.assign(line=_lines(kept, parameters))
    parts: list[pd.DataFrame] = []
    notes: list[str] = []
    for _, here in kept.groupby("setup", sort=False):
        part, note = _split_by_setting(here, [name for name in names if name not in parameters])
        parts.append(part)
        notes += note
    return ComparableRuns(pd.concat(parts, ignore_index=True) if parts else kept, tuple(notes))


def line_names(runs: pd.DataFrame) -> pd.Series:
    """Returns the line of a table or figure that each run belongs to: its criterion, ``static`` or ``dense``."""
    return runs["criterion"].where(runs["method"] == "dst", runs["method"])


def dynamic_lines(cells: pd.DataFrame) -> pd.DataFrame:
    """Returns the rows whose ``line`` is a criterion, not ``static`` or ``dense``."""
    return cells[~cells["line"].isin(REFERENCE_LINES)]


def setup_of_panel(panel: str) -> str:
    """Returns the setup, ``model/dataset``, of a value of the column ``setup`` of a :class:`ComparableRuns`'s runs."""
    return panel.partition(", ")[0]


def select_update_period(chosen: ComparableRuns) -> ComparableRuns:
    """Keeps, of each setup, the runs with the update period that the most densities were trained with.

    Several such periods are an axis: a panel a period.
    """
    trained = chosen.runs[chosen.runs["method"] == "dst"]
    if trained.empty:
        return chosen
    densities = trained.groupby(["setup", "update_period"])["density"].nunique()
    most = densities[densities == densities.groupby("setup").transform("max")].reset_index()
    parts = []
    for setup, here in chosen.runs.groupby("setup", sort=False):
        periods = sorted(map(int, most.loc[most["setup"] == setup, "update_period"]))
        for period in periods or [0]:
            fits = (here["method"] != "dst") | (here["update_period"] == period).fillna(False)
            parts.append(here[fits].assign(setup=setup if len(periods) < 2 else f"{setup}, Δt={period}"))
    runs = pd.concat(parts, ignore_index=True)
    left_out = chosen.runs["run_id"].nunique() - runs["run_id"].nunique()
    said = ", ".join(str(period) for period in sorted(set(map(int, most["update_period"]))))
    note = f"{left_out} runs with another update period than Δt = {said} are left out"
    return ComparableRuns(runs, (*chosen.notes, note) if left_out else chosen.notes)


def aggregate_seeds(runs: pd.DataFrame, values: Sequence[str]) -> pd.DataFrame:
    """Returns mean, standard deviation (of the sample) and count over the seeds of each cell, a row a cell.

    Args:
        runs: of a :class:`ComparableRuns`.
        values: columns to summarise: ``<value>``, ``<value>_std`` and ``<value>_n`` come back.
    """
    frame = runs[[*CELL_COLUMNS, *values]]
    groups = frame.groupby(CELL_COLUMNS, dropna=False, observed=True, sort=False)
    parts = {}
    for value in values:
        parts[value], parts[f"{value}_std"], parts[f"{value}_n"] = (
            groups[value].mean(),
            groups[value].std(ddof=1),
            groups[value].count(),
        )
    return pd.DataFrame(parts).reset_index()


def varying_choices(runs: pd.DataFrame) -> list[str]:
    """Returns the columns of choices, besides :data:`AXES`, that vary within some setup."""
    found = {name for _, here in runs.groupby("setup") for name in _varying(here, _other_choices(runs))}
    return [name for name in runs.columns if name in found]


def _other_choices(runs: pd.DataFrame) -> list[str]:
    return [name for name in runs.columns if name not in AXES and config_key(name)]


def _varying(runs: pd.DataFrame, names: list[str]) -> list[str]:
    return [name for name in names if len(set(_values(runs, name)) - {_NO_EFFECT}) > 1]


def _lines(runs: pd.DataFrame, parameters: list[str]) -> pd.Series:
    """Returns the lines, with those parameters of their criterion that vary among its runs."""
    lines = runs["line"].copy()
    for _, here in runs.groupby("line"):
        for name in _varying(here, parameters):
            lines.loc[here.index] += f", {config_key(name)}=" + _values(here, name)
    return lines


def _split_by_setting(here: pd.DataFrame, names: list[str]) -> tuple[pd.DataFrame, list[str]]:
    """Sets the runs of a setup apart by the one choice that varies; of several, leaves out the runs and says so."""
    axes = _varying(here, names)
    if not axes:
        return here, []
    values = pd.DataFrame({name: _values(here, name) for name in axes})
    affected = (values != _NO_EFFECT).any(axis=1)
    settings = values[(values != _NO_EFFECT).all(axis=1)].drop_duplicates()
    fits = [((values == setting) | (values == _NO_EFFECT)).all(axis=1) for _, setting in settings.iterrows()]
    together = any(values.loc[settings.index, name].is_unique for name in axes)
    if not together or not pd.concat(fits, axis=1).any(axis=1).all():
        return here[~affected], [_left_out_note(str(here["setup"].iloc[0]), int(affected.sum()), values)]
    labels = [", ".join(f"{config_key(name)}={setting[name]}" for name in axes) for _, setting in settings.iterrows()]
    alone = set(here.loc[affected, "line"])
    if len(alone) == 1 and alone.isdisjoint(REFERENCE_LINES):
        lines = here["line"].copy()
        for fit, label in zip(fits, labels, strict=True):
            lines[fit & affected] += f", {label}"
        return here.assign(line=lines), []
    return pd.concat(
        [here[fit].assign(setup=here["setup"] + f", {label}") for fit, label in zip(fits, labels, strict=True)]
    ), []


def _left_out_note(setup: str, count: int, values: pd.DataFrame) -> str:
    given = {config_key(name): sorted(set(values[name]) - {_NO_EFFECT}, key=natural_sort_key) for name in values}
    what = ", ".join(f"{key} ({', '.join(found)})" for key, found in given.items())
    equals = {config_key(name): "in [{}, null]" if (values[name] == _NO_EFFECT).any() else "== {}" for name in values}
    lines = " or ".join(f"where='{key} {equals[key].format(_quote(found[0]))}'" for key, found in given.items())
    return f"{count} runs of {setup} are left out, as more than one choice varies: {what}; fix all but one: {lines}"


def _values(runs: pd.DataFrame, name: str) -> pd.Series:
    """Returns the values of a choice as text, :data:`_NO_EFFECT` for runs that do not depend on it.

    Those are the runs whose component (criterion, model, …) or, for a choice of no component, whose method has it
    nowhere.
    """
    group = str(config_key(name)).partition(".")[0]
    owner = runs[group if group != name and group in runs and config_key(group) else "method"]
    known = runs[name].notna()
    matters = known.groupby(owner).transform("any").eq(True)
    return runs[name].map(_text).where(known, "null").where(matters, _NO_EFFECT)


def _quote(value: str) -> str:
    return value if re.fullmatch(r"true|false|null|\[.*\]|-?[\d.]+(e[-+]?\d+)?", value) else f'"{value}"'


def _text(value: Any) -> str:
    if str(value) in ("True", "False"):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else str(value)
