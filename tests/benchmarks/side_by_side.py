"""How many trainings share a device with profit: steps per second of n processes at once, against one alone.

python -m tests.benchmarks.side_by_side [setups=all|model/dataset,…] [processes=1,2,4,8] [seconds=5] [device=auto]
                                        [mps=auto|on|off] [output_dir=…]

With ``output_dir=outputs`` the result goes to ``outputs/timing.yaml``, which ``python -m launch`` packs runs by.
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
from tests.benchmarks.setups import SETUPS, Setup, loop
from tests.benchmarks.steps import seconds

PROFIT = 1.05
"""More trainings at once are worth it if together they are this much faster."""

_ROUND = 25
"""Steps between two looks at the clock."""


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
    services = modes(given["mps"], device)
    print(f"{device_name(device)}; steps per second of n trainings together\n")
    print(f"{'':28}{'MPS':>5}" + "".join(f"{f'n={count}':>12}" for count in counts))
    found: dict[str, dict[str, float]] = {}
    for setup in (setup for setup in SETUPS if setup.name in chosen):
        for mps in services:
            with multi_process_service() if mps else contextlib.nullcontext():
                rates = together(setup, given["device"], counts, float(given["seconds"]))
            row = "".join(f"{rates[count]:>12.1f}" for count in counts)
            print(f"{setup.name:28}{'on' if mps else 'off':>5}{row}", flush=True)
            if not mps:  # what a cluster offers without being asked
                found[setup.name] = entry_of(setup, rates)
    for name, entry in found.items():
        print(f"{name}: {entry['runs_per_gpu']:.0f} at once")
    if given["output_dir"]:
        print(f"written to {timing.write(found, Path(given['output_dir']))}")


def entry_of(setup: Setup, rates: Mapping[int, float]) -> dict[str, float]:
    """Returns the setup's entry of ``timing.yaml`` from the steps per second of 1, 2, … trainings together."""
    alone = min(rates)
    return {
        "epoch_s": round(setup.steps_per_epoch() / (rates[alone] / alone), 4),
        "runs_per_gpu": with_profit(rates),
    }


def with_profit(rates: Mapping[int, float]) -> int:
    """Returns the count beyond which more trainings at once no longer make all of them together faster."""
    best = min(rates)
    for count in sorted(rates):
        if rates[count] >= PROFIT * rates[best]:
            best = count
    return best


def together(setup: Setup, device: str, counts: Sequence[int], duration: float) -> dict[int, float]:
    """Returns the steps per second that n processes make together, for each n of ``counts``; NaN if one fails.

    All are started once and warm; those beyond n have nothing to do.
    """
    command = [sys.executable, "-m", "tests.benchmarks.side_by_side", "one", setup.name, device, str(duration)]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(max(counts))
    ]
    try:
        for process in processes:
            _line(process)  # it is warm
        return {count: sum(map(float, _asked(processes[:count]))) for count in counts}
    finally:
        for process in processes:
            process.communicate()  # nothing more to do, which ends it


def _asked(processes: list[subprocess.Popen[str]]) -> list[str]:
    """Lets processes train at the same time; returns what each of them prints."""
    for process in processes:
        assert process.stdin
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write("go\n")
            process.stdin.flush()
    return [_line(process) or "nan" for process in processes]


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline()


def one(name: str, device_: str, duration: str) -> None:
    """A training of its own: warms up, and for every line it is given trains and prints its steps per second."""
    device = choose_device(device_)
    set_numerics("fp32", deterministic=True)
    if device.type == "cpu":
        keep_freed_memory()
    advance, _ = loop(next(setup for setup in SETUPS if setup.name == name), "dst Δt=800", device, _ROUND)
    seconds(advance, device)
    print("ready", flush=True)
    for _ in sys.stdin:
        began, steps = time.perf_counter(), 0
        while (passed := time.perf_counter() - began) < float(duration):
            seconds(advance, device)
            steps += _ROUND
        print(steps / passed, flush=True)


def modes(wish: str, device: torch.device) -> list[bool]:
    """Returns whether to measure without, with, or both without and with NVIDIA's multi-process service."""
    there = device.type == "cuda" and shutil.which("nvidia-cuda-mps-control") is not None
    if wish == "on" and not there:
        sys.exit("error: mps=on: there is no nvidia-cuda-mps-control here; choose off or auto")
    return {"on": [True], "off": [False]}.get(wish, [False, True] if there else [False])


@contextlib.contextmanager
def multi_process_service() -> Iterator[None]:
    """NVIDIA's MPS, by which kernels of several processes run on a GPU at the same time."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CUDA_MPS_PIPE_DIRECTORY"] = os.environ["CUDA_MPS_LOG_DIRECTORY"] = folder
        subprocess.run(["nvidia-cuda-mps-control", "-d"], check=True)
        try:
            yield
        finally:
            subprocess.run(["nvidia-cuda-mps-control"], input="quit\n", text=True, check=False)
            del os.environ["CUDA_MPS_PIPE_DIRECTORY"], os.environ["CUDA_MPS_LOG_DIRECTORY"]


if __name__ == "__main__":
    if sys.argv[1:2] == ["one"]:
        one(*sys.argv[2:])
    else:
        main(*sys.argv[1:])
