"""Runs that ``archive`` or ``delete`` took away: what ``status`` tells of them."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from dst.commands import LAUNCH
from dst.files.records import LIST, NULL, TEXT, read_lines
from dst.run.layout import REMOVED

from .plan import Plan

_REMOVED = {"archive": TEXT + NULL, "runs": LIST}


def record_removed(output_dir: Path, run_ids: Sequence[str], archive: str | None) -> None:
    """Records that runs are about to be removed.

    Args:
        output_dir: where sweeps and runs are stored.
        run_ids: the runs.
        archive: name of the archive that has them; None if they are deleted.
    """
    with open(output_dir / REMOVED, "a") as file:
        file.write(json.dumps({"archive": archive, "runs": list(run_ids)}) + "\n")


def removed_text(plan: Plan) -> list[str]:
    """Returns a line on the plan's runs that were deleted, and one for each archive that has some of them."""
    records = read_lines(plan.output_dir / REMOVED, _REMOVED)
    latest = {run_id: record["archive"] for record in records for run_id in record["runs"]}
    gone = [
        latest[run.run_id]
        for run in plan.runs
        if run.run_id in latest and not os.path.lexists(plan.run_dir(run.run_id))
    ]
    return [
        f"{gone.count(archive)} runs are in archive {archive}; bring them back with: {LAUNCH} restore {archive}"
        if archive
        else f"{gone.count(None)} runs were deleted and are to be trained again: {LAUNCH} submit sweep={plan.name}"
        for archive in dict.fromkeys(gone)
    ]
