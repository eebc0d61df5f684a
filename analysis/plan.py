"""The planned runs of a sweep (``<output_dir>/sweeps/<name>/plan.jsonl``), and those without results."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from dst.errors import UserError
from dst.run.choices import flatten
from dst.run.outcome import DONE
from dst.run.plan import NotPlanned, PlannedRun, read_plan

from .frames import runs_frame


def read_planned_runs(output_dir: Path, sweep: str) -> dict[str, PlannedRun]:
    """Returns the planned runs by run id.

    Args:
        output_dir: the ``output_dir`` of ``launch``.
        sweep: the name of the sweep.

    Raises:
        UserError: if there is no such plan, or it is damaged.
    """
    try:
        return {run.run_id: run for run in read_plan(sweep, output_dir).runs}
    except NotPlanned as error:
        raise UserError(f"{error}, or leave sweep out for all runs") from error


def missing_runs(plan: Mapping[str, PlannedRun], runs: pd.DataFrame) -> pd.DataFrame:
    """Returns one row per planned run without results: its choices, status, reason and training command.

    Args:
        plan: the planned runs by run id.
        runs: the collected runs; a planned run that is not among them has the status ``not started``.
    """
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
