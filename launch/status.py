"""Progress of a sweep as text."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from dst.commands import LAUNCH
from dst.files.records import INTEGER, NULL, NUMBER, Damaged, parse_object
from dst.procedures import planned_epochs
from dst.run.layout import METRICS
from dst.run.plan import PlannedRun

from .jobs import ActiveJob, unfinished_runs
from .plan import Plan
from .removed import removed_text
from .state import STATES, RunState, outdated, problems
from .timing import Timing

_BAR_WIDTH = 30
_MAX_LISTED = 10
"""Maximum number of runs of one state that are listed one by one."""
_STARTED = ("running", "interrupted", "lost")
ENDED = ("finished", "diverged", "failed")
_TAIL_BYTES = 4096
"""Bytes read from the end of a log to find its last line."""


@dataclass(frozen=True)
class Snapshot:
    """A sweep at one moment.

    Attributes:
        plan: its runs.
        state: of each run, by run id.
        jobs: its pending and running jobs.
        note: what could not be found out, empty if nothing.
    """

    plan: Plan
    state: Mapping[str, RunState]
    jobs: Sequence[ActiveJob]
    note: str

    @property
    def ended(self) -> bool:
        """Whether no run is in training or queued."""
        return not any(run.state in ("running", "queued") for run in self.state.values())

    @property
    def text(self) -> str:
        """The plain status."""
        return status_text(self.plan, self.state, self.jobs) + self.note


def status_text(plan: Plan, state: Mapping[str, RunState], jobs: Sequence[ActiveJob] = ()) -> str:
    """Returns runs per setup and state, progress, remaining time, what runs and jobs do, and why runs failed.

    Args:
        plan: the runs.
        state: state of each run, by run id.
        jobs: the plan's pending and running jobs.
    """
    frame = run_table(plan, state)
    counts = count_states(frame).rename_axis(None, axis=1).to_string()
    lines = [f"sweep {plan.name} in {plan.output_dir}", counts, f"{_bar(frame)} {progress_text(frame)}"]
    lines += truncated([_running(run, state[run.run_id]) for run in frame[frame["state"] == "running"].itertuples()])
    lines += truncated(job_lines(jobs, state, all_jobs=plan.where is None))
    for name in ("interrupted", "lost"):
        found = frame[frame["state"] == name]
        lines += truncated([f"{name} {run.run_id} at epoch {run.done} of {run.epochs}" for run in found.itertuples()])
    failed = failures(state)
    lines += truncated(
        [f"failed {_names(runs)}: {error}  ({plan.run_dir(runs[0]) / 'log.txt'})" for error, runs in failed.items()]
    )
    lines += truncated(
        [f"damaged {run_id}: {run.damage}: counts as unfinished" for run_id, run in state.items() if run.damage]
    )
    lines += removed_text(plan)
    recent = {problem["error"]: problem for problem in problems(plan.directory)}
    lines += [
        f"could not train at {recent[error].get('where') or '?'}: {' '.join(error.split())}"
        for error in list(recent)[-3:]
    ]
    if failed:
        lines.append(f"try them again with: {LAUNCH} submit sweep={plan.name} retry=failed")
    if changed := outdated(plan, state):
        groups = ", ".join(dict.fromkeys(group for groups in changed.values() for group in groups))
        lines.append(
            f"{len(changed)} finished runs were trained with other source code of their {groups}; train them anew "
            f"with: {LAUNCH} submit sweep={plan.name} rerun=true"
        )
    return "\n".join(lines)


def run_table(plan: Plan, state: Mapping[str, RunState]) -> pd.DataFrame:
    """Returns a row a run: setup, state, epochs completed and planned, seconds an epoch and validation accuracy.

    Args:
        plan: the runs.
        state: state of each run, by run id.
    """
    return pd.DataFrame(_row(plan, run, state[run.run_id]) for run in plan.runs)


def count_states(frame: pd.DataFrame) -> pd.DataFrame:
    """Returns the number of runs by setup and state, with their sums, from a table of runs."""
    table = frame.groupby(["setup", "state"], sort=False).size().unstack(fill_value=0)
    table = table[[name for name in STATES if name in table.columns]]
    table["runs"] = table.sum(axis=1)
    if len(table) > 1:
        table.loc["all"] = table.sum()
    return table


def plan_text(plan: Plan, state: Mapping[str, RunState], timing: Timing) -> str:
    """Returns the number of runs and of finished runs per setup, and the GPU hours of the remaining ones.

    Args:
        plan: the runs.
        state: state of each run, by run id.
        timing: seconds per epoch of each setup.
    """
    frame = pd.DataFrame(
        {
            "setup": run.setup,
            "runs": 1,
            "finished": state[run.run_id].state in ("finished", "diverged"),
            "seconds": timing.seconds(run),
        }
        for run in plan.runs
    )
    left = frame[~frame["finished"]]
    table = frame.groupby("setup", sort=False)[["runs", "finished"]].sum()
    table["to do"] = table["runs"] - table["finished"]
    hours = left.groupby("setup")["seconds"].sum(min_count=1).reindex(table.index) / 3600
    table["GPU hours"] = [
        "0" if not count else "unknown" if pd.isna(value) else f"{value:.1f}"
        for value, count in zip(hours, table["to do"], strict=True)
    ]
    total = table[["runs", "finished", "to do"]].sum()
    unknown = int(left["seconds"].isna().sum())
    parents = len({run.parent_id for run in plan.runs} - {None})
    text = f"{table.to_string()}\n{total['runs']} runs"
    text += f" ({parents} of them the parents of others)" if parents else ""
    text += f", {total['finished']} finished already, for free" if total["finished"] else ""
    text += f", {total['to do']} to do"
    if unknown < len(left):
        text += f": about {left['seconds'].sum() / 3600:.0f} GPU hours one by one, less side by side"
    return text + (f"; {unknown} runs that nobody has timed yet" if unknown else "")


def growth_text(frozen: Plan, plan: Plan) -> str:
    """Returns how many runs a plan adds to a frozen one, and lists those that only the frozen one has.

    Args:
        frozen: the plan before.
        plan: the plan to add.
    """
    added = len(plan.by_id.keys() - frozen.by_id.keys())
    kept = [f"  {run.run_id}  {run.command}" for run in frozen.runs if run.run_id not in plan.by_id]
    text = (
        f"{added} runs added to the {len(frozen.runs)} planned before; jobs at work train them last, and submit queues "
        "them\n"
        if added
        else ""
    )
    if kept:
        text += f"{len(kept)} planned runs are not among those asked for now and are kept (replace=true drops them):\n"
    return text + "".join(f"{line}\n" for line in truncated(kept))


def failures(state: Mapping[str, RunState]) -> dict[str, list[str]]:
    """Returns the failed runs by the error that ended them."""
    found: dict[str, list[str]] = {}
    for run_id, run in state.items():
        if run.state == "failed":
            found.setdefault(" ".join(run.detail["error"].split()), []).append(run_id)
    return found


def truncated(lines: list[str]) -> list[str]:
    """Returns the first lines, and how many more there are."""
    more = len(lines) - _MAX_LISTED
    return [*lines[:_MAX_LISTED], f"… and {more} more"] if more > 0 else lines


def _names(runs: Sequence[str]) -> str:
    return ", ".join(runs[:3]) + (f" and {len(runs) - 3} more" if len(runs) > 3 else "")


def _running(run: Any, state: RunState) -> str:
    text = f"running {run.run_id} epoch {run.done} of {run.epochs}"
    if pd.notna(run.val_acc):
        text += f", val acc {run.val_acc:.4f}"
    if math.isfinite(seconds := (run.epochs - run.done) * run.epoch_s):
        text += f", {duration_text(seconds)} to go"
    return f"{text}, {state.where}"


def job_lines(jobs: Sequence[ActiveJob], state: Mapping[str, RunState], *, all_jobs: bool) -> list[str]:
    """Returns a line a job: its state, node, the runs that it trains and the number of those it has yet to begin.

    Args:
        jobs: pending and running jobs.
        state: state of each run, by run id.
        all_jobs: whether also jobs without any of these runs.
    """
    unfinished, lines = unfinished_runs(jobs, state), []
    for job in sorted(jobs, key=lambda job: job.state != "RUNNING"):
        runs = unfinished[job.job_id]
        now = [run_id for run_id in runs if state[run_id].state == "running"]
        node = f" on {job.node}" if job.node else ""
        trains = f"trains {', '.join(now)}" if now else "trains none"
        if runs or all_jobs:
            lines.append(
                f"job {job.job_id} {job.state}{node} ({job.cluster}): {trains}; {len(runs) - len(now)} to come"
            )
    return lines


def _row(plan: Plan, run: PlannedRun, state: RunState) -> dict[str, Any]:
    """Returns a run's row: state, epochs completed and planned, seconds per epoch and accuracy (None if unknown)."""
    epochs, done, epoch_s, val_acc = planned_epochs(run.config), 0, None, None
    if state.state in ("finished", "diverged"):
        done, trained, seconds = epochs, state.detail.get("epochs"), state.detail.get("duration_s")
        epoch_s = seconds / trained if trained and seconds else None
    elif state.state in _STARTED:
        last = _last_line(plan.run_dir(run.run_id) / METRICS)
        done, epoch_s = min(max(0, last.get("epoch", 0)), epochs), last.get("epoch_s")
        val_acc = last.get("val_acc")
    row = {"run_id": run.run_id, "setup": run.setup, "state": state.shown, "since": state.since}
    row |= {"epochs": epochs, "done": done, "val_acc": val_acc}
    return row | {"epoch_s": float("nan") if epoch_s is None else epoch_s}


