"""The paper's number of runs through the real planner, worker and status."""

from __future__ import annotations

import pytest

from tests.launch.study import Study


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_7301_runs_are_planned_trained_and_counted(study: Study) -> None:
    runs = study.plan("soak", "recipe.epochs=0", "checkpoint.keep=nothing", "seed=range(1,7302)")
    assert len(set(runs)) == 7301
    process = study.start("submit", "sweep=soak", "cluster=local", "cluster.runs_per_gpu=4")
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert "7301 of 7301 ended (100%)" in study.launch("status", "sweep=soak")
    assert all(study.times_finished(run_id) == 1 for run_id in runs)
