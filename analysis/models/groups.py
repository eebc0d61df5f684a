"""Groups of runs that differ in their seeds alone, and what to call them."""

from __future__ import annotations

import pandas as pd

from analysis.choices import column_name, config_key
from analysis.compare import line_names
from dst.errors import UserError, unknown

_IN_LINE = ("criterion", "seed")
"""Columns that are no further part of a group's name: the criterion is its beginning."""


def seed_groups(runs: pd.DataFrame, keys: str = "") -> pd.Series:
    """Returns what the group of each run is called: its line, such as ``magnitude``, and the choices that vary.

    Args:
        runs: one row per run.
        keys: config keys separated by commas whose values tell the groups apart; empty: every choice but the seed.

    Raises:
        UserError: for a key that no run has.
    """
    choices = [name for name in runs.columns if config_key(name) and name != "seed"]
    if keys:
        return _label_parts(runs, [_column(key, choices) for key in keys.split(",")]).str.removeprefix(", ")
    varying = [name for name in choices if name not in _IN_LINE and runs[name].dropna().nunique() > 1]
    return line_names(runs) + _label_parts(runs, varying)


def _column(key: str, choices: list[str]) -> str:
    name = column_name(key)
    if name not in choices:
        raise UserError(f"group={key}: {unknown(key, [str(config_key(choice)) for choice in choices])}")
    return name


def _label_parts(runs: pd.DataFrame, names: list[str]) -> pd.Series:
    """Returns ``, key=value`` of every choice that a run has; a dense run has no density."""
    labels = pd.Series("", index=runs.index)
    for name in names:
        known = runs[name].notna() & ((runs["method"] != "dense") | (name != "density"))
        labels[known] += f", {config_key(name)}=" + runs.loc[known, name].map(_text)
    return labels


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
