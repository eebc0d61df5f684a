"""``make bench``: prints tables and writes all numbers to ``results/bench.json``.

python -m tests.benchmarks [setups=all|quick|model/dataset,…] [rounds=7] [device=auto] [budget_s=1.0] [output=…]
"""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path
from typing import Any

import torch

from dst.training.device import choose_device, device_name, keep_freed_memory, set_numerics
from tests.benchmarks.hours import projected_hours
from tests.benchmarks.run_overhead import measure_run_overhead
from tests.benchmarks.setups import QUICK, SETUPS, Setup, methods
from tests.benchmarks.step_breakdown import PARTS, measure_step_parts
from tests.benchmarks.steps import GROWTHS, measure_setup, measure_updates

DEFAULTS = {"setups": "", "rounds": "7", "device": "auto", "budget_s": "1.0", "output": "results/bench.json"}


def main(*arguments: str) -> None:
    given = dict(DEFAULTS)
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key not in given:
            sys.exit(f"error: {argument}: choose from {', '.join(f'{name}=…' for name in given)}")
        given[key] = value
    device, rounds = choose_device(given["device"]), int(given["rounds"])
    setups = select_setups(given["setups"] or ("quick" if device.type == "cpu" else "all"))
    set_numerics("fp32", deterministic=True)
    if device.type == "cpu":
        keep_freed_memory()
    result: dict[str, Any] = {
        "device": device_name(device), "threads": torch.get_num_threads(), "torch": torch.__version__,
        "python": platform.python_version(),
    }  # fmt: skip
    print(f"{result['device']}, {result['threads']} threads, torch {result['torch']}, medians of {rounds}")
    result["steps"] = report_steps(setups, device, rounds, float(given["budget_s"]))
    result["parts_ms"] = report_parts(setups, device)
    result["updates"] = report_updates(setups[0] if len(setups) == 1 else SETUPS[1], device, rounds)
    result["around"] = report_run_overhead(rounds)
    result["hours"] = report_hours(result["steps"])
    output = Path(given["output"])
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(result, indent=1) + "\n")
    print(f"\nwritten to {output}")


def select_setups(names: str) -> list[Setup]:
    """Returns the named setups; exits with a one-line error for an unknown one."""
    wanted = {"quick": QUICK, "all": tuple(setup.name for setup in SETUPS)}.get(names, names.split(","))
    setups = [setup for setup in SETUPS if setup.name in wanted]
    if len(setups) < len(wanted):
        sys.exit(f"error: setups={names}: choose from all, quick, {', '.join(setup.name for setup in SETUPS)}")
    return setups


def report_steps(setups: list[Setup], device: torch.device, rounds: int, budget_s: float) -> list[dict[str, Any]]:
    columns = methods(device)
    print(f"\n{'':28}{'floor':>10}" + "".join(f"{name:>12}" for name in columns), end="")
    print(f"{'update':>12}{'state':>10}{'activations':>13}")
    rows = []
    for setup in setups:
        row = measure_setup(setup, device, rounds, budget_s)
        print(f"{setup.name:28}{row['step_ms']['floor']:>7.2f} ms", end="")
        print("".join(f"{row['ratio_to_floor'][name]:>11.3f}×" for name in columns), end="")
        print(f"{row['update_ms']:>9.1f} ms{row['state_mb']:>7.0f} MB{row['activations_mb']:>10.0f} MB", flush=True)
        rows.append(row)
    return rows


def report_parts(setups: list[Setup], device: torch.device) -> dict[str, dict[str, float]]:
    print(f"\n{'where a static step goes':28}" + "".join(f"{part:>12}" for part in PARTS))
    found = {}
    for setup in setups:
        found[setup.name] = parts = measure_step_parts(setup, device)
        total = sum(parts.values())
        print(f"{setup.name:28}" + "".join(f"{parts[part] / total:>12.1%}" for part in PARTS), flush=True)
    return found


def report_updates(setup: Setup, device: torch.device, rounds: int) -> list[dict[str, Any]]:
    print(f"\none topology update, {setup.name}, density 0.1")
    rows = measure_updates(setup, device, rounds)
    for row in rows:
        print(f"  {row['criterion']:14}" + "".join(f"{growth:>12} {row[growth]:7.2f} ms" for growth in GROWTHS))
    return rows


def report_run_overhead(rounds: int) -> dict[str, Any]:
    print("\nwhole runs: small_mlp on digits, 10 steps an epoch")
    times = measure_run_overhead(max(1, rounds // 3))
    for name, value in times.items():
        print(f"  {name:32} {value:6.2f} s")
    return times


def report_hours(steps: list[dict[str, Any]]) -> dict[str, dict[str, float | None]]:
    print("\nprojected hours on this device, one run at a time")
    found = {sweep: projected_hours(sweep, steps) for sweep in ("fig1", "fig5", "paper")}
    for sweep, hours in found.items():
        told = [f"{setup} {value:,.1f}" for setup, value in hours.items() if value is not None]
        unknown = sorted(setup for setup, value in hours.items() if value is None)
        print(f"  {sweep:6} {', '.join(told) or '-'}" + (f"; not measured: {', '.join(unknown)}" if unknown else ""))
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
