"""What became of the runs, read from their directories."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dst.atomic import atomic_file
from dst.claim import Owner, file_system_time, holder
from dst.code import changed_components
from dst.json_lines import read_lines
from launch.plan import Plan

STATES = ("finished", "diverged", "running", "queued", "failed", "lost", "waiting")


@dataclass(frozen=True)
class RunState:
    """One run as it stands.

    Attributes:
        state: finished, diverged, running (claimed by a living process), queued (a job that waits or runs has it),
            failed, lost (begun, and nobody is at it or will be), waiting (not submitted).
        detail: the summary of a finished run, the failure of a failed one.
        since: when it ended, seconds since the epoch.
        where: the process that runs it.
    """

    state: str
    detail: dict[str, Any] = field(default_factory=dict)
    since: float = 0.0
    where: str = ""


def states(plan: Plan, queued: Iterable[str] = ()) -> dict[str, RunState]:
    """Returns the state of each run of the plan, by run id; ``queued`` are the runs that living jobs have."""
    queue = set(queued)
    clock = _Clock(plan.directory)
    return {run.run_id: _state(plan.run_dir(run.run_id), run.run_id in queue, clock) for run in plan.runs}


def outdated(plan: Plan, state: Mapping[str, RunState]) -> dict[str, list[str]]:
    """Returns the finished runs whose components have other source code by now, with the groups of those."""
    changed = {
        run.run_id: changed_components(state[run.run_id].detail.get("code"), run.config)
        for run in plan.runs
        if state[run.run_id].state in ("finished", "diverged")
    }
    return {run_id: groups for run_id, groups in changed.items() if groups}


def is_settled(run_dir: Path) -> bool:
    """Whether nothing is left to do: the run finished or failed."""
    return _read(run_dir / "summary.json") is not None or (run_dir / "failure.json").exists()


def is_finished(run_dir: Path) -> bool:
    """Whether the run was trained to its end."""
    return _read(run_dir / "summary.json") is not None


def write_failure(run_dir: Path, error: str, where: str) -> None:
    """Records that the run failed: ``error`` in one line, and where and when."""
    run_dir.mkdir(parents=True, exist_ok=True)
    record = {"error": error, "where": where, "time": time.time()}
    with atomic_file(run_dir / "failure.json") as file:
        file.write(json.dumps(record).encode())


def write_problem(sweep_dir: Path, error: str) -> None:
    """Records that a job could not train at all on its machine, for the status to tell."""
    job = str(Owner.here()).partition(", ")[2]
    with open(sweep_dir / "problems.jsonl", "a") as file:
        file.write(
            json.dumps({"error": error, "where": f"{job} {os.uname().nodename}".strip(), "time": time.time()}) + "\n"
        )


def problems(sweep_dir: Path) -> list[dict[str, Any]]:
    """Returns what :func:`write_problem` recorded, oldest first."""
    return read_lines(sweep_dir / "problems.jsonl")


def forgive(run_dir: Path) -> None:
    """Forgets that the run failed, so that it is tried again."""
    (run_dir / "failure.json").unlink(missing_ok=True)


def _state(run_dir: Path, queued: bool, clock: _Clock) -> RunState:
    summary = _read(run_dir / "summary.json")
    if summary is not None:
        return RunState(summary["status"], summary, (run_dir / "summary.json").stat().st_mtime)
    failure = _read(run_dir / "failure.json")
    if failure is not None:
        return RunState("failed", failure, failure.get("time", 0.0), failure.get("where", ""))
    owner, alive = holder(run_dir, clock)
    if owner is not None and alive:
        return RunState("running", where=str(owner))
    if queued:
        return RunState("queued")
    return RunState("lost" if run_dir.exists() else "waiting")


def _read(path: Path) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return None
    return record


class _Clock:
    """The file system's time, asked for once and then told by this machine's clock."""

    def __init__(self, directory: Path) -> None:
        self._directory, self._offset = directory, None

    def __call__(self) -> float:
        if self._offset is None:
            self._offset = file_system_time(self._directory) - time.time()
        return time.time() + self._offset

    _offset: float | None
