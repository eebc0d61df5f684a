"""A command of the user's at the end of a sweep (``cluster.on_end``)."""

from __future__ import annotations

import os
import subprocess

from dst.run.layout import ON_END

from .plan import Plan
from .state import is_settled


def run_on_end(plan: Plan, command: str) -> str | None:
    """Runs a shell command once, when every run of the plan has finished or failed; its output goes to a file.

    Creating that file decides which of several workers that end together runs the command, in the directory in which
    the sweep was planned, with ``DST_SWEEP`` and ``DST_OUTPUT_DIR`` in its environment.

    Args:
        plan: all runs of the sweep.
        command: for the shell.

    Returns:
        How the command ended, in one line; None if it was not run.
    """
    if not all(is_settled(plan.run_dir(run.run_id)) for run in plan.runs):
        return None
    path = plan.directory / ON_END
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return None
    environment = {**os.environ, "DST_SWEEP": plan.name, "DST_OUTPUT_DIR": str(plan.output_dir)}
    with open(path, "w") as output:
        ended = subprocess.run(
            command,
            shell=True,
            cwd=plan.cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    return f"ended with exit code {ended.returncode}: {path}"


def begin_again(plan: Plan) -> None:
    """Lets :func:`run_on_end` run once more, at the next end of the sweep."""
    (plan.directory / ON_END).unlink(missing_ok=True)
