"""Seconds per epoch and runs per GPU of each setup: from finished runs, otherwise from ``conf/timing.yaml``."""

from __future__ import annotations

import logging
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dst.config.tree import CONF_DIR
from dst.files.atomic import atomic_file
from dst.files.records import NUMBER, Damaged, keep_aside, read_yaml, shown
from dst.procedures import planned_epochs
from dst.run.plan import PlannedRun

log = logging.getLogger("dst")

_DEFAULT_EPOCH_S = 10.0
"""Seconds per epoch assumed for packing if a setup was never timed."""
_FILL = 0.9
"""Share of a GPU's memory that runs may take together."""
_CONTEXT_MB = 800
"""What a process takes on a GPU besides tensors: CUDA's context, libraries, fragmentation."""


@dataclass(frozen=True)
class Timing:
    """Seconds per epoch, number of runs per GPU with the best throughput, and the number that fit, by setup."""

    table: Mapping[str, Mapping[str, float]]

    @classmethod
    def read(cls, output_dir: Path) -> Timing:
        """Reads ``conf/timing.yaml``, overridden by the measurements in ``<output_dir>/timing.yaml``."""
        table: dict[str, dict[str, float]] = {}
        for path in (CONF_DIR / "timing.yaml", output_dir / "timing.yaml"):
            for setup, entry in _read(path).items():
                table[setup] = table.get(setup, {}) | entry
        return cls(table)

    def seconds(self, run: PlannedRun) -> float | None:
        """Returns the seconds that the run takes alone on a GPU; None if its setup was never timed."""
        entry = self.table.get(run.setup)
        return (
            None if entry is None or "epoch_s" not in entry else entry["epoch_s"] * max(1, planned_epochs(run.config))
        )

    def estimated_seconds(self, run: PlannedRun) -> float:
        """Returns :meth:`seconds`, or an estimate for a setup that was never timed."""
        known = self.seconds(run)
        return _DEFAULT_EPOCH_S * max(1, planned_epochs(run.config)) if known is None else known

    def runs_per_gpu(self, setup: str) -> int:
        """Returns how many runs of the setup share a GPU, as far as its memory goes; 1 if unknown."""
        entry = self.table.get(setup, {})
        return max(1, int(min(entry.get("runs_per_gpu", 1), entry.get("fit_per_gpu", math.inf))))


def measure(summaries: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Returns each setup's median seconds per epoch, of one process, and how many of its runs fit on a GPU.

    Summaries without a duration are ignored, and so is memory where a summary has none, as on a CPU.
    """
    seconds: dict[str, list[float]] = defaultdict(list)
    fits: dict[str, list[int]] = defaultdict(list)
    for summary in summaries:
        if summary.get("epochs") and summary.get("duration_s") and summary.get("processes", 1) == 1:
            setup = f"{summary.get('model')}/{summary.get('dataset')}"
            seconds[setup].append(summary["duration_s"] / summary["epochs"])
            if (peak := summary.get("peak_memory_mb")) and (memory := summary.get("gpu_memory_mb")):
                fits[setup].append(int(_FILL * memory / (peak + _CONTEXT_MB)))
    table: dict[str, dict[str, float]] = {}
    for setup, values in sorted(seconds.items()):
        table[setup] = {"epoch_s": round(statistics.median(values), 4)}
        if setup in fits:
            table[setup]["fit_per_gpu"] = max(1, min(fits[setup]))
    return table


def write_timing(table: Mapping[str, Mapping[str, float]], output_dir: Path) -> Path:
    """Updates ``<output_dir>/timing.yaml``, whose other entries stay, and returns its path.

    Args:
        table: ``epoch_s`` (seconds per epoch), ``runs_per_gpu`` and ``fit_per_gpu``, by setup; each may be absent.
        output_dir: where the runs are stored.
    """
    path = output_dir / "timing.yaml"
    try:
        before = _parsed(path)
    except Damaged:
        before = {}
        keep_aside(path)
    merged = {**before, **{setup: {**before.get(setup, {}), **entry} for setup, entry in table.items()}}
    with atomic_file(path) as file:
        file.write(yaml.safe_dump(merged, sort_keys=False).encode())
    return path


def _read(path: Path) -> dict[str, dict[str, float]]:
    """Returns the entries of a table, none if there is no file; logs a warning if it is damaged."""
    try:
        return _parsed(path)
    except Damaged as error:
        log.warning("%s: passed over: %s", path.parent, error)
        return {}


def _parsed(path: Path) -> dict[str, dict[str, float]]:
    table = read_yaml(path) or {}
    for setup, entry in table.items():
        if not isinstance(entry, dict) or not all(
            type(value) in NUMBER and 0 < value < math.inf for value in entry.values()
        ):
            raise Damaged(f"{path.name}: {setup} is {shown(entry)}, not of the form {{epoch_s: 1.5, runs_per_gpu: 4}}")
    return table
