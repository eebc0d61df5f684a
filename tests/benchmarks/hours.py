"""Projected hours of the paper's sweeps on this device, from measured step times."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from launch.plan import Plan
from launch.sweep import expand
from tests.benchmarks.setups import SETUPS


def projected_hours(sweep: str, measured: list[dict[str, Any]]) -> dict[str, float | None]:
    """Returns hours per setup of a sweep, run sequentially, without validation; None for setups not measured."""
    steps = {setup.name: setup.steps_per_epoch() for setup in SETUPS}
    step_ms = {row["setup"]: row["step_ms"] | {"update": row["update_ms"]} for row in measured}
    with tempfile.TemporaryDirectory() as folder:
        plan = Plan.make(sweep, Path(folder), list(expand(sweep)))
    hours: dict[str, float | None] = {}
    for run in plan.runs:
        known = step_ms.get(run.setup)
        if known is None:
            hours[run.setup] = None
            continue
        density, period = run.config["density"]["value"], run.config["update_period"]["steps"]
        ms = known["dense"] if density is None else known["static"] + (known["update"] / period if period else 0.0)
        total = steps[run.setup] * run.config["recipe"]["epochs"] * ms / 3.6e6
        hours[run.setup] = (hours.get(run.setup) or 0.0) + total
    return hours
