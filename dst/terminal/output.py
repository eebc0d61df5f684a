"""What a person at the terminal reads of a run."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

from dst.config import Config, run_id
from dst.run.layout import run_dir
from dst.training.device import choose_device


def announce(config: Config) -> None:
    """Says which run this is and lets the warnings of the package through to stderr."""
    log = logging.getLogger("dst")
    if not log.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(message)s"))
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        log.propagate = False
    recipe = config.recipe
    print(f"run {run_id(config)}: {describe(config)}")
    print(
        f"{recipe.epochs} epochs of batches of {recipe.batch_size}, {recipe.optimizer} with lr {recipe.lr:g}, "
        f"{config.precision} on {choose_device(config.device)}",
        flush=True,
    )


def describe(config: Config) -> str:
    """Returns the run in words: model, dataset, method, density, seed."""
    if config.method == "dense":
        method = "dense"
    elif config.method == "static":
        method = f"static, density {config.density.value:g}"
    else:
        method = (
            f"{config.criterion['name']} pruning, {config.growth['name']} growth, density {config.density.value:g}, "
            f"Δt {config.update_period.steps}"
        )
    return f"{config.model['name']} on {config.dataset.name}, {method}, seed {config.seed}"


def report(config: Config, summary: dict[str, Any]) -> None:
    """Says how a finished run ended and where its results are."""
    path = run_dir(Path(config.output_dir).absolute(), summary["run_id"])
    if summary["status"] == "diverged":
        print(f"diverged in epoch {summary['epochs']}: the loss is no finite number any more")
    print(
        f"test accuracy {summary['test_acc']:.4f} (last weights), {summary['test_acc_best_val']:.4f} "
        f"(best validation epoch, {summary['best_epoch']})"
    )
    if config.method != "dense":
        print(
            f"density {summary['density_actual']:.4f}, {summary['parameters_active']:,} of "
            f"{summary['parameters_sparsifiable']:,} weights; {summary['topology_updates']} topology updates, "
            f"ITOP ratio {summary['itop_ratio']:.3f}"
        )
    print(f"{summary['duration_s']:.1f} s on {summary['device']}, {summary['steps_per_s']:.0f} steps/s")
    print(f"results in {path}")
