"""``make gpu``: checks that need a GPU; prints a report and writes it to ``results/gpu.json``.

python -m tests.gpu [parts=all|graph,…] [device=auto] [minutes=10 on a GPU, else 30] [output=results/gpu.json]

Each part is a module of this folder and runs in its own process, because a CUDA error makes the process's context
unusable. Without a GPU it is a rehearsal: the same code on the CPU, with small sizes.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from dst.errors import UserError
from dst.training.device import choose_device, device_name

ROOT = Path(__file__).parents[2]
SHARES = {
    "tests": 0.13, "graph": 0.25, "sync": 0.08, "cpu": 0.08, "resume": 0.10, "bench": 0.15, "side": 0.15,
    "memory": 0.06,
}  # fmt: skip
"""The parts of ``parts=all``, with each one's time limit as a share of ``minutes``."""

ALONE = {"timing": 2.0}
"""Parts that run only when named, with their time limits."""

NEEDS_CUDA = ("tests", "sync", "memory")
"""Parts whose rehearsal only shows that the code runs."""

DEFAULTS = {"parts": "all", "device": "auto", "minutes": "", "output": "results/gpu.json"}
REHEARSAL = "REHEARSAL ON THE CPU, with small sizes: nothing here ran on a GPU"
_GRACE_S = 15.0
"""Grace period for a part to stop its child processes."""


def main(*arguments: str) -> int:
    given = dict(DEFAULTS)
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key not in given:
            sys.exit(f"error: {argument}: choose from {', '.join(f'{name}=…' for name in given)}")
        given[key] = value
    known = SHARES | ALONE
    names = list(SHARES) if given["parts"] == "all" else given["parts"].split(",")
    if unknown := [name for name in names if name not in known]:
        sys.exit(f"error: parts={','.join(unknown)}: choose from all, {', '.join(known)}")
    try:
        device = choose_device(given["device"])
    except UserError as error:
        sys.exit(f"error: {error}")
    device = device if device.type == "cuda" else torch.device("cpu")
    result: dict[str, Any] = {
        "rehearsal": device.type != "cuda", "device": device_name(device), "torch": torch.__version__,
        "cuda": torch.version.cuda if device.type == "cuda" else None, "parts": {},
    }  # fmt: skip
    print(REHEARSAL if result["rehearsal"] else f"{result['device']}, torch {torch.__version__}, CUDA {result['cuda']}")
    minutes = float(given["minutes"] or (30 if result["rehearsal"] else 10))
    output = Path(given["output"])
    output.parent.mkdir(parents=True, exist_ok=True)
    for name in names:
        part = run_part(name, str(device), 60 * minutes * known[name])
        result["parts"][name] = part
        print(f"\n{name:8} {part['verdict']:14} {part['seconds']:5.0f} s  {part['why']}")
        for case in part["cases"]:
            if case["told"] and case["passed"]:
                print(f"    {case['name']}: {case['told']}")
        sys.stdout.flush()
        output.write_text(json.dumps(result, indent=1) + "\n")
    print(f"\n{REHEARSAL + chr(10) if result['rehearsal'] else ''}written to {output}")
    return int(any(part["verdict"] == "fail" for part in result["parts"].values()))


def run_part(name: str, device: str, limit_s: float) -> dict[str, Any]:
    """Runs a part in its own process group, which is killed afterwards; returns its verdict and cases."""
    began = time.monotonic()
    alone = {"OMP_NUM_THREADS": "1"} if device == "cpu" else {}  # a rehearsal may share its cores with others
    with tempfile.TemporaryDirectory() as folder, open(Path(folder) / "log", "w+", errors="replace") as log:
        found = Path(folder) / "cases.jsonl"
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.gpu", "worker", name, device, str(found)],
            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            env={**os.environ, **alone},
        )  # fmt: skip
        try:
            status = process.wait(timeout=limit_s)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            _terminate(process)
        cases = [json.loads(line) for line in found.read_text().splitlines()] if found.exists() else []
        log.seek(0)
        lines = log.read().strip().splitlines()
    verdict, why = _verdict(name, device, cases, status, limit_s, lines)
    return {
        "verdict": verdict, "why": why, "seconds": time.monotonic() - began, "cases": cases,
        "log": lines[-40:] if verdict == "fail" else [],
    }  # fmt: skip


def _verdict(
    name: str, device: str, cases: list[dict[str, Any]], status: int | None, limit_s: float, lines: list[str]
) -> tuple[str, str]:
    failed = [case for case in cases if not case["passed"]]
    if status is None:
        return "fail", f"not done within {limit_s:.0f} s, {len(cases)} cases until then, {len(failed)} of them failed"
    if status:
        return "fail", f"ended with status {status} after {len(cases)} cases: {lines[-1] if lines else 'no word'}"
    if failed:
        return "fail", f"{len(failed)} of {len(cases)} cases: {failed[0]['name']}: {failed[0]['told']}"
    if not cases:
        return "fail", "nothing was looked at"
    if device.startswith("cuda"):
        return "pass", f"{len(cases)} cases"
    if name in NEEDS_CUDA:
        return "not rehearsed", f"needs CUDA; its code ran through {len(cases)} cases without"
    return "rehearsed", f"{len(cases)} cases"


def _terminate(process: subprocess.Popen[bytes]) -> None:
    """Terminates a part's process group: SIGTERM first, so that it can stop services, then SIGKILL."""
    for number, patience in ((signal.SIGTERM, _GRACE_S), (signal.SIGKILL, None)):
        try:
            os.killpg(process.pid, number)
            process.wait(timeout=patience)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
    process.wait()


def worker(name: str, device_: str, output: str) -> None:
    """Worker process of a part: writes one JSON line per case."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    device = torch.device(device_)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    with open(output, "w") as lines:
        for case in importlib.import_module(f"tests.gpu.{name}").cases(device):
            print(json.dumps(asdict(case)), file=lines, flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        worker(*sys.argv[2:])
    else:
        sys.exit(main(*sys.argv[1:]))
