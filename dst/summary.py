"""What ``summary.json`` says of a run: its choices, its size, what it cost, where and by which code it was trained."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from typing import Any

import torch

from dst import __version__, ranks
from dst.config import Config
from dst.config.identity import groups_of
from dst.training.device import device_name, gpu_memory_mb, peak_memory_mb
from dst.training.flops import count_forward, density_history, training_flops
from dst.training.loop import Training
from dst.training.update_gradient import samples_beside


def facts(config: Config, training: Training, updates: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Returns what a summary says besides accuracies, times and the run's id.

    Args:
        config: of the run.
        training: at its end.
        updates: the lines of ``topology.jsonl``.
    """
    parameters, sparse = list(training.model.parameters()), set(training.weights.values())
    sparsifiable = sum(weight.numel() for weight in sparse)
    density, effective = training.sparsity.density, groups_of(config.method)
    flops_inference, flops_training = flops(config, training, updates)
    begun = training.phases[: training.phase + 1]  # more are planned where the run diverged
    return {
        "model": config.model["name"],
        "dataset": config.dataset.name,
        "criterion": config.criterion["name"] if "criterion" in effective else None,
        "growth": config.growth["name"] if "growth" in effective else None,
        "density": 1.0 if config.density.value is None else config.density.value,
        "update_period": config.update_period.steps if "update_period" in effective else None,
        "seed": config.seed,
        "epochs": training.epoch,
        "phases": len(begun),
        "cycles": len([phase for phase in begun if phase.epochs and phase.name.startswith("cycle ")]) or None,
        "parameters_total": sum(parameter.numel() for parameter in parameters),
        "parameters_sparsifiable": sparsifiable,
        "parameters_active": round(density * sparsifiable),
        "dense_parameters": sum(weight.numel() for weight in parameters if weight.dim() >= 2 and weight not in sparse),
        "density_actual": density,
        "flops_inference": flops_inference,
        "flops_training": flops_training,
        "itop_ratio": training.sparsity.itop_ratio(),
        "device": device_name(training.device),
        "versions": {
            "dst": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "cuda": torch.version.cuda if training.device.type == "cuda" else None,
        },
        "method": config.method,
        "procedure": config.procedure["name"],
        "parent": config.parent_id,
        "processes": ranks.size(),
        "peak_memory_mb": peak_memory_mb(training.device),
        "gpu_memory_mb": gpu_memory_mb(training.device),
        "dead_layers": training.dead_layers,
        "best_epoch": training.best.epoch,
        "data_fingerprint": training.data.fingerprint,
    }


def flops(config: Config, training: Training, updates: Sequence[dict[str, Any]]) -> tuple[float, float]:
    """Returns the operations of inference, for one sample at the masks of now, and of the training so far.

    Args:
        config: of the run.
        training: at any step.
        updates: the lines of ``topology.jsonl`` so far.
    """
    data, sparsity = training.data, training.sparsity
    forward = count_forward(training.model, data.shape)
    history = density_history(sparsity, updates)
    trained = training_flops(
        forward,
        data.train.samples_seen,
        training.step,
        history,
        dense_gradients=sparsity.dense_gradients,
        beside=samples_beside(config, sparsity),
    )
    return forward.at(history[-1][1]), trained
