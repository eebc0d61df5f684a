"""After any fault of a running job, each run is trained once and its results equal those without the fault."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.launch.study import Study
from tests.slurm.cluster import SlurmCluster, parent_of, wait_until

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("slurm")]

PROBES = ("probes=[gradient_flow,weights]", "probes.gradient_flow.sample=256", "probes.weights.every=7")
RUNS = ("criterion=magnitude,set", "growth=gradient", "density=d0.2", "recipe.epochs=320", "checkpoint.minutes=0.01")
_SMALL = ("cluster=slurm_a100", "cluster.cpus_per_run=1", "cluster.signal_s=30")
ON_A100 = (*_SMALL, "cluster.runs_per_gpu=2")
ONE_A_JOB = (*_SMALL, "cluster.runs_per_gpu=1", "cluster.runs_per_job=1")


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Study:
    study = Study(tmp_path_factory.mktemp("undisturbed"), data_dir)
    study.plan("runs", *RUNS, *PROBES)
    study.launch("submit", "sweep=runs", "cluster=local")
    return study


def requeued(cluster: SlurmCluster, job_id: str, pid: int) -> None:
    cluster.ask("scontrol", "requeue", job_id)


def preempted(cluster: SlurmCluster, job_id: str, pid: int) -> None:
    cluster.ask("scancel", "--signal=USR2", job_id)


def training_process_killed(cluster: SlurmCluster, job_id: str, pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def worker_killed(cluster: SlurmCluster, job_id: str, pid: int) -> None:
    os.kill(parent_of(pid), signal.SIGKILL)


def slurmd_killed(cluster: SlurmCluster, job_id: str, pid: int) -> None:
    cluster.kill_node("a100-0", with_jobs=False)
    cluster.start_node("a100-0")


def node_lost_and_back(cluster: SlurmCluster, job_id: str, pid: int) -> None:
    cluster.kill_node("a100-0", with_jobs=True)
    cluster.ask("scontrol", "update", "nodename=a100-0", "state=down", "reason=lost")  # SLURM finds out in minutes
    cluster.start_node("a100-0")
    cluster.ask("scontrol", "update", "nodename=a100-0", "state=resume")


FAULTS = [preempted, node_lost_and_back]
MORE_FAULTS = [
    pytest.param(fault, marks=pytest.mark.slow)
    for fault in (requeued, training_process_killed, worker_killed, slurmd_killed)
]


@pytest.mark.parametrize("fault", [*FAULTS, *MORE_FAULTS], ids=lambda fault: fault.__name__)
def test_a_fault_during_training_changes_no_result(
    fault: Callable[[SlurmCluster, str, int], None], cluster: SlurmCluster, study: Study, undisturbed: Study
) -> None:
    runs = _under_way(study, undisturbed)
    fault(cluster, study.jobs("runs")[0]["job_id"], _training_process(study.run_dir(runs[0])))
    assert not all(map(study.is_finished, runs)), "the fault came too late to test anything"
    _end_as(undisturbed, study, runs)


@pytest.mark.slow
def test_a_job_whose_container_lacks_slurms_commands_goes_on_after_preemption(
    cluster: SlurmCluster, study: Study, undisturbed: Study
) -> None:
    container = study.folder / "container"
    container.write_text(f'#!/bin/sh\nPATH=/nowhere exec {sys.executable} "$@"\n')
    container.chmod(0o755)
    runs = _under_way(study, undisturbed, f"cluster.python={container}")
    (job,) = study.jobs("runs")
    preempted(cluster, job["job_id"], _training_process(study.run_dir(runs[0])))
    _end_as(undisturbed, study, runs)
    assert " Restarts=1 " in cluster.ask("scontrol", "show", "job", job["job_id"])


def test_each_array_task_whose_worker_is_killed_is_requeued_alone(study: Study, cluster: SlurmCluster) -> None:
    runs = study.plan("array", "seed=1,2,3", "growth=gradient", "recipe.epochs=160", "checkpoint.minutes=0.01")
    study.launch("submit", "sweep=array", *ONE_A_JOB, "cluster.gpus=0")
    wait_until(lambda: len(list(study.output_dir.glob("runs/*/claim.*"))) == 3, "all runs to be under way")
    for pid in [_training_process(study.run_dir(run_id)) for run_id in runs]:
        os.kill(parent_of(pid), signal.SIGKILL)
    for job in study.jobs("array"):
        shown = ("scontrol", "show", "job", job["job_id"])
        wait_until(lambda shown=shown: " Restarts=1 " in cluster.ask(*shown), f"{job['job_id']} to be queued again", 30)


@pytest.mark.slow
def test_cancelled_runs_resume_when_they_are_submitted_again(
    cluster: SlurmCluster, study: Study, undisturbed: Study
) -> None:
    runs = _under_way(study, undisturbed)
    assert "1 of 1 jobs cancelled" in study.launch("cancel", "sweep=runs")
    wait_until(lambda: not cluster.ask("squeue", "-h"), "the job to leave the queue")
    assert f"interrupted {runs[0]} at epoch " in study.launch("status", "sweep=runs")
    assert not any(map(study.is_finished, runs))
    study.launch("submit", "sweep=runs", *ON_A100)
    _end_as(undisturbed, study, runs)
    assert "resuming run" in study.log(runs[0])


def _under_way(study: Study, undisturbed: Study, *more: str) -> list[str]:
    runs = study.adopt(undisturbed, "runs")
    study.launch("submit", "sweep=runs", *ON_A100, *more)
    wait_until(lambda: all(_is_under_way(study.run_dir(run_id)) for run_id in runs), "both runs to be under way")
    return runs


def _end_as(undisturbed: Study, study: Study, runs: list[str]) -> None:
    study.wait_finished(runs)
    for run_id in runs:
        assert study.results(run_id) == undisturbed.results(run_id)
        wait_until(lambda run_id=run_id: study.times_finished(run_id) > 0, "the run to say so in its log")
        assert study.times_finished(run_id) == 1


def _is_under_way(directory: Path) -> bool:
    metrics = directory / "metrics.jsonl"
    return (directory / "checkpoint.pt").exists() and len(metrics.read_text().splitlines()) > 20


def _training_process(directory: Path) -> int:
    """Returns the id of the process that trains a run, from its lock file."""
    pid: int = json.loads(next(directory.glob("claim.*")).read_text())["pid"]
    return pid