def _last_line(path: Path) -> dict[str, Any]:
    """Returns the last complete record of a growing log, reading only its end; {} if there is none."""
    try:  # O_NONBLOCK: opening a pipe would block
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
            lines = file.read().splitlines()
    except OSError:
        return {}
    for line in reversed(lines):
        with contextlib.suppress(Damaged):  # cut short, or still being written
            return parse_object(line, {"epoch": INTEGER, "epoch_s": NUMBER, "val_acc": NUMBER + NULL})
    return {}


def _bar(frame: pd.DataFrame) -> str:
    full = round(_BAR_WIDTH * frame["state"].isin(ENDED).mean())
    return "█" * full + "░" * (_BAR_WIDTH - full)


def progress_text(frame: pd.DataFrame) -> str:
    """Returns how many runs of a table have ended, how many do in an hour, and the time that is left."""
    ended = frame["state"].isin(ENDED)
    text = f"{ended.sum()} of {len(frame)} ended ({ended.mean():.0%})"
    hour = frame.loc[ended & (frame["since"] > time.time() - 3600), "since"]
    running = frame["state"] == "running"
    if len(hour) >= 2 and running.any():
        text += f", {3600 * (len(hour) - 1) / max(1.0, time.time() - hour.min()):.0f} an hour"
    epoch_s = frame["setup"].map(frame.groupby("setup")["epoch_s"].median()).fillna(frame["epoch_s"].median())
    seconds = ((frame["epochs"] - frame["done"]) * epoch_s)[~ended]
    if running.any() and seconds.notna().all():
        # as many runs in parallel as now, and no less than the longest of them takes
        about = max(seconds.sum() / running.sum(), seconds[running].max())
        text += f", about {duration_text(about)} to go" if math.isfinite(about) else ""
    return text


def duration_text(seconds: float) -> str:
    """Returns hours and minutes, at least one minute."""
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{max(1, minutes)} min"
