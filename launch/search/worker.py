"""Training processes that ask a search for trials, train their runs and tell the results."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dst.errors import UserError, is_of_place
from dst.files.lock import holder
from dst.files.records import read_lines
from dst.run.layout import METRICS
from dst.run.outcome import read_summary
from dst.run.plan import PlannedRun
from dst.terminal.signals import StopSignals

from ..crew import Crew
from ..plan import Plan
from ..state import failure_of, is_settled
from ..sweep import Point
from ..training_process import TrainingProcess
from ..worker import Worker
from .studies import Claim, Studies

_POLL_S = 2.0
"""Seconds between looks at trials, or runs, that other processes train."""


class SearchWorker(Worker):
    """A worker whose training processes train the trials of the search ``sweep``; ``chunk`` is empty."""

    def _remaining(self) -> int:
        return Studies(self.sweep, Path(self.output_dir)).left()

    def _training_process(self, own_runs: list[str], crew: Crew) -> TrainingProcess:
        return SearchProcess(self.sweep, Path(self.output_dir), own_runs, crew, self._deadline())


@dataclass(frozen=True)
class SearchProcess(TrainingProcess):
    """A training process whose runs are those of trials."""

    _watched: dict[str, Claim] = field(default_factory=dict, init=False, repr=False)
    """The trial that a run decides about, by the id of the run: that of the first seed, which the pruner looks at."""

    def _candidates(self, stop: StopSignals) -> Iterator[tuple[Plan, PlannedRun]]:
        """Yields the runs of one trial after another until none is left to begin."""
        studies = Studies(self.sweep, self.output_dir)
        os.chdir(studies.search.cwd)
        seen: dict[str, tuple[int, float] | None] = {}
        while not stop.received():
            if claim := studies.claim():
                seen.clear()
                with claim:
                    yield from self._runs_of(claim, studies.search.metric, stop)
            elif _all_alive(now := studies.heartbeats(), seen):
                return
            else:  # after a node failure a claim looks alive until its heartbeat expires
                seen |= {name: heartbeat for name, heartbeat in now.items() if name not in seen}
                time.sleep(_POLL_S)

    def _runs_of(self, claim: Claim, metric: str, stop: StopSignals) -> Iterator[tuple[Plan, PlannedRun]]:
        """Yields the runs of a trial that are not finished, and tells how it ended unless this process has to stop."""
        try:
            plan = self._plan_of(claim)
        except UserError as error:
            if is_of_place(error):
                raise
            claim.tell_failed(str(error))
            return
        chosen = [run for run in plan.runs if run.overrides in claim.overrides]  # the others are their parents
        claim.record_runs(run.run_id for run in chosen)
        for run in plan.runs:
            directory = plan.run_dir(run.run_id)
            if run is chosen[0]:
                self._watched[run.run_id] = claim
                for line in read_lines(directory / METRICS, {}):
                    claim.report(line)
            while not is_settled(directory):
                if claim.pruned:
                    return claim.tell_pruned()
                if stop.received() or claim.is_lost:
                    return None
                if holder(directory)[1]:
                    time.sleep(_POLL_S)  # another sweep trains it
                else:
                    yield plan, run
            if failure := failure_of(directory):
                return claim.tell_failed(f"run {run.run_id}: {failure['error']}")
        claim.tell((read_summary(plan.run_dir(run.run_id)) or {}).get(metric) for run in chosen)
        return None

    def _plan_of(self, claim: Claim) -> Plan:
        """Returns the plan of a trial's runs and their parents; raises UserError if they cannot be trained here."""
        from dst.training.device import choose_device

        plan = Plan.make(self.sweep, self.output_dir, [Point(overrides) for overrides in claim.overrides])
        for device in {run.config["device"] for run in plan.runs}:
            choose_device(device)
        return plan

    def _hooks(self, run: PlannedRun, stop: StopSignals) -> dict[str, Any]:
        claim = self._watched.get(run.run_id)
        if claim is None:
            return super()._hooks(run, stop)
        return {
            "should_stop": lambda: stop.received() or claim.pruned or claim.is_lost,
            "on_epoch": claim.report,
        }


def _all_alive(now: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Whether every claim has had a heartbeat since it was seen before."""
    return all(name in before and heartbeat not in (None, before[name]) for name, heartbeat in now.items())
