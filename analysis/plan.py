"""What a sweep was to run: its plan, as ``launch`` froze it in ``<output_dir>/sweeps/<name>/plan.jsonl``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.choices import flatten
from analysis.frames import DONE, runs_frame
from dst.errors import UserError


@dataclass(frozen=True)
class PlannedRun:
    """A run of the plan: what to type for it, and its resolved config."""

    overrides: tuple[str, ...]
    config: dict[str, Any]

    @property
    def command(self) -> str:
        """What trains this run alone."""
        return " ".join(["python -m dst.train", *self.overrides])


def read_plan(output_dir: Path, sweep: str) -> dict[str, PlannedRun]:
    """Returns the planned runs by id; raises UserError if there is no such plan or it is damaged."""
    path = output_dir / "sweeps" / sweep / "plan.jsonl"
    try:
        lines = [json.loads(line) for line in path.read_text().splitlines()[1:]]
        return {line["run_id"]: PlannedRun(tuple(line["overrides"]), line["config"]) for line in lines}
    except (FileNotFoundError, NotADirectoryError) as error:
        others = ", ".join(sorted(found.parent.name for found in output_dir.glob("sweeps/*/plan.jsonl"))) or "none yet"
        raise UserError(
            f"sweep={sweep}: not planned in {output_dir} (planned there: {others}); plan it with: python -m launch "
            f"plan sweep={sweep}, or leave sweep out for all runs"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: is damaged; plan the sweep again: python -m launch plan sweep={sweep}") from error


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
