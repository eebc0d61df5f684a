"""Measures all setups without MPS and writes a proposal for ``conf/timing.yaml``; takes many minutes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from omegaconf import OmegaConf

from dst.files.atomic import atomic_file
from dst.training.device import device_name
from tests.benchmarks.setups import SETUPS
from tests.gpu.cases import Case, run_case, setups
from tests.gpu.side import rates

OUTPUT = Path("results/timing.yaml")


def cases(device: torch.device) -> Iterator[Case]:
    on_gpu = device.type == "cuda"
    table = {}
    for setup in SETUPS if on_gpu else setups(device)[:1]:
        counts = (1, 2) if setup.model == "resnet50" or not on_gpu else (1, 2, 3, 4, 6, 8)
        duration = 5.0 if on_gpu else 0.1
        case = run_case(setup.name, rates, setup.name, setup, device, counts, duration, False)
        if case.passed:
            table[setup.name] = case.values["entry"]
        yield case
    if on_gpu:
        yield run_case("file", _write, table, device)


def _write(table: dict[str, dict[str, float]], device: torch.device) -> Case:
    header = f"# Measured on {device_name(device)} with torch {torch.__version__}, without MPS.\n"
    OUTPUT.parent.mkdir(exist_ok=True)
    with atomic_file(OUTPUT) as file:
        file.write((header + OmegaConf.to_yaml(table)).encode())
    return Case("file", told=f"written to {OUTPUT}")
