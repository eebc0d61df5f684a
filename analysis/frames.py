"""The data frame of runs and its columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from dst.run.outcome import DONE

_TEXT = ("run_id", "status", "setup", "model", "dataset", "method", "criterion", "growth")
_FLOAT = ("density", "density_actual", "itop_ratio", "duration_s", "steps_per_s", "prune_fraction_initial", "recipe_lr")
_ACCURACY = ("test_acc", "test_acc_best_val", "val_acc", "best_val_acc", "train_loss", "val_loss")
_PARAMETERS = ("parameters_total", "parameters_sparsifiable", "parameters_active")
_INTEGER = (
    *("update_period", "seed", "epochs", "recipe_epochs", "recipe_batch_size", "topology_updates", "best_epoch"),
    *_PARAMETERS,
)
_FIRST = (
    *("run_id", "status", "setup", "model", "dataset", "method"),
    *("criterion", "growth", "density", "update_period", "seed"),
    *_ACCURACY,
    *("epochs", "best_epoch"),
    *_PARAMETERS,
    *("density_actual", "topology_updates", "itop_ratio", "duration_s", "steps_per_s"),
)
_LAST = ("reason", "path")

RESULT_COLUMNS = (
    *_ACCURACY,
    *_PARAMETERS,
    *("epochs", "best_epoch", "density_actual", "topology_updates", "itop_ratio", "duration_s", "steps_per_s"),
    *("device", "data_fingerprint", "flops_inference", "flops_training"),
)
"""Result columns, in addition to ``version_…``."""


def runs_frame(rows: Sequence[Mapping[str, Any]] | pd.DataFrame) -> pd.DataFrame:
    """Returns one row per run, with typed columns, the most used ones first, sorted by the choices.

    Columns: ``run_id status reason path``, every choice (``setup model dataset method criterion growth density
    update_period seed recipe_lr …``; empty where without effect) and the values of ``summary.json``.
    """
    frame = pd.DataFrame(rows if isinstance(rows, pd.DataFrame) else list(rows))
    for name in (*_FIRST, *_LAST, *_FLOAT, *_INTEGER):
        if name not in frame:
            frame[name] = None
    for name in (*_TEXT, *_LAST):
        frame[name] = frame[name].astype("str").where(frame[name].notna())
    for name in (*_FLOAT, *_ACCURACY):
        frame[name] = pd.to_numeric(frame[name], errors="coerce").astype("float64")
    for name in _INTEGER:
        numbers = pd.to_numeric(frame[name], errors="coerce")
        frame[name] = numbers.where(numbers.abs() < 2.0**63).round().astype("Int64")
    middle = sorted(set(frame.columns) - {*_FIRST, *_LAST})
    for name in middle:
        frame[name] = _as_one_type(frame[name])
    order = ["setup", "method", "growth", "criterion", "density", "update_period", "seed", "run_id"]
    return frame[[*_FIRST, *middle, *_LAST]].sort_values(order, na_position="first").reset_index(drop=True)


def _as_one_type(column: pd.Series) -> pd.Series:
    """Converts a column of mixed types to text, and one of ints and floats to numbers."""
    types = {type(value) for value in column.dropna()} if column.dtype == object else set()
    if types and types <= {int, float}:
        return pd.to_numeric(column)
    return column.map(str, na_action="ignore") if len(types) > 1 else column


def runs_with_results(runs: pd.DataFrame) -> pd.DataFrame:
    """Returns the finished and diverged runs."""
    return runs[runs["status"].isin(DONE)]
