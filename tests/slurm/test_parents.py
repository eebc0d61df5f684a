"""Procedures and parents on SLURM: jobs of children after those of their parents, and faults that change no result."""

from __future__ import annotations

import json
import os
import signal

import pytest

from tests.launch.study import Study
from tests.slurm.cluster import SlurmCluster, parent_of, wait_until

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("slurm")]

ONE_A_JOB = (
    *("cluster=slurm", "cluster.cpus_per_run=1", "cluster.mem_gb_per_run=1", "cluster.gpus=0", "cluster.signal_s=30"),
    *("cluster.runs_per_gpu=1", "cluster.runs_per_job=1"),
)
CHILDREN = ("parent=[procedure=gradual,update_period=10]", "initial_mask=parent", "update_period=never")


def test_of_parents_of_which_one_fails_every_run_ends_once_with_a_result_or_a_reason(
    study: Study, cluster: SlurmCluster
) -> None:
    runs = study.plan("sweep", *CHILDREN, "weight_init=default,sparsity_aware", "seed=1,2,3", "recipe.epochs=2")
    plan = study.output_dir / "sweeps" / "sweep" / "plan.jsonl"
    planned = {line["run_id"]: line for line in map(json.loads, plan.read_text().splitlines()[1:])}
    parents = {run_id: line["config"]["parent_id"] for run_id, line in planned.items() if line["config"]["parent_id"]}
    bad = next(iter(parents.values()))
    in_the_way = study.run_dir(bad) / "metrics.jsonl"
    in_the_way.mkdir(parents=True)
    study.launch("submit", "sweep=sweep", *ONE_A_JOB)
    jobs = {job["runs"][0]: job["job_id"] for job in study.jobs("sweep")}
    assert set(jobs) == set(runs)
    array_of_parents = jobs[bad].partition("_")[0]
    batches = {jobs[child].partition("_")[0] for child in parents}
    assert array_of_parents not in batches
    good = [run_id for run_id in runs if bad not in (run_id, parents.get(run_id))]
    study.wait_finished(good)
    failed = [run_id for run_id in runs if run_id not in good]
    wait_until(
        lambda: all((study.run_dir(run_id) / "failure.json").exists() for run_id in failed), "the others to fail"
    )
    assert [study.times_finished(run_id) for run_id in good] == [1] * len(good)
    status = study.launch("status", "sweep=sweep")
    assert status.splitlines()[1].split() == ["finished", "failed", "runs"]
    children = ", ".join(child for child, parent in parents.items() if parent == bad)
    assert f"failed {children}: its parent, run {bad}, failed: " in status
    wait_until(lambda: not cluster.ask("squeue", "-h", "--name=sweep"), "all jobs to end")
    in_the_way.rmdir()
    study.launch("submit", "sweep=sweep", "retry=failed", *ONE_A_JOB)
    study.wait_finished(runs)
    assert [study.times_finished(run_id) for run_id in runs] == [1] * len(runs)


def test_jobs_of_children_wait_in_the_queue_for_those_of_their_parents(study: Study, cluster: SlurmCluster) -> None:
    parent, child = study.plan("held", *CHILDREN, "recipe.epochs=1")
    study.launch("submit", "sweep=held", *ONE_A_JOB, "cluster.extra.hold=true")
    jobs = {job["runs"][0]: job["job_id"] for job in study.jobs("held")}
    assert f"Dependency=afterany:{jobs[parent]}" in cluster.ask("scontrol", "show", "job", jobs[child])
    status = study.launch("status", "sweep=held").splitlines()[1]
    assert "queued" in status
    assert "waiting for its parent" in status
    assert "nothing to submit" in study.launch("submit", "sweep=held", *ONE_A_JOB)


@pytest.mark.slow
def test_procedures_and_a_parent_whose_workers_are_killed_end_like_undisturbed_ones(
    study: Study, cluster: SlurmCluster, tmp_path_factory: pytest.TempPathFactory
) -> None:
    length = ("recipe.epochs=60", "checkpoint.minutes=0")
    cyclic = ("procedure=cyclic", "procedure.cycles=3", "growth=gradient", *length)
    chain = (*CHILDREN, "weight_init=parent", "weight_init.step=100", *length)
    plans = {"cycles": study.plan("cycles", *cyclic), "chain": study.plan("chain", *chain)}
    one_core = {**os.environ, "SLURM_CPUS_PER_TASK": "1"}  # as its job has: sums of several threads round otherwise
    undisturbed = Study(tmp_path_factory.mktemp("undisturbed"), study.data_dir, one_core)
    for name in plans:
        undisturbed.adopt(study, name)
        undisturbed.launch("submit", f"sweep={name}", "cluster=local")
    for name, runs in plans.items():
        study.launch("submit", f"sweep={name}", *ONE_A_JOB)
        claim = study.run_dir(runs[0])
        wait_until(lambda claim=claim: (claim / "checkpoint.pt").exists(), "a checkpoint")
        owner = next(claim.glob("claim.*"), None)
        assert owner, "the fault came too late to test anything"
        os.kill(parent_of(json.loads(owner.read_text())["pid"]), signal.SIGKILL)
    for runs in plans.values():
        study.wait_finished(runs)
        assert "resuming run" in study.log(runs[0])
        assert [study.results(run_id) for run_id in runs] == [undisturbed.results(run_id) for run_id in runs]
        assert [study.times_finished(run_id) for run_id in runs] == [1] * len(runs)
