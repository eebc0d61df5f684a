"""Whether a training process can begin a run now, later, or had better leave it to others."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from dst.files.lock import holder, last_heartbeat
from dst.run.plan import PlannedRun

from .plan import Plan
from .state import is_settled

READY, WAIT, LEAVE = "ready", "wait", "leave"


class Readiness:
    """Looks at runs again and again.

    A run can begin when no live process holds it and its parent has ended. One that a process holds is watched until
    its heartbeat changes, then left to that process: after a node failure its lock looks alive until the heartbeat
    expires, and the requeued job may start before that. One whose parent is in training is waited for while that
    happens in this job, and otherwise left: where its parent ends, it begins.

    Args:
        plan: of the runs.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._heartbeats: dict[str, tuple[int, float] | None] = {}  # None: not readable at that time
        self.look_again(())

    def look_again(self, left: Iterable[PlannedRun], *, has_trained: bool = False) -> None:
        """Begins another round of looks.

        Args:
            left: the runs that this process may still train.
            has_trained: whether it trained one since the last round. A heartbeat seen before proves nothing now.
        """
        self._left = {run.run_id for run in left}
        self._parents: dict[str, str] = {}
        if has_trained:
            self._heartbeats.clear()

    def __call__(self, run: PlannedRun) -> str:
        """Returns ``READY``, ``WAIT`` or ``LEAVE``."""
        directory, parent = self._plan.run_dir(run.run_id), run.parent_id
        if parent is not None and parent in self._plan.by_id:
            if parent not in self._parents:
                self._parents[parent] = self._of_parent(parent)
            if self._parents[parent] != READY:
                return self._parents[parent]
        now = self._of_lock(run.run_id, directory)  # first, as a run is settled before its lock is released
        return LEAVE if is_settled(directory) else now

    def _of_parent(self, run_id: str) -> str:
        directory = self._plan.run_dir(run_id)
        if is_settled(directory):
            return READY
        owner, alive = holder(directory)
        in_training_here = owner is not None and alive and owner.is_in_this_job()
        return WAIT if in_training_here or run_id in self._left else LEAVE

    def _of_lock(self, run_id: str, directory: Path) -> str:
        owner, alive = holder(directory)
        if owner is None or not alive:
            return READY
        heartbeat = last_heartbeat(directory)
        before = self._heartbeats.setdefault(run_id, heartbeat)
        if before and heartbeat and heartbeat != before:
            return LEAVE
        self._heartbeats[run_id] = before or heartbeat
        return WAIT
