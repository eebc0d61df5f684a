"""Reads a run directory into a row: its choices, summary and status."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dst.files.records import MAX_BYTES, read_bytes
from dst.run.choices import flatten, parse_config
from dst.run.layout import CONFIG, FAILURE, METRICS, SUMMARY
from dst.run.outcome import read_failure, read_summary

from .code import code_columns

READ = (SUMMARY, CONFIG, METRICS, FAILURE)
"""The files that determine a row."""


def file_signature(directory: str) -> str:
    """Returns the sizes and modification times of the files that determine the row, to detect changes."""
    parts = []
    for name in READ:
        try:
            stat = os.stat(f"{directory}/{name}")
            parts.append(f"{stat.st_size}:{stat.st_mtime_ns}")
        except OSError:
            parts.append("")
    return " ".join(parts)


def read_run(directory: Path, planned: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Returns the row of a run directory. Damaged files never raise: they give the status ``broken`` and a reason.

    Status is the summary's (``finished``, ``diverged``), or ``failed`` (``failure.json`` says why), ``running``,
    ``unfinished`` (no summary, no training process), ``broken`` (``reason`` says why).

    Args:
        directory: of the run; its name is the run id.
        planned: the config from the sweep's plan, used if ``config.yaml`` cannot be read.
    """
    row: dict[str, Any] = {"run_id": _printable(directory.name), "path": _printable(str(directory)), "reason": None}
    if not directory.is_dir() and os.path.lexists(directory):
        return _choices(planned) | row | {"status": "broken", "reason": "no directory"}
    config, faults = planned, []
    try:
        config = _read_config(directory) or planned
    except (OSError, ValueError) as error:
        faults.append(_error_text(error))
    try:
        outcome = _read_outcome(directory)
    except (OSError, ValueError) as error:
        faults.append(_error_text(error))
    row = _choices(config) | row
    if faults:
        return row | {"status": "broken", "reason": "; ".join(dict.fromkeys(faults))}
    if config is None:
        missing = [name for name in (CONFIG, SUMMARY) if not (directory / name).exists()]
        reason = f"no {' and no '.join(missing)}: no run directory" if missing else "no config.yaml"
        return row | {"status": "broken", "reason": reason}
    if outcome.get("epochs") and not os.path.lexists(directory / METRICS):
        row["reason"] = "metrics.jsonl is missing: no learning curve"
    return row | (outcome or {"status": "running" if _is_running(directory) else "unfinished"})


def summary_columns(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values of a ``summary.json`` as columns."""
    columns = {
        key: json.dumps(value) if isinstance(value, list) else value
        for key, value in summary.items()
        if not isinstance(value, (dict, type(None)))
    }
    versions = {f"version_{name}": str(version) for name, version in (summary.get("versions") or {}).items() if version}
    return _drop_reserved(columns) | versions | code_columns(summary.get("code"))


def _read_outcome(directory: Path) -> dict[str, Any]:
    """Returns the columns of ``summary.json`` or ``failure.json``; empty if there is neither."""
    summary = read_summary(directory)
    if summary is not None:
        return summary_columns(summary)
    failure = read_failure(directory)
    return {} if failure is None else {"status": "failed", "reason": _one_line(failure["error"])}


def _choices(config: Mapping[str, Any] | None) -> dict[str, Any]:
    return _drop_reserved(flatten(config)) if config else {}


def _drop_reserved(columns: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in columns.items() if name not in ("run_id", "path", "reason", "command")}


def _read_config(directory: Path) -> dict[str, Any] | None:
    content = read_bytes(directory / CONFIG, MAX_BYTES)
    try:
        return None if content is None else parse_config(content.decode())
    except ValueError as error:
        raise ValueError(f"config.yaml cannot be read ({' '.join(str(error).split())})") from error


def _error_text(error: Exception) -> str:
    return f"{Path(error.filename).name}: {error.strerror}" if isinstance(error, OSError) else str(error)


def _printable(name: str) -> str:
    """Returns a file name on one line, with unprintable characters escaped."""
    return name if name.isprintable() else ascii(name)[1:-1]


def _is_running(directory: Path) -> bool:
    from dst.files.lock import holder

    return holder(directory, clock=time.time)[1]


def _one_line(text: Any) -> str:
    lines = str(text).strip().splitlines()
    return lines[-1][:300] if lines else "no message"
