"""A search on SLURM: its jobs share the trials, and a job that is requeued goes on with its own."""

from __future__ import annotations

import pytest

from launch.search.studies import Studies
from tests.launch.study import SHORT, Study
from tests.slurm.cluster import SlurmCluster, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.slurm, pytest.mark.xdist_group("slurm")]

JOBS = ("cluster=slurm", "cluster.cpus_per_run=1", "cluster.mem_gb_per_run=1", "cluster.gpus=0")


def test_jobs_train_each_trial_once_though_one_of_them_is_requeued_in_the_middle(
    study: Study, cluster: SlurmCluster
) -> None:
    runs = (*SHORT, f"data_dir={study.data_dir}", "density=d0.2", "recipe.epochs=60", "checkpoint.minutes=0.005")
    described = ("name=found", *runs, "recipe.lr=tag(log,interval(1e-2,1))", "search.trials=4", "search.parallel=2")
    submit = ("search", *described, *JOBS, "cluster.runs_per_gpu=1")
    assert "#SBATCH" in study.launch(*submit, "dry_run=true")
    assert not study.output_dir.exists()
    jobs = study.launch(*submit).split()
    assert len(jobs) == 2
    assert "nothing to submit" in study.launch(*submit)
    studies = Studies("found", study.output_dir)

    def run_ids() -> list[str]:
        return [run_id for trial in studies.trials("all") for run_id in trial.user_attrs.get("runs", ())]

    wait_until(lambda: any(study.output_dir.glob("runs/*/checkpoint.pt")), "a checkpoint")
    assert f"job {jobs[0]} RUNNING" in study.launch("status", "search=found")
    cluster.ask("scontrol", "requeue", jobs[0])
    wait_until(lambda: studies.left() == 0, "the trials to end", 240)
    assert len(run_ids()) == 4
    assert {study.times_finished(run_id) for run_id in run_ids()} == {1}
    assert "jobs cancelled" in study.launch("cancel", "search=found")
