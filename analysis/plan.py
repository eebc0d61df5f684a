"""What a sweep was to run: its plan, as ``launch`` froze it in ``<output_dir>/sweeps/<name>/plan.jsonl``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from analysis.choices import flatten
from analysis.frames import runs_frame
from dst.errors import UserError
from dst.run.outcome import DONE
from dst.run.plan import NotPlanned, PlannedRun, read_plan


def read_planned_runs(output_dir: Path, sweep: str) -> dict[str, PlannedRun]:
    """Returns the planned runs by id; raises UserError if there is no such plan or it is damaged."""
    try:
        return {run.run_id: run for run in read_plan(sweep, output_dir).runs}
    except NotPlanned as error:
        raise UserError(f"{error}, or leave sweep out for all runs") from error


def missing_runs(plan: Mapping[str, PlannedRun], runs: pd.DataFrame) -> pd.DataFrame:
    """Returns the planned runs without results: their choices, the status they have (or ``not started``), a command."""
    status = dict(zip(runs["run_id"], runs["status"], strict=True))
    reason = dict(zip(runs["run_id"], runs["reason"], strict=True))
    rows = [
        {"run_id": run_id, **flatten(run.config), "status": status.get(run_id, "not started"),
         "reason": reason.get(run_id), "command": run.command}
        for run_id, run in plan.items()
        if status.get(run_id) not in DONE
    ]  # fmt: skip
    frame = runs_frame(rows)
    return frame if "command" in frame else frame.assign(command=None)
