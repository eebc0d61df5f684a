"""Overhead of a run besides its steps: start-up, checkpoints, the tracker."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RUN = ("dataset=digits", "model=small_mlp", "update_period=dt25", "device=cpu")


def measure_run_overhead(rounds: int) -> dict[str, Any]:
    """Returns the median wall time in seconds of whole processes, from ``import torch`` to 200 epochs per tracker."""
    with tempfile.TemporaryDirectory() as folder:
        _train(folder, "recipe.epochs=0", "tracker=local")  # prepares the data
        times: dict[str, list[float]] = {}
        for number in range(rounds):
            cases = {
                "import torch": lambda: _python("-c", "import torch"),
                "start to end, no epochs": lambda n=number: _train(
                    folder, "recipe.epochs=0", "tracker=local", f"seed={n + 2}"
                ),
                "200 epochs, local": lambda n=number: _train(folder, "recipe.epochs=200", "tracker=local", f"seed={n}"),
                "200 epochs, W&B offline": lambda n=number: _train(
                    folder, "recipe.epochs=200", "tracker=wandb", "tracker.mode=offline", f"seed={n + 100}"
                ),
                "200 epochs, a checkpoint each": lambda n=number: _train(
                    folder, "recipe.epochs=200", "tracker=local", "checkpoint.minutes=0", f"seed={n + 200}"
                ),
            }  # fmt: skip
            for name, case in cases.items():
                began = time.perf_counter()
                case()
                times.setdefault(name, []).append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in times.items()}


def _train(folder: str, *overrides: str) -> None:
    _python("-m", "dst.train", *RUN, f"data_dir={folder}/data", f"output_dir={folder}/outputs", *overrides)


def _python(*arguments: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environment, check=True, capture_output=True)
