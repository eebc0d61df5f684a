"""Throughput of n concurrent trainings on one device, against a single one.

python -m tests.benchmarks.side_by_side [setups=all|model/dataset,…] [processes=1,2,4,8] [seconds=5] [device=auto]
                                        [mps=auto|on|off] [output_dir=…]

With ``output_dir=outputs`` it writes ``outputs/timing.yaml``, by which ``python -m launch`` packs runs onto GPUs.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch

from dst.training.device import choose_device, device_name, keep_freed_memory, set_numerics
from launch import timing
from tests.benchmarks.setups import SETUPS, Setup, make_loop
from tests.benchmarks.steps import seconds

MIN_SPEEDUP = 1.05
"""Minimum ratio of total throughput for more concurrent trainings to pay off."""

_ROUND = 25
"""Steps between two readings of the clock."""


def main(*arguments: str) -> None:
    given = {"setups": "all", "processes": "1,2,4,8", "seconds": "5", "device": "auto", "mps": "auto", "output_dir": ""}
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key not in given:
            sys.exit(f"error: {argument}: choose from {', '.join(f'{name}=…' for name in given)}")
        given[key] = value
    device = choose_device(given["device"])
    names = [setup.name for setup in SETUPS if setup.model != "resnet50"]
    chosen = names if given["setups"] == "all" else given["setups"].split(",")
    if unknown := set(chosen) - {setup.name for setup in SETUPS}:
        sys.exit(f"error: setups={','.join(sorted(unknown))}: choose from all, {', '.join(names)}")
    counts = [int(count) for count in given["processes"].split(",")]
    services = mps_options(given["mps"], device)
    print(f"{device_name(device)}; steps per second of n trainings together\n")
    print(f"{'':28}{'MPS':>5}" + "".join(f"{f'n={count}':>12}" for count in counts))
    found: dict[str, dict[str, float]] = {}
    for setup in (setup for setup in SETUPS if setup.name in chosen):
        for mps in services:
            with multi_process_service() if mps else contextlib.nullcontext():
                rates = measure_rates(setup, given["device"], counts, float(given["seconds"]))
            row = "".join(f"{rates[count]:>12.1f}" for count in counts)
            print(f"{setup.name:28}{'on' if mps else 'off':>5}{row}", flush=True)
            if not mps:  # clusters run without MPS by default
                found[setup.name] = timing_entry(setup, rates)
    for name, entry in found.items():
        print(f"{name}: {entry['runs_per_gpu']:.0f} at once")
    if given["output_dir"]:
        print(f"written to {timing.write(found, Path(given['output_dir']))}")


def timing_entry(setup: Setup, rates: Mapping[int, float]) -> dict[str, float]:
    """Returns the setup's entry of ``timing.yaml`` from total steps per second by number of trainings."""
    alone = min(rates)
    return {
        "epoch_s": round(setup.steps_per_epoch() / (rates[alone] / alone), 4),
        "runs_per_gpu": best_process_count(rates),
    }


def best_process_count(rates: Mapping[int, float]) -> int:
    """Returns the number of concurrent trainings beyond which total throughput no longer grows by ``MIN_SPEEDUP``."""
    best = min(rates)
    for count in sorted(rates):
        if rates[count] >= MIN_SPEEDUP * rates[best]:
            best = count
    return best


def measure_rates(setup: Setup, device: str, counts: Sequence[int], duration: float) -> dict[int, float]:
    """Returns the total steps per second of n processes, for each n of ``counts``; NaN if one fails.

    All processes are started and warmed up once; those beyond n are idle.
    """
    command = [sys.executable, "-m", "tests.benchmarks.side_by_side", "worker", setup.name, device, str(duration)]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(max(counts))
    ]
    try:
        for process in processes:
            _line(process)  # warmed up
        return {count: sum(map(float, _train_concurrently(processes[:count]))) for count in counts}
    finally:
        for process in processes:
            process.communicate()  # closes stdin, which ends it


def _train_concurrently(processes: list[subprocess.Popen[str]]) -> list[str]:
    """Makes processes train at the same time; returns the line that each of them prints."""
    for process in processes:
        assert process.stdin
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write("go\n")
            process.stdin.flush()
    return [_line(process) or "nan" for process in processes]


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline()


def worker(name: str, device_: str, duration: str) -> None:
    """Worker process: warms up, then trains for ``duration`` per line of stdin and prints its steps per second."""
    device = choose_device(device_)
    set_numerics("fp32", deterministic=True)
    if device.type == "cpu":
        keep_freed_memory()
    advance, _ = make_loop(next(setup for setup in SETUPS if setup.name == name), "dst Δt=800", device, _ROUND)
    seconds(advance, device)
    print("ready", flush=True)
    for _ in sys.stdin:
        began, steps = time.perf_counter(), 0
        while (passed := time.perf_counter() - began) < float(duration):
            seconds(advance, device)
            steps += _ROUND
        print(steps / passed, flush=True)


def mps_options(requested: str, device: torch.device) -> list[bool]:
    """Returns the settings to measure: without (False) or with (True) NVIDIA's MPS, or both."""
    there = device.type == "cuda" and shutil.which("nvidia-cuda-mps-control") is not None
    if requested == "on" and not there:
        sys.exit("error: mps=on: there is no nvidia-cuda-mps-control here; choose off or auto")
    return {"on": [True], "off": [False]}.get(requested, [False, True] if there else [False])


@contextlib.contextmanager
def multi_process_service() -> Iterator[None]:
    """Runs NVIDIA's MPS daemon, with which kernels of several processes run on a GPU concurrently."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CUDA_MPS_PIPE_DIRECTORY"] = os.environ["CUDA_MPS_LOG_DIRECTORY"] = folder
        subprocess.run(["nvidia-cuda-mps-control", "-d"], check=True)
        try:
            yield
        finally:
            subprocess.run(["nvidia-cuda-mps-control"], input="quit\n", text=True, check=False)
            del os.environ["CUDA_MPS_PIPE_DIRECTORY"], os.environ["CUDA_MPS_LOG_DIRECTORY"]


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        worker(*sys.argv[2:])
    else:
        main(*sys.argv[1:])
