"""``make bench``: tables on the terminal, everything in ``results/bench.json``.

python -m tests.benchmarks [setups=all|quick|model/dataset,…] [rounds=7] [device=auto] [budget_s=1.0] [output=…]
"""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path
from typing import Any

import torch

from dst.device import choose_device, device_name, keep_freed_memory, set_numerics
from tests.benchmarks.around import measure_around
from tests.benchmarks.hours import projected_hours
from tests.benchmarks.setups import QUICK, SETUPS, methods
from tests.benchmarks.steps import GROWTHS, measure_setup, measure_updates


def main(*arguments: str) -> None:
    given = {"setups": "", "rounds": "7", "device": "auto", "budget_s": "1.0", "output": "results/bench.json"}
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key not in given:
            sys.exit(f"error: {argument}: choose from {', '.join(f'{name}=…' for name in given)}")
        given[key] = value
    device = choose_device(given["device"])
    set_numerics("fp32", deterministic=True)
    if device.type == "cpu":
        keep_freed_memory()
    names = given["setups"] or ("quick" if device.type == "cpu" else "all")
    chosen = {"quick": QUICK, "all": tuple(setup.name for setup in SETUPS)}.get(names, names.split(","))
    setups = [setup for setup in SETUPS if setup.name in chosen]
    if len(setups) < len(chosen):
        sys.exit(f"error: setups={names}: choose from all, quick, {', '.join(setup.name for setup in SETUPS)}")
    rounds = int(given["rounds"])
    print(f"{device_name(device)}, {torch.get_num_threads()} threads, torch {torch.__version__}, medians of {rounds}\n")
    result: dict[str, Any] = {
        "device": device_name(device), "threads": torch.get_num_threads(), "torch": torch.__version__,
        "python": platform.python_version(), "steps": [],
    }  # fmt: skip
    columns = methods(device)
    print(
        f"{'':28} {'floor':>9}"
        + "".join(f"{name:>12}" for name in columns)
        + f"{'update':>12}{'state':>10}{'activations':>13}"
    )
    for setup in setups:
        row = measure_setup(setup, device, rounds, float(given["budget_s"]))
        result["steps"].append(row)
        ratios = "".join(f"{row['ratio_to_floor'][name]:>11.3f}×" for name in columns)
        print(
            f"{row['setup']:28} {row['step_ms']['floor']:6.2f} ms{ratios}{row['update_ms']:>9.1f} ms"
            f"{row['state_mb']:>7.0f} MB{row['activations_mb']:>10.0f} MB",
            flush=True,
        )
    print(f"\none topology update, {setups[0].name if len(setups) == 1 else 'large_mlp/cifar10'}, density 0.1")
    result["updates"] = measure_updates(setups[0] if len(setups) == 1 else SETUPS[1], device, rounds)
    for row in result["updates"]:
        print(f"  {row['criterion']:14}" + "".join(f"{growth:>12} {row[growth]:7.2f} ms" for growth in GROWTHS))
    result["around"] = measure_around(max(1, rounds // 3))
    print("\nwhole runs: small_mlp on digits, 10 steps an epoch")
    for name, value in result["around"].items():
        print(f"  {name:32} {value:6.2f} s")
    print(f"\nprojected hours on this device, one run at a time ({given['device']})")
    result["hours"] = {sweep: projected_hours(sweep, result["steps"]) for sweep in ("fig1", "fig5", "paper")}
    for sweep, hours in result["hours"].items():
        known = {name: value for name, value in hours.items() if value is not None}
        rest = f"; not measured: {', '.join(sorted(set(hours) - set(known)))}" if len(known) < len(hours) else ""
        print(f"  {sweep:6} " + ", ".join(f"{name} {value:,.1f}" for name, value in known.items()) + rest)
    output = Path(given["output"])
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(result, indent=1) + "\n")
    print(f"\nwritten to {output}")


if __name__ == "__main__":
    main(*sys.argv[1:])
