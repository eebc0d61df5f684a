"""State of runs, read from their directories."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dst.files.lock import Owner, file_system_time, holder
from dst.files.records import Damaged, read_lines
from dst.run.code import changed_components
from dst.run.layout import CHECKPOINT, PROBLEMS, SUMMARY, runs_dir
from dst.run.outcome import DONE, FAILURE_FIELDS, read_failure, read_summary

from .plan import Plan

FOR_PARENT = "waiting for its parent"
STATES = ("finished", "diverged", "running", "queued", "failed", "interrupted", "lost", "waiting", FOR_PARENT)
"""How :attr:`RunState.shown` tells the state of a run, in the order of the columns."""

SETTLED = (*DONE, "failed")
"""States of runs that are not to be trained."""

log = logging.getLogger("dst")

_UNREADABLE = (Damaged, OSError)


@dataclass(frozen=True)
class RunState:
    """State of one run.

    Attributes:
        state: finished, diverged, running (locked by a live process), queued (in a pending or running job), failed,
            interrupted (has a checkpoint, is neither running nor queued), lost (locked by a process that no longer
            exists), waiting (not submitted, or stopped before its first checkpoint).
        detail: contents of ``summary.json`` of a finished run, of ``failure.json`` of a failed one.
        since: when the run ended, Unix time in seconds; 0 if unknown or not ended.
        where: the process that runs it.
        job: id of the SLURM job of that process; empty outside SLURM.
        damage: why ``summary.json`` cannot be read, if it exists but cannot; the run then counts as unfinished.
        for_parent: whether its parent has not finished yet.
    """

    state: str
    detail: dict[str, Any] = field(default_factory=dict)
    since: float = 0.0
    where: str = ""
    job: str = ""
    damage: str = ""
    for_parent: bool = False

    @property
    def shown(self) -> str:
        """The state in words, one of :data:`STATES`."""
        return FOR_PARENT if self.for_parent and self.state in ("queued", "waiting") else self.state


def states(plan: Plan, queued: Iterable[str] = ()) -> dict[str, RunState]:
    """Returns the state of each run, by run id.

    Args:
        plan: the runs.
        queued: ids of the runs in pending or running jobs.
    """
    queue = set(queued)
    clock = _Clock(plan.directory)
    found = {run.run_id: _state(plan.run_dir(run.run_id), run.run_id in queue, clock) for run in plan.runs}
    for run in plan.runs:
        parent = run.parent_id
        if parent and (found[parent].state not in DONE if parent in found else not is_finished(plan.run_dir(parent))):
            found[run.run_id] = replace(found[run.run_id], for_parent=True)
    return found


def outdated(plan: Plan, state: Mapping[str, RunState]) -> dict[str, list[str]]:
    """Returns the finished runs whose components' source code has changed: the config groups concerned, by run id.

    Args:
        plan: the runs.
        state: state of each run, by run id.
    """
    changed = {
        run.run_id: changed_components(state[run.run_id].detail.get("code"), run.config)
        for run in plan.runs
        if state[run.run_id].state in DONE
    }
    return {run_id: groups for run_id, groups in changed.items() if groups}


def is_settled(run_dir: Path) -> bool:
    """Whether the run finished, diverged or failed, so that it is not to be trained."""
    return _summary(run_dir)[0] is not None or failure_of(run_dir) is not None


def is_finished(run_dir: Path) -> bool:
    """Whether the run finished or diverged."""
    return _summary(run_dir)[0] is not None


def summaries(output_dir: Path) -> Iterator[dict[str, Any]]:
    """Yields the summaries of all finished runs in ``output_dir``; logs a warning for damaged ones."""
    for path in sorted(runs_dir(output_dir).glob(f"*/{SUMMARY}")):
        summary, damage = _summary(path.parent)
        if summary is not None:
            yield summary
        elif damage:
            log.warning("%s: passed over: %s", path.parent, damage)


def write_problem(sweep_dir: Path, error: str) -> None:
    """Records for ``status`` that a job could not train on its machine.

    Args:
        sweep_dir: directory of the sweep.
        error: one-line reason.
    """
    job = str(Owner.here()).partition(", ")[2]
    with open(sweep_dir / PROBLEMS, "a") as file:
        file.write(
            json.dumps({"error": error, "where": f"{job} {os.uname().nodename}".strip(), "time": time.time()}) + "\n"
        )


def problems(sweep_dir: Path) -> list[dict[str, Any]]:
    """Returns the records of :func:`write_problem`, oldest first."""
    return read_lines(sweep_dir / PROBLEMS, FAILURE_FIELDS)


def _state(run_dir: Path, queued: bool, clock: _Clock) -> RunState:
    summary, damage = _summary(run_dir)
    if summary is not None:
        since = 0.0
        with contextlib.suppress(OSError):
            since = (run_dir / SUMMARY).stat().st_mtime
        return RunState(summary["status"], summary, since)
    failure = failure_of(run_dir)
    if failure is not None:
        return RunState("failed", failure, failure.get("time") or 0.0, failure.get("where") or "", damage=damage)
    owner, alive = holder(run_dir, clock)
    if owner is not None and alive:
        return RunState("running", where=str(owner), job=owner.job, damage=damage)
    if queued:
        return RunState("queued", damage=damage)
    if owner is not None:
        return RunState("lost", damage=damage)
    return RunState("interrupted" if os.path.exists(run_dir / CHECKPOINT) else "waiting", damage=damage)


def _summary(run_dir: Path) -> tuple[dict[str, Any] | None, str]:
    """Returns the summary of a finished run or None, and why it cannot be read if it exists but is damaged."""
    try:
        return read_summary(run_dir), ""
    except _UNREADABLE as error:
        return None, _one_line(error)


def failure_of(run_dir: Path) -> dict[str, Any] | None:
    """Returns the content of ``failure.json`` of a failed run, None if it did not fail.

    A run whose ``failure.json`` is damaged, or whose directory is something else, counts as failed.
    """
    if os.path.lexists(run_dir) and not os.path.isdir(run_dir):
        return {"error": f"{run_dir} is no directory; retry=failed moves it aside"}
    try:
        return read_failure(run_dir)
    except _UNREADABLE as error:
        return {"error": _one_line(error)}


def _one_line(error: Exception) -> str:
    return f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)


class _Clock:
    """The file system's time: its offset to this machine's clock is measured once."""

    def __init__(self, directory: Path) -> None:
        self._directory, self._offset = directory, None

    def __call__(self) -> float:
        if self._offset is None:
            self._offset = file_system_time(self._directory) - time.time()
        return time.time() + self._offset

    _offset: float | None
