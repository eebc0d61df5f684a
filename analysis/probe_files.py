"""Reads the logs of a probe, ``probes/<name>.jsonl`` in the run directories, into a data frame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from dst.errors import UserError
from dst.files.records import INTEGER, read_lines
from dst.run.layout import PROBES, probe_log

_FIRST = ("run_id", "step", "epoch", "layer")


def probe_frame(name: str, directories: Mapping[str, Path]) -> pd.DataFrame:
    """Returns one row per run, measured step and layer; ``layer`` is empty for the whole network.

    Damaged lines are passed over with a warning; runs without the probe have no rows.

    Args:
        name: of the probe.
        directories: the run directories by run id.

    Raises:
        UserError: if no run has the probe; names those that there are.
    """
    logs = {run_id: folder / probe_log(name) for run_id, folder in directories.items()}
    logs = {run_id: path for run_id, path in logs.items() if path.exists()}
    if not logs:
        found = sorted({path.stem for folder in directories.values() for path in folder.glob(probe_log("*"))})
        there = f"there are {', '.join(found)}" if found else f"none has any; train with {PROBES}=[{name}]"
        raise UserError(f"none of {len(directories)} runs has the probe {name}; {there}")
    rows = [row for run_id, path in logs.items() for line in _lines(path) for row in _rows(run_id, line)]
    frame = pd.DataFrame(rows, columns=None if rows else list(_FIRST))
    return frame[[*_FIRST, *(column for column in frame.columns if column not in _FIRST)]]


def _lines(path: Path) -> list[dict[str, Any]]:
    lines = read_lines(path, {"step": INTEGER, "epoch": INTEGER})
    return [line for line in lines if _has_layers(line.get("layers", {}))]


def _has_layers(layers: Any) -> bool:
    return isinstance(layers, dict) and all(isinstance(measures, dict) for measures in layers.values())


def _rows(run_id: str, line: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    about = {"run_id": run_id, "step": line["step"], "epoch": line["epoch"]}
    layers = {"": {key: value for key, value in line.items() if key != "layers"}, **line.get("layers", {})}
    for layer, measures in layers.items():
        yield {**measures, **about, "layer": layer}
