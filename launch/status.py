"""How a sweep stands, as a table."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from dst.files.records import INTEGER, NUMBER, Damaged, parse_object
from dst.procedures import planned_epochs
from dst.run.layout import METRICS
from dst.run.plan import PlannedRun
from launch.plan import Plan
from launch.state import STATES, RunState, outdated, problems
from launch.timing import Timing

_BAR = 30
_LISTED = 10
"""Runs of one state that are named one by one."""
_BEGUN = ("running", "interrupted", "lost")
_TAIL = 4096
"""Bytes in which the last line of a log is found."""


def status_text(plan: Plan, state: Mapping[str, RunState]) -> str:
    """Returns runs per setup and state, progress, throughput, time left, and why runs failed."""
    frame = pd.DataFrame(_row(plan, run, state[run.run_id]) for run in plan.runs)
    table = frame.groupby(["setup", "state"], sort=False).size().unstack(fill_value=0)
    table = table[[name for name in STATES if name in table.columns]]
    table["runs"] = table.sum(axis=1)
    if len(table) > 1:
        table.loc["all"] = table.sum()
    lines = [f"sweep {plan.name} in {plan.output_dir}", table.rename_axis(None, axis=1).to_string(), _progress(frame)]
    for name in ("interrupted", "lost"):
        found = frame[frame["state"] == name]
        lines += _listed([f"{name} {run.run_id} at epoch {run.done} of {run.epochs}" for run in found.itertuples()])
    failed = {run_id: run for run_id, run in state.items() if run.state == "failed"}
    lines += _listed(
        [
            f"failed {run_id}: {' '.join(run.detail['error'].split())}  ({plan.run_dir(run_id) / 'log.txt'})"
            for run_id, run in failed.items()
        ]
    )
    lines += _listed(
        [f"damaged {run_id}: {run.damage}: counts as unfinished" for run_id, run in state.items() if run.damage]
    )
    unfit = {problem["error"]: problem for problem in problems(plan.directory)}
    lines += [
        f"could not train at {unfit[error].get('where') or '?'}: {' '.join(error.split())}"
        for error in list(unfit)[-3:]
    ]
    if failed:
        lines.append(f"try them again with: python -m launch submit sweep={plan.name} retry=failed")
    if changed := outdated(plan, state):
        groups = ", ".join(dict.fromkeys(group for groups in changed.values() for group in groups))
        lines.append(
            f"{len(changed)} finished runs were trained with other source code of their {groups}; train them anew "
            f"with: python -m launch submit sweep={plan.name} rerun=true"
        )
    return "\n".join(lines)


def plan_text(plan: Plan, state: Mapping[str, RunState], timing: Timing) -> str:
    """Returns runs per setup, how many are finished, and what the rest will cost."""
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
        "0" if not to_do else "unknown" if pd.isna(value) else f"{value:.1f}"
        for value, to_do in zip(hours, table["to do"], strict=True)
    ]
    total = table[["runs", "finished", "to do"]].sum()
    unknown = int(left["seconds"].isna().sum())
    text = f"{table.to_string()}\n{total['runs']} runs, {total['finished']} finished, {total['to do']} to do"
    if unknown < len(left):
        text += f": about {left['seconds'].sum() / 3600:.0f} GPU hours one by one, less side by side"
    return text + (f"; {unknown} runs that nobody has timed yet" if unknown else "")


def _row(plan: Plan, run: PlannedRun, state: RunState) -> dict[str, Any]:
    """What the status says of a run: epochs done, those it has, and seconds an epoch where they are known."""
    epochs, done, epoch_s = planned_epochs(run.config), 0, None
    if state.state in ("finished", "diverged"):
        done, trained, seconds = epochs, state.detail.get("epochs"), state.detail.get("duration_s")
        epoch_s = seconds / trained if trained and seconds else None
    elif state.state in _BEGUN:
        last = _last_line(plan.run_dir(run.run_id) / METRICS)
        done, epoch_s = min(max(0, last.get("epoch", 0)), epochs), last.get("epoch_s")
    row = {"run_id": run.run_id, "setup": run.setup, "state": state.state, "since": state.since}
    return row | {"epochs": epochs, "done": done, "epoch_s": float("nan") if epoch_s is None else epoch_s}


def _last_line(path: Path) -> dict[str, Any]:
    """Returns the last record of a log that may be growing, without reading the rest of it; {} if there is none."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # a pipe would block
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
            lines = file.read().splitlines()
    except OSError:
        return {}
    for line in reversed(lines):
        with contextlib.suppress(Damaged):  # cut short, or still being written
            return parse_object(line, {"epoch": INTEGER, "epoch_s": NUMBER})
    return {}


def _listed(lines: list[str]) -> list[str]:
    more = len(lines) - _LISTED
    return [*lines[:_LISTED], f"… and {more} more"] if more > 0 else lines


def _progress(frame: pd.DataFrame) -> str:
    ended = frame["state"].isin(("finished", "diverged", "failed"))
    share = ended.mean()
    bar = "█" * round(_BAR * share) + "░" * (_BAR - round(_BAR * share))
    text = f"{bar} {ended.sum()} of {len(frame)} ended ({share:.0%})"
    hour = frame.loc[ended & (frame["since"] > time.time() - 3600), "since"]
    running = frame["state"] == "running"
    if len(hour) >= 2 and running.any():
        text += f", {3600 * (len(hour) - 1) / max(1.0, time.time() - hour.min()):.0f} an hour"
    epoch_s = frame["setup"].map(frame.groupby("setup")["epoch_s"].median()).fillna(frame["epoch_s"].median())
    seconds = ((frame["epochs"] - frame["done"]) * epoch_s)[~ended]
    if running.any() and seconds.notna().all():
        # as many runs at a time as now, but a run takes its own time
        about = max(seconds.sum() / running.sum(), seconds[running].max())
        text += f", about {_duration(about)} to go" if math.isfinite(about) else ""
    return text


def _duration(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{max(1, minutes)} min"
