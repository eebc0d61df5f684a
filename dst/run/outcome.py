"""How a run ended: ``summary.json`` of a finished run and ``failure.json`` of a failed one."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dst.files.atomic import atomic_file
from dst.files.records import NULL, NUMBER, OBJECT, TEXT, Damaged, keep_aside, read_object, shown
from dst.run.layout import FAILURE, SUMMARY

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

FAILURE_FIELDS = {"error": TEXT, "where": TEXT + NULL, "time": NUMBER + NULL}
"""What ``failure.json`` and a line of ``problems.jsonl`` say."""


def read_summary(run_dir: Path) -> dict[str, Any] | None:
    """Returns the summary of a finished run, None if there is none: this alone decides what is finished.

    Raises:
        Damaged: if ``summary.json`` is not the summary of a finished run of this id. The run counts as unfinished.
        OSError: if the file system refuses it.
    """
    summary = read_object(run_dir / SUMMARY)
    if summary is not None and (fault := summary_fault(summary, run_dir.name)):
        raise Damaged(f"summary.json{fault}")
    return summary


def read_failure(run_dir: Path) -> dict[str, Any] | None:
    """Returns why the run failed, None if it did not; raises as :func:`read_summary` does."""
    return read_object(run_dir / FAILURE, FAILURE_FIELDS)


def write_failure(run_dir: Path, error: str, where: str) -> None:
    """Writes ``failure.json``.

    Args:
        run_dir: of the run; made if need be.
        error: why it failed, in one line.
        where: host and SLURM job.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    record = {"error": error, "where": where, "time": time.time()}
    with atomic_file(run_dir / FAILURE) as file:
        file.write(json.dumps(record).encode())


def clear_failure(run_dir: Path) -> None:
    """Removes ``failure.json``, so that the run is tried again; a damaged one is kept aside."""
    if not run_dir.is_dir():
        if os.path.lexists(run_dir):
            keep_aside(run_dir)
        return
    try:
        read_failure(run_dir)
    except Damaged:
        keep_aside(run_dir / FAILURE)
    (run_dir / FAILURE).unlink(missing_ok=True)


def summary_fault(summary: Mapping[str, Any], run_id: str) -> str:
    """Returns why a summary is not that of a finished run, as the end of a sentence; empty if it is.

    Args:
        summary: content of ``summary.json``.
        run_id: of the run that it should be of.
    """
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
