"""Runs that ``cancel where=`` took out of a sweep: workers do not begin them until they are submitted again."""

from __future__ import annotations

from collections.abc import Iterable

from dst.errors import UserError
from dst.files.atomic import atomic_file
from dst.files.records import Damaged, read_bytes
from dst.run.layout import CANCELLED

from .plan import Plan


def cancelled(plan: Plan) -> set[str]:
    """Returns the ids of the cancelled runs.

    Raises:
        UserError: if the file that names them is something else.
    """
    path = plan.directory / CANCELLED
    try:
        return set((read_bytes(path) or b"").decode(errors="replace").split())
    except Damaged as error:
        raise UserError(f"{path.parent}: {error}; remove it and cancel again") from error


def cancel_runs(plan: Plan, run_ids: Iterable[str]) -> None:
    """Keeps workers from beginning the runs.

    Args:
        plan: of the runs.
        run_ids: the runs to cancel.
    """
    _write(plan, cancelled(plan) | set(run_ids))


def resume_runs(plan: Plan) -> None:
    """Lets workers begin all runs of the plan again."""
    before = cancelled(plan)
    if before & plan.by_id.keys():
        _write(plan, before - plan.by_id.keys())


def _write(plan: Plan, run_ids: set[str]) -> None:
    with atomic_file(plan.directory / CANCELLED) as file:
        file.write("".join(f"{run_id}\n" for run_id in sorted(run_ids)).encode())
