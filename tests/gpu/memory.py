"""Memory of ResNet-50 on ImageNet's shapes at batch size 256; out of memory counts as a result."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from dst.training.device import set_numerics
from tests.benchmarks.setups import SETUPS, Setup, make_training
from tests.benchmarks.steps import seconds
from tests.gpu.cases import Case, capture_warnings, run_case, setups

STEPS = 5


def cases(device: torch.device) -> Iterator[Case]:
    large = next(setup for setup in SETUPS if setup.model == "resnet50")
    setup, batch = (large, 256) if device.type == "cuda" else (setups(device)[-1], 4)
    for precision in ("fp32", "fp16"):
        for graph in ("false", "true"):
            name = f"{setup.model}, batch {batch}, {precision}, cuda_graph={graph}"
            overrides = (f"precision={precision}", f"recipe.batch_size={batch}", f"cuda_graph={graph}")
            case = run_case(name, _case, name, setup, device, overrides)
            if case.told.startswith("out of memory"):
                case.passed = True
            yield case


def _case(name: str, setup: Setup, device: torch.device, overrides: tuple[str, ...]) -> Case:
    config = setup.config("density=d0.1", "update_period=dt100", *overrides, "recipe.epochs=100")
    set_numerics(config.precision, config.deterministic)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with capture_warnings() as told:
        training = make_training(setup, config, device, STEPS)
        training.train_epoch(lambda: None)
        ms = 1e3 * seconds(lambda: training.train_epoch(lambda: None), device) / STEPS
    values = {"step_ms": ms, "peak_mb": None, "reserved_mb": None, "refused": told}
    if device.type != "cuda":
        return Case(name, True, f"{ms:.0f} ms a step", values)
    values["peak_mb"] = torch.cuda.max_memory_allocated(device) / 2**20
    values["reserved_mb"] = torch.cuda.max_memory_reserved(device) / 2**20
    text = f"{values['peak_mb']:,.0f} MB at most, {values['reserved_mb']:,.0f} MB reserved, {ms:.0f} ms a step"
    return Case(name, True, "; ".join([text, *told]), values)
