"""One run directory as one row: its choices, its summary, its status."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analysis.choices import flatten, parse_config
from analysis.code import code_columns
from analysis.frames import DONE

READ = ("summary.json", "config.yaml", "metrics.jsonl", "failure.json")
"""The files a row depends on."""


def signature(directory: str) -> str:
    """Returns what changes whenever a file that the row depends on does: their sizes and times."""
    parts = []
    for name in READ:
        try:
            stat = os.stat(f"{directory}/{name}")
            parts.append(f"{stat.st_size}:{stat.st_mtime_ns}")
        except OSError:
            parts.append("")
    return " ".join(parts)


def read_run(directory: Path, planned: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Returns the row of a run directory. Never raises for what is in it: that becomes ``status`` and ``reason``.

    Status is the summary's (``finished``, ``diverged``), or ``failed`` (``failure.json`` says why), ``running``,
    ``unfinished`` (no summary, nobody at work), ``broken`` (``reason`` says why).

    Args:
        directory: of the run; its name is the run's id.
        planned: the run's config according to its plan, in case its own cannot be read.
    """
    row: dict[str, Any] = {"run_id": directory.name, "path": str(directory), "status": "broken", "reason": None}
    try:
        config = _read_config(directory) or planned
        summary = _read_json(directory / "summary.json")
        failure = _read_json(directory / "failure.json")
    except (OSError, ValueError) as error:
        return row | _choices(planned) | {"reason": str(error)}
    if config is None:
        missing = [name for name in ("config.yaml", "summary.json") if not (directory / name).exists()]
        return row | {"reason": f"no {' and no '.join(missing)}: no run directory" if missing else "no config.yaml"}
    row |= _choices(config)
    if summary is not None:
        row |= summary_columns(summary, directory.name)
        if row["reason"] is None and row.get("epochs") and not (directory / "metrics.jsonl").exists():
            row["reason"] = "metrics.jsonl is missing: no learning curve"
        return row
    if failure is not None:
        return row | {"status": "failed", "reason": _one_line(failure.get("error", "failure.json does not say why"))}
    return row | {"status": "running" if _at_work(directory) else "unfinished"}


def summary_columns(summary: Mapping[str, Any], run_id: str) -> dict[str, Any]:
    """Returns a summary's figures as columns, or the ``reason`` why it is not that of a finished run ``run_id``."""
    if summary.get("status") not in DONE:
        return {"reason": f"summary.json: status is {summary.get('status')!r}, not one of {', '.join(DONE)}"}
    if summary.get("run_id") != run_id:
        return {"reason": f"summary.json is that of run {summary.get('run_id')}, not of {run_id}"}
    if not isinstance(summary.get("test_acc"), (int, float)) and summary["status"] == "finished":
        return {"reason": "summary.json: finished, but without test_acc"}
    versions = dict(summary.get("versions") or {})
    columns = {key: value for key, value in summary.items() if not isinstance(value, (dict, list, type(None)))}
    versions = {f"version_{name}": version for name, version in versions.items()}
    return columns | versions | code_columns(summary.get("code"))


def _choices(config: Mapping[str, Any] | None) -> dict[str, Any]:
    return flatten(config) if config else {}


def _read_config(directory: Path) -> dict[str, Any] | None:
    try:
        return parse_config((directory / "config.yaml").read_text())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(f"config.yaml cannot be read ({error})") from error


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(f"{path.name} cannot be read ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} cannot be read (no JSON object)")
    return content


def _at_work(directory: Path) -> bool:
    from dst.claim import holder

    return holder(directory, clock=time.time)[1]


def _one_line(text: Any) -> str:
    lines = str(text).strip().splitlines()
    return lines[-1][:300] if lines else "no message"
