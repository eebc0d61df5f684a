"""``cluster.nodes``: each run of a sweep trained by two nodes of a real SLURM."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from launch.search.studies import Studies
from tests.launch.study import SHORT, Study
from tests.slurm.cluster import SlurmCluster, wait_until

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("slurm")]

ON_TWO = ("cluster=slurm", "cluster.nodes=2", "cluster.cpus_per_run=1", "cluster.mem_gb_per_run=1")
LONG = ("recipe.epochs=150", "density=d0.2", "growth=gradient", "update_period=5", "checkpoint.minutes=0.02")


def of_second_node(cluster: SlurmCluster, program: str) -> int:
    """Returns the process of the job's second task whose command line has ``program``."""
    pids = cluster.processes(lambda environment: environment.get("SLURM_PROCID") == "1")
    (found,) = [pid for pid in pids if program in Path(f"/proc/{pid}/cmdline").read_bytes().decode()]
    return found


def worker_of(cluster: SlurmCluster) -> int:
    pids = cluster.processes(lambda environment: environment.get("SLURM_PROCID") == "0")
    return min(pid for pid in pids if "submitit.core._submit" in Path(f"/proc/{pid}/cmdline").read_bytes().decode())


@pytest.mark.parametrize(
    ("gpus", "each"),
    [(0, 1), pytest.param(0, 2, marks=pytest.mark.slow), pytest.param(2, 1, marks=pytest.mark.slow)],
    ids=["one process a node", "two processes a node", "two runs at once"],
)
def test_runs_of_two_nodes_end_with_the_masks_of_one_process(
    gpus: int, each: int, study: Study, cluster: SlurmCluster, tmp_path: Path
) -> None:
    runs = study.plan("pairs", "recipe.epochs=3", "growth=gradient", "update_period=4", "seed=1,2")
    alone = Study(tmp_path / "alone", study.data_dir)
    alone.folder.mkdir()
    alone.adopt(study, "pairs")
    study.launch("submit", "sweep=pairs", *ON_TWO, f"cluster.gpus_per_run={each}", f"cluster.gpus={gpus}")
    alone.launch("submit", "sweep=pairs", "cluster=local", "cluster.runs_per_gpu=1")
    study.wait_finished(runs)
    (job,) = study.jobs("pairs")
    assert f"NumNodes=2 NumCPUs={2 * max(each, gpus)}" in cluster.ask("scontrol", "show", "job", job["job_id"])
    wait_until(lambda: "COMPLETED" in cluster.ask("scontrol", "show", "job", job["job_id"]), "the job to end")
    for run_id in runs:
        assert study.summary(run_id)["processes"] == 2 * each
        assert study.results(run_id)["masks"] == alone.results(run_id)["masks"]
        assert study.results(run_id)["topology"] == alone.results(run_id)["topology"]
    assert not list((study.output_dir / "sweeps" / "pairs" / "nodes").iterdir())


def follower_killed(cluster: SlurmCluster, job_id: str) -> None:
    os.kill(of_second_node(cluster, "spawn_main"), signal.SIGKILL)


def second_task_killed(cluster: SlurmCluster, job_id: str) -> None:
    os.kill(of_second_node(cluster, "submitit.core._submit"), signal.SIGKILL)


def worker_killed(cluster: SlurmCluster, job_id: str) -> None:
    os.kill(worker_of(cluster), signal.SIGKILL)


def preempted(cluster: SlurmCluster, job_id: str) -> None:
    cluster.ask("scancel", "--signal=USR2", job_id)


def second_node_lost_and_back(cluster: SlurmCluster, job_id: str) -> None:
    cluster.kill_node("v100-0", with_jobs=True)
    cluster.ask("scontrol", "update", "nodename=v100-0", "state=down", "reason=lost")
    cluster.start_node("v100-0")
    cluster.ask("scontrol", "update", "nodename=v100-0", "state=resume")


@pytest.mark.slow
@pytest.mark.parametrize(
    "happens", [follower_killed, second_task_killed, worker_killed, preempted, second_node_lost_and_back]
)
def test_a_run_of_two_nodes_outlives(
    happens: Callable[[SlurmCluster, str], None], study: Study, cluster: SlurmCluster
) -> None:
    (run,) = study.plan("pair", *LONG)
    study.launch("submit", "sweep=pair", *ON_TWO, "cluster.gpus=0", "cluster.signal_s=60")
    (job,) = study.jobs("pair")
    metrics = study.run_dir(run) / "metrics.jsonl"
    wait_until(lambda: metrics.exists() and len(metrics.read_text().splitlines()) >= 3, "three epochs")
    happens(cluster, job["job_id"])
    study.wait_finished([run])
    assert "resuming run" in study.log(run)
    assert study.times_finished(run) == 1
    assert study.summary(run)["processes"] == 2
    wait_until(lambda: not cluster.ask("squeue", "-h"), "the job to end")


@pytest.mark.slow
def test_a_search_has_its_trials_trained_by_two_nodes(study: Study, cluster: SlurmCluster) -> None:
    runs = (*SHORT, f"data_dir={study.data_dir}", "recipe.epochs=2", "recipe.lr=tag(log,interval(1e-2,1))")
    study.launch("search", "name=found", *runs, "search.trials=2", *ON_TWO, "cluster.gpus=0")
    studies = Studies("found", study.output_dir)
    wait_until(lambda: studies.left() == 0, "the trials to end", 240)
    trained = [run_id for trial in studies.trials("all") for run_id in trial.user_attrs["runs"]]
    assert [study.summary(run_id)["processes"] for run_id in trained] == [2, 2]
