"""What a training led to, for comparison with another one bit for bit."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor

from dst.attempt import Stopped
from dst.train import run
from dst.training.checkpoint import training_state
from dst.training.loop import Training

MEASURED = ("duration_s", "steps_per_s", "gpu_utilization")
"""What a summary says of the machine's speed, which differs between equal runs."""


def run_outcome(folder: Path) -> dict[str, Any]:
    """Everything a run leaves that is no time."""
    summary = json.loads((folder / "summary.json").read_text())
    epochs = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    topology = folder / "topology.jsonl"
    return {
        "summary": {key: value for key, value in summary.items() if key not in MEASURED},
        "epochs": [{key: value for key, value in epoch.items() if key != "epoch_s"} for epoch in epochs],
        "topology": topology.read_text() if topology.exists() else "",
        "phases": (folder / "phases.jsonl").read_text(),
        "masks": (folder / "masks.pt").read_bytes(),
        "snapshots": {path.name: path.read_bytes() for path in (folder / "snapshots").glob("*")},
        "weights": {
            name: weight.tolist()
            for name, weight in torch.load(folder / "checkpoint.pt", map_location="cpu")["training"]["model"].items()
        },
    }  # fmt: skip


def outcomes(output_dir: Path) -> dict[str, dict[str, Any]]:
    """What each run in an output folder led to, by run id."""
    return {folder.name: run_outcome(folder) for folder in (output_dir / "runs").iterdir()}


def run_with_stops(cfg: DictConfig, *steps: int) -> dict[str, Any]:
    """Trains a run that is stopped after so many steps, goes on for as many as the next number says, and so on.

    Args:
        cfg: of the run.
        steps: of each attempt but the last.
    """
    for number in steps:
        asked = itertools.count()
        with pytest.raises(Stopped):
            run(cfg, should_stop=lambda asked=asked, number=number: next(asked) >= number)  # type: ignore[misc]
    return run(cfg)


def training_outcome(of: Training) -> dict[str, Any]:
    state = training_state(of)
    epochs = {key: value for key, value in state["last"].items() if key != "epoch_s"}
    updates = of.sparsity.pop_updates()
    return {**state, "last": epochs, "best": None, "updates": updates}


def assert_equal(found: Any, wanted: Any, where: str = "") -> None:
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys(), where
        for key in wanted:
            assert_equal(found[key], wanted[key], f"{where}/{key}")
    elif isinstance(wanted, Tensor):
        assert torch.equal(found, wanted), where
    else:
        assert found == wanted, where
