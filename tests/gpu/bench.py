"""Step times of all setups against the floor, and projected hours of the paper's runs on this device."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from dst.training.device import set_numerics
from tests.benchmarks.hours import projected_hours
from tests.benchmarks.setups import Setup, methods
from tests.benchmarks.steps import measure_setup
from tests.gpu.cases import Case, run_case, setups


def cases(device: torch.device) -> Iterator[Case]:
    set_numerics("fp32", deterministic=True)
    rows: list[dict[str, Any]] = []
    for setup in setups(device)[: None if device.type == "cuda" else 1]:
        yield run_case(setup.name, _case, setup, device, rows)
    yield run_case("paper", _hours, rows)


def _case(setup: Setup, device: torch.device, rows: list[dict[str, Any]]) -> Case:
    rounds, budget_s = (3, 0.3) if device.type == "cuda" else (1, 0.01)
    row = measure_setup(setup, device, rounds, budget_s)
    rows.append(row)
    ratios = ", ".join(f"{name} {row['ratio_to_floor'][name]:.2f}×" for name in methods(device))
    return Case(setup.name, True, f"floor {row['step_ms']['floor']:.2f} ms; {ratios}", row)


def _hours(rows: list[dict[str, Any]]) -> Case:
    hours = projected_hours("paper", rows)
    known = {setup: value for setup, value in hours.items() if value is not None}
    unknown = sorted(hours.keys() - known)
    told = f"{sum(known.values()):,.0f} hours on this device, one run at a time, without validation"
    return Case("paper", True, told + (f"; not measured: {', '.join(unknown)}" if unknown else ""), {"hours": hours})
