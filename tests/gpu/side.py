"""Trainings side by side on one GPU, with and without NVIDIA's multi-process service."""

from __future__ import annotations

import contextlib
import math
import subprocess
from collections.abc import Iterator, Sequence

import torch

from tests.benchmarks.setups import SETUPS, Setup
from tests.benchmarks.side_by_side import entry_of, modes, multi_process_service, together
from tests.gpu.cases import Case, Failed, attempt, setups

TRIED = ("small_mlp/higgs", "resnet56/cifar10")
"""The cheapest of the study and its work horse; ``timing`` measures all of them."""


def cases(device: torch.device) -> Iterator[Case]:
    on_gpu = device.type == "cuda"
    counts, duration = ((1, 2, 4, 8), 1.5) if on_gpu else ((1, 2), 0.1)
    services = modes("auto", device)
    for setup in [setup for setup in SETUPS if setup.name in TRIED] if on_gpu else setups(device)[:1]:
        for mps in services:
            name = f"{setup.name}, MPS {'on' if mps else 'off'}"
            yield attempt(name, rates, name, setup, device, counts, duration, mps)
    if len(services) == 1:
        yield Case("MPS", told="not measured with it: no nvidia-cuda-mps-control here")


def rates(name: str, setup: Setup, device: torch.device, counts: Sequence[int], duration: float, mps: bool) -> Case:
    """Returns the steps per second of n trainings together; without the service a failure of it is told."""
    try:
        with multi_process_service() if mps else contextlib.nullcontext():
            found = together(setup, str(device), counts, duration)
    except subprocess.CalledProcessError as error:
        return Case(name, told=f"not measured: {error.cmd[0]} ended with status {error.returncode}")
    if math.isnan(found[min(counts)]):
        raise Failed("a training alone failed")
    entry = entry_of(setup, found)
    told = ", ".join(f"n={count} {rate:,.0f}" for count, rate in found.items())
    return Case(
        name, True, f"steps/s: {told}; {entry['runs_per_gpu']:.0f} at once pay", {"rates": found, "entry": entry}
    )
