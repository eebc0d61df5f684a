"""Runs of two processes in jobs of a real SLURM."""

from __future__ import annotations

import pytest

from tests.launch.study import Study
from tests.slurm.cluster import SlurmCluster, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.slurm, pytest.mark.xdist_group("slurm")]

JOBS = ("cluster=slurm", "cluster.cpus_per_run=1", "cluster.mem_gb_per_run=1", "cluster.gpus=0")


def test_a_job_gets_cores_for_both_processes_and_its_run_goes_on_after_a_requeue(
    study: Study, cluster: SlurmCluster
) -> None:
    (run,) = study.plan("pairs", "recipe.epochs=200", "density=d0.2", "growth=gradient", "checkpoint.minutes=100")
    study.launch("submit", "sweep=pairs", *JOBS, "cluster.gpus_per_run=2")
    (job,) = study.jobs("pairs")
    assert "NumCPUs=2" in cluster.ask("scontrol", "show", "job", job["job_id"])
    metrics = study.run_dir(run) / "metrics.jsonl"
    wait_until(lambda: metrics.exists() and len(metrics.read_text().splitlines()) >= 3, "three epochs")
    cluster.ask("scontrol", "requeue", job["job_id"])
    study.wait_finished([run])
    assert study.summary(run)["processes"] == 2
    assert study.times_finished(run) == 1
