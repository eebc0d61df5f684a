"""A folder in which tests plan and train sweeps through the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from launch.plan import Plan
from launch.sweep import Point, expand_overrides
from tests.run.outcomes import MEASURED
from tests.signals import heed_signals
from tests.slurm.cluster import wait_until

ROOT = Path(__file__).parents[2]
SHORT = ("model=small_mlp", "dataset=digits", "device=cpu", "tracker=local", "model.hidden=[16]", "update_period=dt25")


class Study:
    """Runs ``python -m launch`` in a folder and reads its results.

    Args:
        folder: current directory of the commands; ``outputs`` is in it.
        data_dir: decoded data sets; may be shared between studies.
        environment: environment variables of the commands.
        root: directory of the code under test.
    """

    def __init__(
        self, folder: Path, data_dir: Path, environment: Mapping[str, str] = os.environ, root: Path = ROOT
    ) -> None:
        self.folder, self.data_dir, self.output_dir = folder, data_dir, folder / "outputs"
        inherited = {key: value for key, value in environment.items() if not key.startswith("WANDB_")}
        self.environment = {**inherited, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
        self._started: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Starts ``python -m launch`` in a session of its own."""
        process = subprocess.Popen(
            [sys.executable, "-m", "launch", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=heed_signals,
        )
        self._started.append(process)
        return process

    def end(self) -> None:
        """Kills what a failed test has left running, which would train for hours."""
        for process in self._started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)

    def launch(self, *arguments: str, rc: int = 0) -> str:
        """Runs ``python -m launch``, asserts exit status ``rc``, and returns stdout followed by stderr."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=300)
        assert process.returncode == rc, f"launch {' '.join(arguments)}: {process.returncode}\n{out}{err}"
        return out + err

    def plan(self, name: str, *overrides: str) -> list[str]:
        """Plans short runs on the digits data set without a subprocess; returns their ids."""
        points = [Point(run) for run in expand_overrides([*SHORT, f"data_dir={self.data_dir}", *overrides])]
        plan = replace(Plan.make(name, self.output_dir, points), cwd=self.folder)
        plan.write()
        return [run.run_id for run in plan.runs]

    def adopt(self, other: Study, name: str) -> list[str]:
        """Copies the plan of another study, which is faster than planning; returns the runs' ids."""
        plan = self.output_dir / "sweeps" / name / "plan.jsonl"
        plan.parent.mkdir(parents=True)
        frozen = other.output_dir / "sweeps" / name / "plan.jsonl"
        plan.write_text(frozen.read_text().replace(str(other.folder), str(self.folder)))
        return self.planned(name)

    def planned(self, name: str) -> list[str]:
        """Returns the ids of the runs of a plan."""
        lines = (self.output_dir / "sweeps" / name / "plan.jsonl").read_text().splitlines()
        return [json.loads(line)["run_id"] for line in lines[1:]]

    def jobs(self, name: str) -> list[dict[str, Any]]:
        """Returns the jobs that were submitted for a sweep."""
        lines = (self.output_dir / "sweeps" / name / "jobs.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def run_dir(self, run_id: str) -> Path:
        """Returns a run's directory."""
        return self.output_dir / "runs" / run_id

    def log(self, run_id: str) -> str:
        """Returns what a run printed."""
        path = self.run_dir(run_id) / "log.txt"
        return path.read_text() if path.exists() else ""

    def summary(self, run_id: str) -> dict[str, Any]:
        """Returns a finished run's summary."""
        summary: dict[str, Any] = json.loads((self.run_dir(run_id) / "summary.json").read_text())
        return summary

    def is_finished(self, run_id: str) -> bool:
        """Whether the run has a summary."""
        return (self.run_dir(run_id) / "summary.json").exists()

    def wait_finished(self, run_ids: list[str], seconds: float = 240) -> None:
        """Waits until the runs are finished."""
        wait_until(lambda: all(map(self.is_finished, run_ids)), f"runs in {self.output_dir} to finish", seconds)

    def results(self, run_id: str) -> dict[str, Any]:
        """Returns the results that must be equal whether or not a run was interrupted."""
        directory = self.run_dir(run_id)
        summary = self.summary(run_id)
        lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
        masks = torch.load(directory / "masks.pt", weights_only=True)
        return {
            "summary": {key: summary[key] for key in summary.keys() - {*MEASURED}},
            "metrics": [{key: line[key] for key in line.keys() - {"epoch_s"}} for line in lines],
            "topology": (directory / "topology.jsonl").read_text() if summary["topology_updates"] else "",
            "probes": {path.stem: path.read_text() for path in directory.glob("probes/*.jsonl")},
            "masks": {name: mask.tolist() for name, mask in masks.items()},
        }

    def times_finished(self, run_id: str) -> int:
        """Returns how many times the run was trained to its end."""
        return self.log(run_id).count("was trained to its end")
