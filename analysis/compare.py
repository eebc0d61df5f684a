"""Selects comparable runs: every choice that varies becomes an axis, and runs are averaged over seeds only."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from dst.run.choices import config_key

from .code import component_version_notes
from .frames import runs_with_results
from .style import natural_sort_key

AXES = ("setup", "model", "dataset", "method", "criterion", "growth", "density", "update_period", "seed")
"""The axes of every figure and table. Any other choice that varies within a setup becomes a further axis."""

CELL_COLUMNS = ["setup", "growth", "line", "density", "update_period"]
"""Runs with equal values in these columns differ in their seeds only: they form a cell."""

_OF_A_LINE = ("criterion_", "procedure", "initial_mask", "weight_init", "parent")
"""Choices, by the beginning of their names, that make a line of its own where they vary."""

REFERENCE_LINES = ("dense", "static")
"""Lines that are not criteria."""

_NO_EFFECT = ""
"""The value, in :func:`_values`, of a choice that a run does not depend on."""


@dataclass(frozen=True)
class ComparableRuns:
    """Finished runs that differ only in :data:`CELL_COLUMNS` and the seed.

    Attributes:
        runs: with the column ``line`` (:func:`line_names`). A further choice that varies is appended to the setup
            (``small_mlp/digits, recipe.lr=0.1``: one panel per value, with the runs that do not depend on the choice
            in each), or to the line if only one line varies (``magnitude, recipe.lr=0.1``).
        notes: one line for each reason to leave out runs.
    """

    runs: pd.DataFrame
    notes: tuple[str, ...] = ()

    @property
    def all_notes(self) -> list[str]:
        """The notes below a table or figure: runs left out, diverged runs, mixed source versions."""
        count = self.runs.loc[self.runs["status"] == "diverged", "run_id"].nunique()
        diverged = [f"{count} diverged runs count with the accuracy they ended with"] if count else []
        return [*self.notes, *diverged, *component_version_notes(self.runs)]


def select_comparable(runs: pd.DataFrame) -> ComparableRuns:
    """Returns the finished runs, without those of a setup in which several further choices vary independently.

    Choices that change together count as one. Each value of a criterion's parameter (MEST's ``λ``) is a line, and so is
    each procedure and each way to choose the first masks and weights. Runs that ended at their first topology update
    are left out: what they would have learned is not known.
    """
    finished = runs_with_results(runs)
    early = ended_early(finished)
    kept = finished[~early].reset_index(drop=True)
    kept = kept.assign(line=line_names(kept))
    names = _other_choices(kept)
    parameters = [name for name in names if name.startswith(_OF_A_LINE)]
    kept = kept.assign(line=_lines(kept, parameters))
    parts: list[pd.DataFrame] = []
    notes = [f"{early.sum()} runs that ended at their first topology update are left out"] if early.any() else []
    for _, here in kept.groupby("setup", sort=False):
        part, note = _split_by_setting(here, [name for name in names if name not in parameters])
        parts.append(part)
        notes += note
    return ComparableRuns(pd.concat(parts, ignore_index=True) if parts else kept, tuple(notes))


def ended_early(runs: pd.DataFrame) -> pd.Series:
    """Returns which runs ended right after their first topology update (``probes.<name>.stop=true``)."""
    return runs[_stop_columns(runs)].eq(True).any(axis=1)


def trained_alike(runs: pd.DataFrame) -> pd.DataFrame:
    """Returns the runs without the choice to end early, to be compared by what they did until then."""
    return runs.drop(columns=_stop_columns(runs))


def line_names(runs: pd.DataFrame) -> pd.Series:
    """Returns the line of a table or figure that each run belongs to: its criterion, ``static`` or ``dense``."""
    return runs["criterion"].where(runs["method"] == "dst", runs["method"])


def dynamic_lines(cells: pd.DataFrame) -> pd.DataFrame:
    """Returns the rows whose ``line`` is a criterion, not ``static`` or ``dense``."""
    return cells[~cells["line"].isin(REFERENCE_LINES)]


def setup_of_panel(panel: str) -> str:
    """Returns ``model/dataset`` of a panel such as ``model/dataset, recipe.lr=0.1``."""
    return panel.partition(", ")[0]


def select_update_period(chosen: ComparableRuns) -> ComparableRuns:
    """Keeps, for each setup, the runs with the update period that covers the most densities.

    If several periods cover equally many, each becomes a panel.
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
    """Returns mean, sample standard deviation and count over the seeds, one row per cell.

    Args:
        runs: of a :class:`ComparableRuns`.
        values: columns to aggregate into ``<value>``, ``<value>_std`` and ``<value>_n``.
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
    """Returns the choices, other than :data:`AXES`, that vary within some setup."""
    found = {name for _, here in runs.groupby("setup") for name in _varying(here, _other_choices(runs))}
    return [name for name in runs.columns if name in found]


def name_what_varies(runs: pd.DataFrame, column: str, ignored: Sequence[str]) -> pd.Series:
    """Returns the names in a column, with the choices appended that vary among the runs of one name.

    Args:
        runs: of one setup.
        column: that holds the names.
        ignored: columns of choices that are not told apart, besides density and seed.
    """
    choices = ["criterion", "growth", "update_period", *_other_choices(runs)]
    found = runs[column].copy()
    for _, here in runs.groupby(column):
        for name in _varying(here, [name for name in choices if name not in ignored]):
            values = _values(here, name)
            if values.groupby(found[here.index]).nunique().gt(1).any():  # else another choice says it already
                found[here.index] += values.map(f", {config_key(name)}={{}}".format).where(values != _NO_EFFECT, "")
    return found


def _stop_columns(runs: pd.DataFrame) -> list[str]:
    return [name for name in runs if name.startswith("probes_") and name.endswith("_stop")]


def _other_choices(runs: pd.DataFrame) -> list[str]:
    return [name for name in runs.columns if name not in AXES and config_key(name)]


def _varying(runs: pd.DataFrame, names: list[str]) -> list[str]:
    return [name for name in names if len(set(_values(runs, name)) - {_NO_EFFECT}) > 1]


def _lines(runs: pd.DataFrame, parameters: list[str]) -> pd.Series:
    """Returns the lines, with the parameters appended that vary within them.

    The criterion is one: it names the lines of dynamic runs alone, but decides others too.
    """
    lines = runs["line"].copy()
    for _, here in runs.groupby("line"):
        for name in _varying(here, ["criterion", *parameters]):
            lines.loc[here.index] += f", {config_key(name)}=" + _values(here, name)
    return lines


def _split_by_setting(here: pd.DataFrame, names: list[str]) -> tuple[pd.DataFrame, list[str]]:
    """Splits the runs of a setup by the choice that varies; drops them, with a note, if several choices vary."""
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
    first = {key: next((value for value in found if value != "null"), "null") for key, found in given.items()}
    lines = " or ".join(f"where='{key} {equals[key].format(_quote(value))}'" for key, value in first.items())
    return f"{count} runs of {setup} are left out, as more than one choice varies: {what}; fix all but one: {lines}"


def _values(runs: pd.DataFrame, name: str) -> pd.Series:
    """Returns the values of a choice as text, :data:`_NO_EFFECT` for runs that do not depend on it.

    A run does not depend on a choice if no run with the same component (criterion, model, …) has a value for it; for
    a choice outside components, if no run with the same method has one.
    """
    group = str(config_key(name)).partition(".")[0]
    owner = runs[group if group != name and group in runs and config_key(group) else "method"]
    known = runs[name].notna()
    matters = known.groupby(owner).transform("any").eq(True)
    return runs[name].map(value_text).where(known, "null").where(matters, _NO_EFFECT)


def _quote(value: str) -> str:
    return value if re.fullmatch(r"true|false|null|\[.*\]|-?[\d.]+(e[-+]?\d+)?", value) else f'"{value}"'


def value_text(value: Any) -> str:
    """Returns a choice's value as one types it."""
    if str(value) in ("True", "False"):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else str(value)
