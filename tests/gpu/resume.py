"""Runs that are killed with SIGKILL and resumed equal an uninterrupted run, with and without CUDA graphs."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from tests.gpu.cases import Case, Failed, run_case
from tests.run.outcomes import assert_equal, run_outcome

ROOT = Path(__file__).parents[2]
METHODS = {
    "random growth": ("model=small_mlp", "criterion=set", "growth=random"),
    "dropout": ("model=large_mlp_dropout", "criterion=snip", "growth=gradient"),
    "batch norm, fp16": ("model=resnet56", "model.depth=8", "recipe=sgd_100", "growth=gradient", "precision=fp16"),
}
KILLED_AFTER = 4
"""Epochs."""


def cases(device: torch.device) -> Iterator[Case]:
    methods = dict(list(METHODS.items())[: None if device.type == "cuda" else 1])
    with tempfile.TemporaryDirectory() as folder:
        _start(Path(folder), "data", device, "recipe.epochs=0").wait()  # prepares the digits
        for number, (name, method) in enumerate(methods.items()):
            expected: dict[str, Any] = {}
            for graph in ("true", "false"):
                where, overrides = f"{number}-{graph}", (*method, f"cuda_graph={graph}")
                yield run_case(f"{name}, cuda_graph={graph}", _case, Path(folder), where, device, overrides, expected)


def _case(folder: Path, name: str, device: torch.device, overrides: tuple[str, ...], expected: dict[str, Any]) -> None:
    """Compares a killed and resumed run with ``expected``; an empty one is first filled by an uninterrupted run."""
    undisturbed = None if expected else _start(folder, f"{name}-undisturbed", device, *overrides)
    killed = _start(folder, f"{name}-killed", device, *overrides)
    _kill_within(killed, folder / f"{name}-killed")
    again = _start(folder, f"{name}-killed", device, *overrides)
    for process in filter(None, (undisturbed, again)):
        _, errors = process.communicate()
        if process.returncode:
            raise Failed((errors.strip() or "a run failed").splitlines()[-1])
    if undisturbed:
        expected.update(_outcome(folder / f"{name}-undisturbed"))
    try:
        assert_equal(_outcome(folder / f"{name}-killed"), expected)
    except AssertionError as where:
        raise Failed(f"the resumed run differs in {str(where).splitlines()[0]}") from where


def _start(folder: Path, name: str, device: torch.device, *overrides: str) -> subprocess.Popen[str]:
    fixed = ["dataset=digits", "update_period=dt25", "tracker=local", "recipe.epochs=30", "checkpoint.minutes=0"]
    where = [f"device={device}", f"data_dir={folder / 'digits'}", f"output_dir={folder / name}"]
    command = [sys.executable, "-m", "dst.train", *fixed, *where, *overrides]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def _kill_within(process: subprocess.Popen[str], output_dir: Path) -> None:
    """Kills a run once it has logged ``KILLED_AFTER`` epochs."""
    while process.poll() is None:
        lines = [path.read_text().count("\n") for path in output_dir.glob("runs/*/metrics.jsonl")]
        if sum(lines) >= KILLED_AFTER:
            process.kill()
            break
        time.sleep(0.002)
    _, errors = process.communicate()
    if process.returncode >= 0:
        raise Failed((errors.strip() or "the run ended before it could be killed").splitlines()[-1])


def _outcome(output_dir: Path) -> dict[str, Any]:
    return run_outcome(next(output_dir.glob("runs/*")))
