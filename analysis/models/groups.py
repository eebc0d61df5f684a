"""Groups of runs that differ in their seeds alone, and what to call them."""

from __future__ import annotations

import pandas as pd

from analysis.choices import column_name, config_key
from analysis.compare import line_names
from dst.errors import UserError, unknown


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
        parts = _parts(runs, [name for name in chosen if name != "criterion"])
        return line_names(runs) + parts if "criterion" in chosen else parts.str.removeprefix(", ").replace("", "other")
    return line_names(runs) + _parts(runs, [name for name in choices if name != "criterion"], only_varying=True)


def _column(key: str, choices: list[str]) -> str:
    name = column_name(key)
    if name not in choices:
        raise UserError(f"group={key}: {unknown(key, [str(config_key(choice)) for choice in choices])}")
    return name


def _parts(runs: pd.DataFrame, names: list[str], *, only_varying: bool = False) -> pd.Series:
    """Returns ``, key=value`` of every choice that a run has; a dense run has no density."""
    labels, lines = pd.Series("", index=runs.index), line_names(runs)
    for name in names:
        known = runs[name].notna() & ((runs["method"] != "dense") | (name != "density"))
        varies = runs.loc[known, name].nunique() > 1 or known.groupby(lines).nunique().gt(1).any()
        if varies or not only_varying:
            labels[known] += f", {config_key(name)}=" + runs.loc[known, name].map(_text)
    return labels


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
