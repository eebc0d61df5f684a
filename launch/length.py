"""Number of optimizer steps of a run, as far as it is known before the data is loaded."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dst.config.identity import method_of
from dst.procedures import planned_phases
from dst.run.plan import PlannedRun


def without_updates(runs: Iterable[PlannedRun]) -> list[PlannedRun]:
    """Returns the dynamic runs whose update period exceeds their training, so that their masks never change."""
    samples = TrainSamples()
    return [run for run in runs if _never_updates(run.config, samples)]


def period_warning(runs: Iterable[PlannedRun]) -> str:
    """Returns a one-line warning about the runs of :func:`without_updates`, empty if there are none."""
    found = without_updates(runs)
    if not found:
        return ""
    periods = ", ".join(map(str, sorted({run.config["update_period"]["steps"] for run in found})))
    return (
        f"warning: {len(found)} runs make no topology update, they are static: update_period {periods} is longer than "
        f"their training; such as {found[0].command}\n"
    )


def _never_updates(config: Mapping[str, Any], samples: TrainSamples) -> bool:
    period, longest = config["update_period"]["steps"], max(phase.epochs for phase in planned_phases(config))
    if method_of(config) != "dst" or not longest:
        return False
    if (count := samples(config)) is None:
        return False
    steps = math.ceil(count / config["recipe"]["batch_size"])
    return bool(period >= round(config["prune_fraction"]["stop_at"] * longest * steps, 6))


class TrainSamples:
    """Counts training samples, without those for validation."""

    def __init__(self) -> None:
        self._sizes: dict[tuple[str, str, str], int | None] = {}

    def __call__(self, config: Mapping[str, Any]) -> int | None:
        """Returns the number of a config; None if its data set is neither decoded yet nor of known size."""
        from dst.data.split import validation_count

        dataset = config["dataset"]
        key = (config["data_dir"], dataset["name"], dataset["source"])
        if key not in self._sizes:
            self._sizes[key] = _train_size(*key)
        size = self._sizes[key]
        return None if size is None else size - validation_count(dataset["val_size"], size)


def _train_size(data_dir: str, name: str, source: str) -> int | None:
    from dst.data.sources import TRAIN_SIZES

    try:
        return len(np.load(Path(data_dir) / name / "train_y.npy", mmap_mode="r"))
    except (OSError, ValueError):  # not decoded yet
        return TRAIN_SIZES.get(source)
