"""What runs cost: measured where runs have finished, estimated from ``conf/timing.yaml`` elsewhere."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from dst.atomic import atomic_file
from dst.components import CONF_DIR
from launch.plan import PlannedRun

_DEFAULT_EPOCH_S = 10.0
"""Assumed, for packing alone, of a setup nobody has timed."""


@dataclass(frozen=True)
class Timing:
    """What is known of the setups: seconds per epoch and how many trainings share a GPU."""

    table: Mapping[str, Mapping[str, float]]

    @classmethod
    def read(cls, output_dir: Path) -> Timing:
        """Reads the shipped table and, over it, what ``python -m launch timing`` measured."""
        table: dict[str, dict[str, float]] = {}
        for path in (CONF_DIR / "timing.yaml", output_dir / "timing.yaml"):
            if path.exists():
                for setup, entry in OmegaConf.to_container(OmegaConf.load(path)).items():  # type: ignore[union-attr]
                    table[str(setup)] = table.get(str(setup), {}) | dict(entry)
        return cls(table)

    def seconds(self, run: PlannedRun) -> float | None:
        """Returns what the run takes alone on a GPU; None if nobody has timed its setup."""
        entry = self.table.get(run.setup)
        return None if entry is None else entry["epoch_s"] * max(1, run.config["recipe"]["epochs"])

    def seconds_or_guess(self, run: PlannedRun) -> float:
        """Returns :meth:`seconds`, or a guess to pack by."""
        known = self.seconds(run)
        return _DEFAULT_EPOCH_S * max(1, run.config["recipe"]["epochs"]) if known is None else known

    def runs_per_gpu(self, setup: str) -> int:
        """Returns how many trainings of the setup share a GPU; 1 if nobody has said."""
        return int(self.table.get(setup, {}).get("runs_per_gpu", 1))


def measure(summaries: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Returns the median seconds per epoch of each setup among finished runs."""
    seconds: dict[str, list[float]] = defaultdict(list)
    for summary in summaries:
        if summary["epochs"]:
            seconds[f"{summary['model']}/{summary['dataset']}"].append(summary["duration_s"] / summary["epochs"])
    return {setup: {"epoch_s": round(statistics.median(values), 4)} for setup, values in sorted(seconds.items())}


def write(table: Mapping[str, Mapping[str, float]], output_dir: Path) -> Path:
    """Writes ``table`` over what ``<output_dir>/timing.yaml`` says and returns its path."""
    path = output_dir / "timing.yaml"
    before = OmegaConf.load(path) if path.exists() else OmegaConf.create()
    with atomic_file(path) as file:
        file.write(OmegaConf.to_yaml(OmegaConf.merge(before, dict(table))).encode())
    return path
