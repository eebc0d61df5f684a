"""Groups of runs that differ in their seeds alone, and what to call them."""

from __future__ import annotations

import pandas as pd

from dst.errors import UserError, unknown
from dst.run.choices import column_name, config_key

from ..compare import line_names


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
        chosen = [_column(key, choices) for key in keys.split(",")]
        labels = line_names(runs) if "criterion" in chosen else pd.Series("", index=runs.index)
        for name in chosen:
            labels = labels if name == "criterion" else labels + _parts(runs, name)
        return labels.str.removeprefix(", ").replace("", "other")
    return _distinct_names(runs, [name for name in choices if name != "criterion"])


def _column(key: str, choices: list[str]) -> str:
    name = column_name(key)
    if name not in choices:
        raise UserError(f"group={key}: {unknown(key, [str(config_key(choice)) for choice in choices])}")
    return name


def _distinct_names(runs: pd.DataFrame, choices: list[str]) -> pd.Series:
    """Returns each run's line with the choices that vary, and those that some runs lack if it takes them to differ."""
    varying = [name for name in choices if _parts(runs, name).replace("", None).nunique() > 1]
    labels = line_names(runs)
    for name in varying:
        labels = labels + _parts(runs, name)
    for name in (name for name in choices if name not in varying):
        if _parts(runs, name).groupby(labels).nunique().gt(1).any():
            labels = labels + _parts(runs, name)
    return labels


def _parts(runs: pd.DataFrame, name: str) -> pd.Series:
    """Returns ``, key=value`` of the runs that have a choice, an empty text of others; a dense run has no density."""
    known = runs[name].notna() & ((runs["method"] != "dense") | (name != "density"))
    return runs[name].map(lambda value: f", {config_key(name)}={_text(value)}").where(known, "")


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
