"""``cluster.gpus_per_run``: each run of a sweep trained by several processes, here two on the CPU."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from dst.errors import UserError
from dst.run.plan import PlannedRun
from launch.cluster import ClusterConfig
from launch.followers import GpuGroup
from launch.packing import pack
from launch.timing import Timing, measure
from tests.launch.study import Study
from tests.slurm.cluster import wait_until

SUBMIT = ("submit", "sweep=sweep", "cluster=local", "cluster.gpus_per_run=2", "cluster.runs_per_gpu=1")
LONG = ("recipe.epochs=80", "density=d0.2", "growth=gradient", "update_period=5", "checkpoint.minutes=0")


def weights(study: Study, run_id: str) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(study.run_dir(run_id) / "checkpoint.pt")["training"]["model"]
    return state


def followers_of(training: int) -> list[int]:
    """Returns the process ids of the followers of a training process, which the resource tracker is none of."""
    found = subprocess.run(["pgrep", "-P", str(training), "-f", "spawn_main"], capture_output=True, text=True)
    return list(map(int, found.stdout.split()))


def holder_pid(study: Study, run_id: str) -> int:
    claims = sorted(study.run_dir(run_id).glob("claim.*"))
    pid: int = json.loads(claims[-1].read_text())["pid"]
    return pid


def in_epoch(study: Study, run_id: str, epoch: int) -> bool:
    path = study.run_dir(run_id) / "metrics.jsonl"
    return path.exists() and len(path.read_text().splitlines()) >= epoch


@pytest.mark.slow
def test_runs_of_two_processes_end_as_those_of_one(study: Study, tmp_path: Path) -> None:
    runs = study.plan("sweep", "recipe.epochs=3", "growth=gradient", "update_period=4", "seed=1,2")
    study.launch(*SUBMIT)
    alone = Study(tmp_path / "alone", study.data_dir)
    alone.folder.mkdir()
    alone.adopt(study, "sweep")
    alone.launch("submit", "sweep=sweep", "cluster=local", "cluster.runs_per_gpu=1")
    for run_id in runs:
        assert (study.summary(run_id)["processes"], alone.summary(run_id)["processes"]) == (2, 1)
        assert study.results(run_id)["masks"] == alone.results(run_id)["masks"]
        assert study.results(run_id)["topology"] == alone.results(run_id)["topology"]
        torch.testing.assert_close(weights(study, run_id), weights(alone, run_id), rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_rank_ends_the_others_and_the_run_goes_on_from_its_checkpoint(
    rank: int, study: Study, tmp_path: Path
) -> None:
    (run,) = study.plan("sweep", *LONG)
    sweep = study.start(*SUBMIT)
    wait_until(lambda: in_epoch(study, run, 3), "three epochs")
    first = holder_pid(study, run)
    (follower,) = followers_of(first)
    os.kill((first, follower)[rank], signal.SIGKILL)
    wait_until(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in (first, follower)), "both to end", 30)
    answer = "".join(sweep.communicate(timeout=200))
    assert sweep.returncode == 0, answer
    assert f"run {run}: its process was killed by SIGKILL" in answer
    assert "resuming run" in study.log(run)
    assert ("rank 1 was killed by SIGKILL: this ends all ranks" in study.log(run)) == (rank == 1)
    assert study.times_finished(run) == 1


@pytest.mark.slow
def test_ctrl_c_writes_a_checkpoint_and_two_processes_end_as_if_it_had_not_come(study: Study, tmp_path: Path) -> None:
    (run,) = study.plan("sweep", *LONG, "checkpoint.minutes=100")
    sweep = study.start(*SUBMIT)
    wait_until(lambda: in_epoch(study, run, 3), "three epochs")
    os.killpg(sweep.pid, signal.SIGINT)
    out, err = sweep.communicate(timeout=60)
    assert err.strip().splitlines()[-1] == "stopped; give the same command again to go on"
    assert "Traceback" not in out + err + study.log(run)
    assert (study.run_dir(run) / "checkpoint.pt").exists()
    study.launch(*SUBMIT)
    assert "resuming run" in study.log(run)
    undisturbed = Study(tmp_path / "undisturbed", study.data_dir)
    undisturbed.folder.mkdir()
    undisturbed.adopt(study, "sweep")
    undisturbed.launch(*SUBMIT)
    assert study.results(run) == undisturbed.results(run)
    ours, theirs = weights(study, run), weights(undisturbed, run)
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())


@pytest.mark.slow
def test_a_run_that_fails_in_one_rank_fails_by_its_error_and_the_next_is_trained(study: Study) -> None:
    (study.folder / "faulty.py").write_text(
        "import torch.distributed as dist\nfrom dst.models import MLP\n\n\n"
        "class Faulty(MLP):\n    def forward(self, x):\n"
        "        if self.training and dist.is_initialized() and dist.get_rank() == 1:\n"
        "            raise ValueError('too warm')\n"
        "        return super().forward(x)\n"
    )
    study.environment["PYTHONPATH"] += f":{study.folder}"
    runs = study.plan("sweep", "recipe.epochs=1", "model.dropout=0,0.1")
    path = study.output_dir / "sweeps" / "sweep" / "plan.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[1].replace("dst.models.MLP", "faulty.Faulty"), lines[2]]) + "\n")
    answer = study.launch(*SUBMIT, rc=1)
    assert f"run {runs[0]} failed: RuntimeError: rank 1: ValueError: too warm" in answer
    assert study.summary(runs[1])["processes"] == 2


def cluster(**settings: Any) -> ClusterConfig:
    return ClusterConfig(**{"name": "slurm", "executor": "slurm", **settings})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gpus": 3, "gpus_per_run": 2}, "cluster.gpus=3: is not divisible by cluster.gpus_per_run=2"),
        (
            {"gpus": 2, "gpus_per_run": 2, "runs_per_gpu": 2},
            "cluster.runs_per_gpu=2: a run with cluster.gpus_per_run=2",
        ),
        (
            {"nodes": 2, "runs_per_gpu": 2},
            "cluster.runs_per_gpu=2: a run with cluster.nodes=2 and cluster.gpus_per_run=1",
        ),
        (
            {"nodes": 2, "executor": "local"},
            "cluster.nodes=2: cluster=slurm is this machine alone; give a cluster of SLU",
        ),
    ],
)
def test_groups_that_cannot_be_are_one_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as refused:
        cluster(**settings).check()
    assert str(refused.value).startswith(message)


def test_a_batch_that_ranks_do_not_divide_is_refused_before_anything_is_written(study: Study) -> None:
    answer = study.launch(
        "plan", "name=odd", "model=small_mlp", "dataset=digits", "recipe.batch_size=127", *SUBMIT[2:4], rc=2
    )
    assert answer == (
        "error: recipe.batch_size=127: with cluster.gpus_per_run=2 each process gets an equal share; "
        "give a multiple of 2\n"
    )
    assert not study.output_dir.exists()


def test_jobs_hold_as_many_runs_as_their_groups_of_gpus_train() -> None:
    config = {
        "model": {"name": "mlp"},
        "dataset": {"name": "small"},
        "recipe": {"epochs": 100},
        "density": {"value": 0.1},
    }
    runs = [PlannedRun(str(number), (), config) for number in range(6)]
    timing = Timing({"mlp/small": {"epoch_s": 36.0, "runs_per_gpu": 4}})
    jobs = pack(runs, cluster(gpus=8, gpus_per_run=4, hours=1.25), timing, max_jobs=9)
    assert [(len(job.run_ids), job.runs_per_gpu) for job in jobs] == [(2, 1)] * 3


def test_a_training_process_sees_the_gpus_of_its_group(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    for index in range(3):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7,5,3,1,0")
        GpuGroup(index, each=2, gpus=4).enter()
        seen.append(os.environ["CUDA_VISIBLE_DEVICES"])
    assert seen == ["7,5", "3,1", "7,5"]


def test_what_several_processes_took_is_no_measure_of_one() -> None:
    summary = {"model": "mlp", "dataset": "digits", "epochs": 2, "duration_s": 4.0}
    assert measure([{**summary, "processes": 2, "duration_s": 1.0}, summary]) == {"mlp/digits": {"epoch_s": 2.0}}
