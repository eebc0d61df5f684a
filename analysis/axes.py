"""The choices that vary among runs, the words for them, and the results that runs are compared by."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd

from dst.errors import UserError, unknown
from dst.run.choices import column_name, config_key

from .compare import AXES, value_text

_LOWER = re.compile(r"loss|duration|flops|memory|parameters|density_actual")
_FIRST = ("method", "criterion", "growth", "density", "update_period", "model", "dataset")


def choice_columns(runs: pd.DataFrame) -> list[str]:
    """Returns the columns of all choices but the seed, those that figures and tables name first."""
    others = [str(name) for name in runs.columns if config_key(str(name)) and name not in AXES]
    return [*_FIRST, *others]


def varying(runs: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """Returns the columns that tell the runs apart, without those that say nothing beyond the ones before them.

    Args:
        runs: one row per run.
        names: columns of choices; a choice without effect is a value of its own.
    """
    found: list[str] = []
    for name in names:
        before = runs.groupby(found, dropna=False).ngroups if found else 1
        if runs.groupby([*found, name], dropna=False).ngroups > before:
            found.append(name)
    return found


def label_choices(row: pd.Series, names: Sequence[str]) -> str:
    """Returns choices as one types them: ``criterion=snip, recipe.lr=0.1``.

    Args:
        row: of a run.
        names: columns; those without effect on the run are left out, and so is the method of one with topology updates.
    """
    shown = [name for name in names if pd.notna(row[name]) and (name, row[name]) != ("method", "dst")]
    parts = [
        str(row[name]) if name in ("method", "setup") else f"{config_key(name) or name}={value_text(row[name])}"
        for name in shown
    ]
    return ", ".join(parts) or "all"


def choices_named(runs: pd.DataFrame, key: str, names: str) -> list[str]:
    """Returns the columns of a comma-separated list of choices.

    Args:
        runs: one row per run.
        key: that the list was given for, for the error message.
        names: config keys or columns.

    Raises:
        UserError: for a name that is no choice.
    """
    valid = ["setup", *choice_columns(runs)]
    columns = [column_name(name.strip()) for name in names.split(",")]
    for name, column in zip(names.split(","), columns, strict=True):
        if column not in valid:
            known = [config_key(choice) or choice for choice in valid]
            raise UserError(f"{key}={names}: {name.strip()}: {unknown(name.strip(), known)}")
    return list(dict.fromkeys(columns))


def result_named(runs: pd.DataFrame, name: str) -> str:
    """Returns the column of a result; raises UserError unless it is numeric and some run has it.

    Args:
        runs: one row per run.
        name: of the result, such as ``val_acc``.
    """
    valid = [
        str(column)
        for column in runs.columns
        if column not in AXES
        and not config_key(str(column))
        and pd.api.types.is_numeric_dtype(runs[column])
        and not pd.api.types.is_bool_dtype(runs[column])
        and runs[column].notna().any()
    ]
    if name not in valid:
        raise UserError(f"by={name}: {unknown(name, valid)}")
    return name


def lower_is_better(result: str) -> bool:
    """Whether less of a result is better: losses, time, memory, FLOPs and sizes; of all others more is better."""
    return bool(_LOWER.search(result))
