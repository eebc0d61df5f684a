"""Time of a training step against the bare forward, backward and optimizer step."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from dst.models import build_model
from dst.sparsity import make_criterion, make_growth
from dst.tasks import Classification
from dst.training.loop import Training
from tests.benchmarks.setups import Setup, floor, make_loop, methods

CRITERIA = ("magnitude", "set", "mest", "snip", "sensitivity", "rsensitivity", "random")
GROWTHS = ("random", "gradient")


def seconds(advance: Callable[[], None], device: torch.device) -> float:
    """Returns the duration of ``advance`` in seconds; synchronises the device before and after."""
    _wait(device)
    began = time.perf_counter()
    advance()
    _wait(device)
    return time.perf_counter() - began


def measure_setup(setup: Setup, device: torch.device, rounds: int, budget_s: float) -> dict[str, Any]:
    """Returns the median step time in ms of the floor and of every method, measured alternately, and their ratios.

    If 100 steps fit into ``budget_s``, the measured loop includes topology updates; for slower setups, the time of one
    update divided by Δt is added to the static step.
    """
    trial = floor(setup, device, 3)
    trial()
    steps = max(2, min(400, int(budget_s / (seconds(trial, device) / 3)) // 100 * 100 or 4))
    built = {method: make_loop(setup, method, device, steps) for method in methods(device)}
    advances = {"floor": floor(setup, device, steps), **{method: advance for method, (advance, _) in built.items()}}
    for advance in advances.values():
        advance()
    times: dict[str, list[float]] = {name: [] for name in advances}
    for number in range(rounds):
        names = list(advances)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            times[name].append(1e3 * seconds(advances[name], device) / steps)
    training = built["dst Δt=100"][1]
    update_ms = _update_ms(training, device, rounds=max(3, rounds))
    ratios = {
        name: statistics.median(a / b for a, b in zip(values, times["floor"], strict=True))
        for name, values in times.items()
    }
    step_ms = {name: statistics.median(values) for name, values in times.items()}
    if steps < 100:
        for method, period in (("dst Δt=800", 800), ("dst Δt=100", 100)):
            step_ms[method] = step_ms["static"] + update_ms / period
            ratios[method] = ratios["static"] + update_ms / period / step_ms["floor"]
    return {
        "setup": setup.name,
        "steps_per_round": steps,
        "step_ms": step_ms,
        "ratio_to_floor": ratios,
        "update_ms": update_ms,
        "state_mb": _state_mb(training),
        "activations_mb": activations_mb(setup),
        "peak_mb": torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else None,
    }


def activations_mb(setup: Setup) -> float:
    """Returns the MiB of a step's saved activations at fp32, computed on the meta device; half at bf16 and fp16."""
    config = setup.config()
    model = build_model(config.model, input_shape=setup.shape, num_classes=setup.classes, seed=1, dataset=setup.dataset)
    model = model.to("meta").train()
    weights = {weight.untyped_storage()._cdata for weight in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        batch = torch.empty(config.recipe.batch_size, *setup.shape, device="meta")
        Classification().loss(model(batch), torch.zeros(len(batch), dtype=torch.int64, device="meta"))
    return sum(tensor.untyped_storage().nbytes() for key, tensor in kept.items() if key not in weights) / 2**20


def measure_updates(setup: Setup, device: torch.device, rounds: int) -> list[dict[str, Any]]:
    """Returns the time of one topology update in ms, per criterion and growth, at density 0.1."""
    advance, training = make_loop(setup, "dst Δt=100", device, 3)
    advance()
    assert training.sparsity
    rows = []
    for criterion in CRITERIA:
        row: dict[str, Any] = {"criterion": criterion}
        for growth in GROWTHS:
            training.sparsity.criterion, training.sparsity.growth = make_criterion(criterion), make_growth(growth)
            row[growth] = _update_ms(training, device, rounds)
        rows.append(row)
    return rows


def _update_ms(training: Training, device: torch.device, rounds: int) -> float:
    assert training.sparsity
    training.sparsity.update()
    return 1e3 * statistics.median(seconds(training.sparsity.update, device) for _ in range(rounds))


def _state_mb(training: Training) -> float:
    """Returns the bytes of weights, gradients, optimizer state and masks, in MiB."""
    tensors: list[Any] = [tensor for weight in training.model.parameters() for tensor in (weight, weight.grad)]
    tensors += [value for state in training.optimizer.state.values() for value in state.values()]
    tensors += [tensor for layer in training.sparsity.layers for tensor in vars(layer).values()]  # type: ignore[union-attr]
    own = {
        tensor.data_ptr(): tensor.numel() * tensor.element_size()
        for tensor in tensors
        if isinstance(tensor, torch.Tensor)
    }
    return sum(own.values()) / 2**20


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
