"""What a person at the terminal reads of a run."""

from __future__ import annotations

import logging
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dst.config import Config, run_id
from dst.config.identity import PARENT_WEIGHTS, groups_of
from dst.procedures import planned_phases
from dst.run.layout import run_dir
from dst.training.device import choose_device


def announce(config: Config) -> None:
    """Prints which run this is and sends the package's log to stderr."""
    log = logging.getLogger("dst")
    if not log.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(message)s"))
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        log.propagate = False
    recipe, phases = config.recipe, planned_phases(asdict(config))
    epochs = f"{sum(phase.epochs for phase in phases)} epochs{f' in {len(phases)} phases' if len(phases) > 1 else ''}"
    if config.procedure.get("cycles") == "auto":
        epochs = f"up to {epochs}"
    print(f"run {run_id(config)}: {describe(config)}")
    print(
        f"{epochs} of batches of {recipe.batch_size}, {recipe.optimizer} with lr {recipe.lr:g}, "
        f"{config.precision} on {choose_device(config.device)}",
        flush=True,
    )


def describe(config: Config) -> str:
    """Returns the run in words: model, dataset, method, density, seed."""
    density, period = config.density.value, config.update_period.steps
    method = {
        "dense": "dense",
        "static": f"static, density {density}",
        "dst": f"{config.criterion['name']} pruning, {config.growth['name']} growth, density {density}, Δt {period}",
        "gradual": f"gradual {config.criterion['name']} pruning to density {density}, Δt {period}",
        "iterative": f"{config.criterion['name']} pruning to density {density}",
        "sculpt": f"{config.criterion['name']} pruning to density {density}",
    }[config.method]
    if config.procedure["name"] not in ("dst", "gradual"):
        method = f"{config.procedure['name']}, {method}"
    start = {"weight_init": config.weight_init.name}
    if "initial_mask" in groups_of(config.method):
        start = {"initial_mask": config.initial_mask.name, **start}
    method += "".join(f", {group}={name}" for group, name in start.items() if name not in ("random", "default"))
    if config.parent_id:
        weights = config.weight_init
        at = f" at step {weights.step}" if weights.name in PARENT_WEIGHTS and weights.step != "last" else ""
        method += f" (run {config.parent_id}{at})"
    return f"{config.model['name']} on {config.dataset.name}, {method}, seed {config.seed}"


def report(config: Config, summary: dict[str, Any]) -> None:
    """Prints how a finished run ended and where its results are.

    Args:
        config: of the run.
        summary: content of ``summary.json``.
    """
    path = run_dir(Path(config.output_dir).absolute(), summary["run_id"])
    if summary["status"] == "diverged":
        print(f"diverged in epoch {summary['epochs']}: the loss is no finite number any more")
    print(
        f"test accuracy {summary['test_acc']:.4f} (last weights), {summary['test_acc_best_val']:.4f} "
        f"(best validation epoch, {summary['best_epoch']})"
    )
    if config.method != "dense":
        updates = "prunings" if config.method in ("gradual", "iterative", "sculpt") else "topology updates"
        print(
            f"density {summary['density_actual']:.4f}, {summary['parameters_active']:,} of "
            f"{summary['parameters_sparsifiable']:,} weights; {summary['topology_updates']} {updates}, "
            f"ITOP ratio {summary['itop_ratio']:.3f}"
        )
    print(f"{summary['duration_s']:.1f} s on {summary['device']}, {summary['steps_per_s']:.0f} steps/s")
    print(f"results in {path}")
