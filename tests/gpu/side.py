"""Concurrent trainings on one GPU, with and without NVIDIA's MPS."""

from __future__ import annotations

import contextlib
import math
import subprocess
from collections.abc import Iterator, Sequence

import torch

from tests.benchmarks.setups import SETUPS, Setup
from tests.benchmarks.side_by_side import measure_rates, mps_options, multi_process_service, timing_entry
from tests.gpu.cases import Case, Failed, run_case, setups

TRIED = ("small_mlp/higgs", "resnet56/cifar10")
"""The paper's cheapest and its most frequent setup; ``timing`` measures all of them."""


def cases(device: torch.device) -> Iterator[Case]:
    on_gpu = device.type == "cuda"
    counts, duration = ((1, 2, 4, 8), 1.5) if on_gpu else ((1, 2), 0.1)
    services = mps_options("auto", device)
    for setup in [setup for setup in SETUPS if setup.name in TRIED] if on_gpu else setups(device)[:1]:
        for mps in services:
            name = f"{setup.name}, MPS {'on' if mps else 'off'}"
            yield run_case(name, rates, name, setup, device, counts, duration, mps)
    if len(services) == 1:
        yield Case("MPS", told="not measured with it: no nvidia-cuda-mps-control here")


def rates(name: str, setup: Setup, device: torch.device, counts: Sequence[int], duration: float, mps: bool) -> Case:
    """Returns the total steps per second by number of trainings; a failure to start MPS is reported, not raised."""
    try:
        with multi_process_service() if mps else contextlib.nullcontext():
            found = measure_rates(setup, str(device), counts, duration)
    except subprocess.CalledProcessError as error:
        return Case(name, told=f"not measured: {error.cmd[0]} ended with status {error.returncode}")
    if math.isnan(found[min(counts)]):
        raise Failed("a training alone failed")
    entry = timing_entry(setup, found)
    told = ", ".join(f"n={count} {rate:,.0f}" for count, rate in found.items())
    return Case(
        name, True, f"steps/s: {told}; {entry['runs_per_gpu']:.0f} at once pay", {"rates": found, "entry": entry}
    )
