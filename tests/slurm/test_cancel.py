"""Cancelling some of a sweep's runs."""

from __future__ import annotations

import pytest

from tests.launch.study import Study
from tests.slurm.cluster import SlurmCluster, wait_until
from tests.slurm.test_submit import SMALL

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("slurm")]


def test_cancelled_runs_are_trained_by_no_job_until_they_are_submitted_again(
    study: Study, cluster: SlurmCluster
) -> None:
    runs = study.plan("some", "seed=range(1,5)", "recipe.epochs=0")
    submit = ("submit", "sweep=some", "cluster=slurm", *SMALL, "cluster.runs_per_job=2")
    study.launch(*submit, "cluster.extra.hold=true")
    of_one, of_both = (job["job_id"] for job in study.jobs("some"))
    answer = study.launch("cancel", "sweep=some", "where=seed <= 3")
    assert "1 of 2 jobs cancelled\n3 unfinished runs cancelled" in answer
    assert f"job {of_both} goes on, as it has 1 other runs\n" in answer
    status = study.launch("status", "sweep=some")
    assert f"job {of_both} PENDING (slurm): trains none; 1 to come" in status
    assert of_one not in status
    assert "1        3     4" in status.splitlines()[3]  # queued, waiting, all

    cluster.ask("scontrol", "release", of_both)
    wait_until(lambda: not cluster.ask("squeue", "-h", "--name=some"), "the job to end")
    assert [study.is_finished(run_id) for run_id in runs] == [False, False, False, True]
    assert "1 runs in 1 jobs" in study.launch(*submit, "where=seed == 3")
    wait_until(lambda: not cluster.ask("squeue", "-h", "--name=some"), "the job to end")
    assert [study.is_finished(run_id) for run_id in runs] == [False, False, True, True]
