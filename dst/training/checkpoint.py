"""The state of a training: what a checkpoint holds, so that it goes on as if it had never stopped."""

from __future__ import annotations

from typing import Any

import torch

from dst import ranks
from dst.training.device import make_scaler
from dst.training.evaluation import Best
from dst.training.loop import Training
from dst.training.optimizer import load_optimizer_state


def training_state(training: Training, *, only_weights: bool = False) -> dict[str, Any]:
    """Returns the state of the training; tensors are shared, not copied. All processes of a run ask for it together.

    Args:
        training: at any step.
        only_weights: leaves the optimizer's state out, which is enough to evaluate but not to go on.
    """
    device = training.device
    training.metrics.collect()
    rng, rng_device = random_state(device)
    return {
        "phase": training.phase,
        "epoch": training.epoch,
        "step": training.step,
        "model": training.model.state_dict(),
        "optimizer": None if only_weights else training.optimizer.state_dict()["state"],
        "scaler": training.scaler.state_dict(),
        "sparsity": training.sparsity.state_dict(),
        "probes": training.observer.state_dict() if training.observer and not only_weights else {},
        "tally": training.metrics.state_dict(),
        "best": training.best.state_dict(),
        "last": training.last,
        "left_out": training.left_out,
        "kept": {} if only_weights else training.kept,
        "dead_layers": training.dead_layers,
        "rng": rng,
        "rng_device": rng_device,
        "other_rngs": ranks.of_all((rng, rng_device))[1:],
    }


def random_state(device: torch.device) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Returns the state of torch's global generators: the CPU's, and a GPU's."""
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def load_training_state(training: Training, state: dict[str, Any]) -> None:
    """Continues from :func:`training_state`.

    Args:
        training: of the same config, at any step.
        state: tensors on any device.

    Raises:
        Exception: of any kind for a state that is none, or of another config; ``training`` is then of no further use.
    """
    if (left_out := state.get("left_out")) and training.left_out is None:
        training.leave_out(*left_out)
    phase = state.get("phase", 0)  # of earlier versions, whose runs had one phase
    if phase != training.phase:
        training.begin_phase(phase)
    training.epoch, training.step = state["epoch"], state["step"]
    training.model.load_state_dict(state["model"])
    if state["optimizer"] is not None:
        load_optimizer_state(training.optimizer, state["optimizer"])
    training.scaler = make_scaler(training.precision, training.device, state["scaler"])
    if training.recorded:
        training.recorded.forget()
    training.sparsity.load_state_dict(state["sparsity"])
    if training.observer:
        training.observer.load_state_dict(state.get("probes", {}))  # which earlier versions did not have
    training.metrics.load_state_dict(state["tally"])
    best = state["best"]  # of earlier versions without density, as their runs kept theirs, and without score
    before = {"density": training.sparsity.density, "score": best["val_acc"]}
    training.best, training.last = Best(**{**before, **best}), state["last"]
    training.kept = {name: tensor.to(training.device) for name, tensor in state.get("kept", {}).items()}
    training.dead_layers = state.get("dead_layers", training.dead_layers)
    if not 0 <= training.step_in_epoch <= len(training.data.train):
        raise ValueError(f"step {training.step} is not in epoch {training.epoch + 1}")
    if not isinstance(training.last, dict):
        raise ValueError("no results of the last epoch")
    if ranks.rank():
        training.metrics.reset()  # the first process has the sums of all
    random = [(state["rng"], state["rng_device"]), *state.get("other_rngs", [])]
    if ranks.rank() < len(random):  # else it was trained by fewer processes, and this one draws anew
        rng, rng_device = random[ranks.rank()]
        torch.set_rng_state(rng)
        if rng_device is not None and training.device.type == "cuda":
            torch.cuda.set_rng_state(rng_device, training.device)
