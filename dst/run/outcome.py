"""How a run ended: the one reader of ``summary.json`` and ``failure.json``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dst.files.records import NULL, NUMBER, OBJECT, TEXT, Damaged, read_object, shown

DONE = ("finished", "diverged")
"""The statuses of a run that has results. A diverged run counts with the accuracy it ended with."""

_ACCURACIES = ("test_acc", "test_acc_best_val", "val_acc", "best_val_acc")
_NUMBERS = (
    *("train_loss", "val_loss", "density", "density_actual", "itop_ratio", "duration_s", "steps_per_s"),
    *("update_period", "seed", "epochs", "best_epoch", "topology_updates"),
    *("parameters_total", "parameters_sparsifiable", "parameters_active"),
)
_TEXTS = ("model", "dataset", "criterion", "growth", "device", "method", "data_fingerprint")
_TYPES = dict.fromkeys((*_ACCURACIES, *_NUMBERS), NUMBER) | dict.fromkeys(_TEXTS, TEXT) | {"versions": OBJECT}

FAILURE = {"error": TEXT, "where": TEXT + NULL, "time": NUMBER + NULL}
"""What ``failure.json`` and a line of ``problems.jsonl`` say."""


def read_summary(run_dir: Path) -> dict[str, Any] | None:
    """Returns the summary of a finished run, None if there is none: this alone decides what is finished.

    Raises:
        Damaged: if ``summary.json`` is not the summary of a finished run of this id. The run counts as unfinished.
        OSError: if the file system refuses it.
    """
    summary = read_object(run_dir / "summary.json")
    if summary is not None and (fault := summary_fault(summary, run_dir.name)):
        raise Damaged(f"summary.json{fault}")
    return summary


def read_failure(run_dir: Path) -> dict[str, Any] | None:
    """Returns why the run failed, None if it did not; raises as :func:`read_summary` does."""
    return read_object(run_dir / "failure.json", FAILURE)


def summary_fault(summary: Mapping[str, Any], run_id: str) -> str:
    """Returns why ``summary`` is not that of finished run ``run_id``, as the rest of a sentence; empty if it is."""
    status = summary.get("status")
    if status not in DONE:
        return f": status is {shown(status)}, not one of {', '.join(DONE)}"
    if summary.get("run_id") != run_id:
        return f" is that of run {summary.get('run_id')!s:.40}, not of {run_id}"
    if status == "finished" and summary.get("test_acc") is None:
        return ": finished, but without test_acc"
    for key, types in _TYPES.items():
        if type(summary.get(key)) not in (*types, *NULL):
            return f": {key} is {shown(summary[key])}, not of type {' or '.join(kind.__name__ for kind in types)}"
    for key, value in summary.items():
        if isinstance(value, float) and not math.isfinite(value):
            return f": {key} is {value}"
    for key in _ACCURACIES:
        if not 0 <= (summary.get(key) or 0) <= 1:
            return f": {key} is {summary[key]}, not between 0 and 1"
    return ""
