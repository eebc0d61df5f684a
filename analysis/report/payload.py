"""The data of the report's page: data frames as compact JSON, learning curves as packed numbers."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from dst.run.choices import config_key

from ..cyclic.study import with_parents

POINTS = 60
"""Epochs per run in the report; longer runs are subsampled evenly, including the first and last epoch."""

CURVES = ("epoch", "train_loss", "val_loss", "train_acc", "val_acc")
_LEVELS = 65534
_DIGITS = 10  # equal differences of accuracies, which are ties to a test of ranks, stay equal
_NONE = 65535

_COLUMNS: list[dict[str, Any]] = [
    {"name": "run_id", "title": "run"},
    {"name": "status", "title": "status", "filter": True},
    {"name": "setup", "title": "setup", "filter": True, "axis": True},
    {"name": "line", "title": "criterion", "filter": True, "axis": True},
    {"name": "growth", "title": "growth", "filter": True, "axis": True},
    {"name": "density", "title": "density", "filter": True, "axis": True, "number": True},
    {"name": "update_period", "title": "Δt", "filter": True, "axis": True, "number": True},
    {"name": "seed", "title": "seed", "filter": True, "number": True},
    {"name": "test_acc", "title": "test acc. %", "number": True, "scale": 100, "digits": 2},
    {"name": "test_acc_best_val", "title": "at best val. %", "number": True, "scale": 100, "digits": 2},
    {"name": "val_acc", "title": "val. acc. %", "number": True, "scale": 100, "digits": 2},
    {"name": "epochs", "title": "epochs", "number": True},
    {"name": "itop_ratio", "title": "ITOP", "number": True, "digits": 3},
    {"name": "duration_s", "title": "minutes", "number": True, "scale": 1 / 60, "digits": 2},
    {"name": "reason", "title": "remark"},
    {"name": "best_val_acc", "title": "best validation accuracy", "number": True, "hidden": True},
    {"name": "cost_flops", "title": "FLOPs with parents", "number": True, "hidden": True},
    {"name": "cost_s", "title": "seconds with parents", "number": True, "hidden": True},
]
"""The columns of the run table; each may be any column of the runs' data frame.

``filter`` has a choice of its values above the column, ``axis`` tells runs apart that are compared, ``hidden`` is
in the CSV file and the charts only.
"""

_ALWAYS = (
    *("run_id", "status", "setup", "line", "growth", "density", "update_period", "seed", "test_acc"),
    *("cost_flops", "cost_s"),
)


def table_columns(runs: pd.DataFrame, varying: Sequence[str]) -> list[dict[str, Any]]:
    """Returns the columns of the run table, without empty ones.

    Args:
        runs: one row per run.
        varying: choices that vary among the runs; each becomes a further column.
    """
    place = 1 + next(index for index, column in enumerate(_COLUMNS) if column["name"] == "update_period")
    further = [
        {"name": name, "title": config_key(name), "filter": True, "axis": True, "number": is_numeric_dtype(runs[name])}
        for name in varying
    ]
    columns = [*_COLUMNS[:place], *further, *_COLUMNS[place:]]
    return [column for column in columns if column["name"] in _ALWAYS or runs[column["name"]].notna().any()]


def with_costs(runs: pd.DataFrame) -> pd.DataFrame:
    """Returns the runs with what they and all their parents took: ``cost_flops`` of training, and ``cost_s``.

    NaN where a run or one of its parents does not say.
    """
    flops = pd.to_numeric(runs.get("flops_training", pd.Series(np.nan, index=runs.index)), errors="coerce")
    own = runs[["run_id"]].assign(phase=1, flops=flops, seconds=runs["duration_s"])
    if own.empty:
        return runs.assign(cost_flops=flops, cost_s=runs["duration_s"])
    total = with_parents(own, runs)
    return runs.assign(cost_flops=total["flops"], cost_s=total["seconds"])


def columnar(frame: pd.DataFrame) -> dict[str, Any]:
    """Encodes a data frame by column: repeated text as ``{names, codes}``, NaN as null."""
    return {str(name): _column(values) for name, values in frame.items()}


def _column(values: pd.Series) -> Any:
    if not is_numeric_dtype(values):
        codes, names = pd.factorize(values)
        if len(names) < len(values) / 2:
            return {"names": [str(name) for name in names], "codes": codes.tolist()}
        return [None if pd.isna(value) else str(value) for value in values]
    return [None if pd.isna(value) else round(value, _DIGITS) for value in values.tolist()]


def pack_curves(run_ids: pd.Series, epochs: pd.DataFrame) -> str:
    """Packs the learning curves into base64-encoded, gzipped, little-endian numbers.

    First, for each run and each of :data:`CURVES`, two float32: the minimum and the maximum. Then, for each,
    :data:`POINTS` uint16: 0 is the minimum, 65534 the maximum, 65535 a missing value.

    Args:
        run_ids: the order of the runs.
        epochs: one row per run and epoch.
    """
    sorted_epochs = epochs.sort_values(["run_id", "epoch"], kind="stable")
    counts = sorted_epochs.groupby("run_id", sort=True).size()
    starts = counts.cumsum() - counts
    count = run_ids.map(counts).fillna(0).to_numpy(int)[:, None]
    start = run_ids.map(starts).fillna(0).to_numpy(int)[:, None]
    steps = np.arange(POINTS)[None, :]
    thinned = np.rint(steps * np.maximum(count - 1, 0) / (POINTS - 1)).astype(int)
    place = np.where(count > POINTS, thinned, steps)
    there = place < count
    ranges, levels = [], []
    for name in CURVES:
        column = np.append(pd.to_numeric(sorted_epochs[name]).to_numpy(float), np.nan)
        values = np.where(there, column[np.where(there, start + place, len(column) - 1)], np.nan)
        low = np.nanmin(values, axis=1, initial=np.inf)
        high = np.nanmax(values, axis=1, initial=-np.inf)
        low, high = (np.where(np.isfinite(bound), bound, 0.0) for bound in (low, high))
        width = np.where(high > low, high - low, 1.0)
        level = np.rint((values - low[:, None]) / width[:, None] * _LEVELS)
        ranges.append(np.stack([low, np.where(high > low, high, low + 1)], axis=1))
        levels.append(np.where(np.isnan(level), _NONE, level))
    packed = np.stack(ranges, axis=1).astype("<f4").tobytes() + np.stack(levels, axis=1).astype("<u2").tobytes()
    return base64.b64encode(gzip.compress(packed, 6)).decode()
