"""``cluster=local``: the worker of SLURM jobs, on this machine."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dst.files.lock import locked
from dst.run.outcome import write_failure
from launch.cluster import ClusterConfig
from launch.local import local_worker, train_locally
from launch.plan import Plan
from launch.state import states
from launch.status import status_text
from launch.worker import Worker
from tests.launch.study import SHORT, Study
from tests.slurm.cluster import wait_until

LONG = ("recipe.epochs=150", "density=d0.2", "growth=gradient", "checkpoint.minutes=0.01")


def trained_once(study: Study, runs: list[str]) -> bool:
    return [study.times_finished(run_id) for run_id in runs] == [1] * len(runs)


def test_ctrl_c_loses_no_epoch_and_two_concurrent_submissions_train_each_run_once(study: Study, tmp_path: Path) -> None:
    runs = study.plan("sweep", *LONG, "seed=1,2,3")
    submit = ("submit", "sweep=sweep", "cluster=local", "cluster.runs_per_gpu=2")
    first = study.start(*submit)
    wait_until(lambda: any((study.run_dir(run_id) / "checkpoint.pt").exists() for run_id in runs), "a checkpoint")
    os.killpg(first.pid, signal.SIGINT)
    out, err = first.communicate(timeout=60)
    assert first.returncode == 1
    assert err.strip().splitlines()[-1] == "stopped; give the same command again to go on"
    assert "Traceback" not in out + err
    assert not list(study.output_dir.glob("runs/*/claim.*"))
    status = study.launch("status", "sweep=sweep")
    for run_id in runs:
        metrics = study.run_dir(run_id) / "metrics.jsonl"
        epoch = len(metrics.read_text().splitlines()) if metrics.exists() else None
        assert (f"interrupted {run_id} at epoch {epoch} of 150" in status) == (epoch is not None)
    assert "lost" not in status

    shells = [study.start(*submit) for _ in range(2)]
    answers = ["".join(shell.communicate(timeout=200)) for shell in shells]
    assert [shell.returncode for shell in shells] == [0, 0], answers
    study.wait_finished(runs)
    assert trained_once(study, runs)
    assert any("resuming run" in study.log(run_id) for run_id in runs)

    undisturbed = Study(tmp_path / "undisturbed", study.data_dir)
    undisturbed.folder.mkdir()
    undisturbed.adopt(study, "sweep")
    undisturbed.launch(*submit)
    assert [study.results(run_id) for run_id in runs] == [undisturbed.results(run_id) for run_id in runs]


def test_a_run_that_crashes_its_process_three_times_fails_and_the_others_finish(study: Study) -> None:
    deadly = study.folder / "deadly.py"
    deadly.write_text(
        "import os, signal\nfrom dst.models import MLP\n\n\n"
        "class Deadly(MLP):\n    def forward(self, x):\n"
        "        self.training and os.kill(os.getpid(), signal.SIGKILL)\n        return super().forward(x)\n"
    )
    study.environment["PYTHONPATH"] += f":{study.folder}"
    runs = study.plan("sweep", "recipe.epochs=1", "model.dropout=0,0.1")
    plan = study.output_dir / "sweeps" / "sweep" / "plan.jsonl"
    lines = plan.read_text().splitlines()
    plan.write_text("\n".join([*lines[:2], lines[2].replace("dst.models.MLP", "deadly.Deadly")]) + "\n")
    answer = study.launch("submit", "sweep=sweep", "cluster=local", rc=1)
    assert f"failed {runs[1]}: its process was killed by SIGKILL (out of memory?) 3 times" in answer
    assert trained_once(study, runs[:1])


def test_training_processes_are_distributed_over_the_visible_gpus_and_each_sees_one(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    (study.folder / "telling.py").write_text(
        "import os, pathlib\nfrom dst.models import MLP\nfrom tests.slurm.cluster import wait_until\n\n\n"
        f"class Telling(MLP):\n    folder = pathlib.Path('{study.folder}')\n\n    def forward(self, x):\n"
        "        (self.folder / os.environ['CUDA_VISIBLE_DEVICES']).touch()\n"
        "        wait_until(lambda: len(list(self.folder.glob('?'))) == 2, 'the other process to begin its run')\n"
        "        return super().forward(x)\n"
    )
    study.plan("sweep", "recipe.epochs=1", "seed=1,2", "device=auto")
    path = study.output_dir / "sweeps" / "sweep" / "plan.jsonl"
    path.write_text(path.read_text().replace("dst.models.MLP", "telling.Telling"))
    monkeypatch.syspath_prepend(study.folder)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7,9")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)  # in this process: those that train find no GPU
    plan = Plan.read("sweep", study.output_dir)
    train_locally(plan, ClusterConfig("local", "local", gpus=2), retry_failed=False)
    assert {found.name for found in study.folder.glob("?")} == {"5", "7"}
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "5,7,9"
    assert local_worker(plan, ClusterConfig("local", "local", gpus=None), plan.runs).gpus == 3


def test_runs_on_the_cpu_or_on_a_named_gpu_are_not_distributed_over_gpus(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    study.plan("sweep", "recipe.epochs=0")
    plan = Plan.read("sweep", study.output_dir)
    for device, gpus in (("cpu", 0), ("cuda:1", 1), ("cuda", 3)):
        config = {**plan.runs[0].config, "device": device}
        worker = local_worker(
            plan, ClusterConfig("local", "local", gpus=None), [replace(plan.runs[0], config=config)] * 9
        )
        assert worker.gpus == gpus


def test_a_worker_whose_runs_are_finished_trains_nothing(study: Study) -> None:
    runs = study.plan("sweep", "recipe.epochs=0", "seed=1,2")
    told = study.launch("submit", "sweep=sweep", "cluster=local")
    assert [told.count(f"{ended} of 2 runs ended after") for ended in (0, 1, 2)] == [1, 1, 1]
    heard: list[str] = []
    worker = Worker("sweep", str(study.output_dir), runs, runs_per_gpu=2)
    assert worker.train(lambda event, run_id, text: heard.append(event)) == {}
    assert heard == []
    assert "all runs" not in study.launch("submit", "sweep=sweep", "cluster=local")
    assert trained_once(study, runs)


def test_retry_failed_clears_the_failure_and_trains_the_run_unless_it_is_a_dry_run(study: Study) -> None:
    (run_id,) = study.plan("sweep", "recipe.epochs=0")
    failure = study.run_dir(run_id) / "failure.json"
    failure.parent.mkdir(parents=True)
    write_failure(failure.parent, "out of memory", "node1")
    submit = ("submit", "sweep=sweep", "cluster=local")
    study.launch(*submit, rc=1)
    assert "would train 1 of 1 runs here" in study.launch(*submit, "retry=failed", "dry_run=true")
    assert "1 of 1 runs are to be submitted" in study.launch(
        "submit", "sweep=sweep", "cluster=slurm", "retry=failed", "dry_run=true"
    )
    assert failure.exists()
    assert not study.is_finished(run_id)
    study.launch(*submit, "retry=failed")
    assert not failure.exists()
    assert study.is_finished(run_id)


def test_what_ends_every_run_is_told_once_with_their_number(study: Study) -> None:
    runs = study.plan("sweep", "dataset.num_classes=11", "seed=range(1,6)")
    answer = study.launch("submit", "sweep=sweep", "cluster=local", rc=1)
    at_once, listed = [line for line in answer.splitlines() if "dataset.num_classes=11: " in line]
    assert at_once.startswith("run ")
    assert listed.startswith(f"failed {', '.join(runs[:3])} and 2 more: dataset.num_classes=11: ")


def test_data_in_the_way_of_others_stop_the_worker_and_fail_no_run(study: Study) -> None:
    study.plan("digits", "recipe.epochs=0")
    study.launch("submit", "sweep=digits", "cluster=local")
    images = ("dataset=image_folder", "dataset.name=digits", f"dataset.root={study.folder}", "dataset.image_size=8")
    runs = study.plan("sweep", *images, "seed=1,2")
    answer = study.launch("submit", "sweep=sweep", "cluster=local", rc=2)
    assert answer.strip().splitlines()[-1].startswith("error: dataset.source=image_folder: ")
    assert not [run_id for run_id in runs if (study.run_dir(run_id) / "failure.json").exists()]


def test_a_machine_that_cannot_train_is_a_one_line_error_and_locks_no_run(study: Study) -> None:
    runs = study.plan("sweep", "recipe.epochs=0", "device=cuda:63")
    answer = study.launch("submit", "sweep=sweep", "cluster=local", rc=2)
    assert answer.strip().splitlines()[-1].startswith("error: device=cuda:63: ")
    assert "Traceback" not in answer
    with pytest.raises(SystemExit, match="error: device=cuda:63: "):
        Worker("sweep", str(study.output_dir), runs, runs_per_gpu=1)()
    assert "device=cuda:63: " in study.launch("status", "sweep=sweep")
    assert not study.run_dir(runs[0]).exists()


def test_status_logs_and_timing_show_the_contents_of_run_directories(study: Study) -> None:
    runs = study.plan("sweep", "recipe.epochs=2", "recipe.lr=0.01,1e30")
    assert study.launch("status", "sweep=sweep").count("waiting") == 1
    study.launch("submit", "sweep=sweep", "cluster=local")
    status = study.launch("status", "sweep=sweep", "--watch").splitlines()
    assert status[1].split() == ["finished", "diverged", "runs"]
    assert status[3].split() == ["small_mlp/digits", "1", "1", "2"]
    assert "test accuracy" in study.launch("logs", runs[0][:6])
    assert "small_mlp/digits" in study.launch("timing")
    answer = study.launch("submit", "sweep=sweep", "cluster=slurm", "dry_run=true")
    assert "2 runs in 1 jobs" in answer
    assert answer.strip().endswith("0 of 2 runs are to be submitted; 0 would be, in 0 jobs")


def test_a_dry_run_shows_the_whole_plan_on_a_machine_without_slurm_and_writes_nothing(study: Study) -> None:
    study.environment["PATH"] = str(study.folder)  # no sbatch, squeue or scontrol there
    mine = ("submit", "name=mine", "model=small_mlp", "dataset=digits", "seed=1,2,3", "dry_run=true")
    slurm = ("cluster=slurm_a100,slurm_v100", "cluster.runs_per_job=1")
    answer = study.launch(*mine, *slurm)
    assert "assumed: MaxArraySize 1001 and an empty queue (squeue: not found" in answer
    assert [answer.count(line) for line in ("#!/bin/bash", "--array=0-1%2", "--constraint=v100")] == [2, 1, 1]
    assert "slurm_a100: 2 runs in 2 jobs" in answer
    assert answer.strip().endswith("3 of 3 runs are to be submitted; 3 would be, in 3 jobs")
    assert "would train 3 of 3 runs here" in study.launch(*mine, "cluster=local")
    assert not list(study.folder.iterdir())


def test_status_shows_the_epochs_of_interrupted_and_lost_runs_and_the_remaining_time(
    study: Study,
) -> None:
    runs = study.plan("sweep", "recipe.epochs=200", "seed=1,2,3,4")
    running, interrupted, lost, _ = directories = [study.run_dir(run_id) for run_id in runs]
    for directory, epochs in zip(directories, (150, 141, 7), strict=False):
        directory.mkdir(parents=True)
        lines = [
            json.dumps({"epoch": epoch, "epoch_s": 60.0, "val_acc": epoch / 200}) for epoch in range(1, epochs + 1)
        ]
        (directory / "metrics.jsonl").write_text("\n".join(lines) + '\n{"epoch": 1')  # the last one is being written
    (interrupted / "checkpoint.pt").touch()
    dying = f"import os, pathlib, dst.files.lock as c\nwith c.locked(pathlib.Path('{lost}')): os._exit(0)"
    subprocess.run([sys.executable, "-c", dying], check=True, env=study.environment)
    plan = Plan.read("sweep", study.output_dir)
    with locked(running):
        status = status_text(plan, states(plan))
    assert status.splitlines()[1].split() == ["running", "interrupted", "lost", "waiting", "runs"]
    assert f"interrupted {runs[1]} at epoch 141 of 200" in status
    assert f"lost {runs[2]} at epoch 7 of 200" in status
    assert f"running {runs[0]} epoch 150 of 200, val acc 0.7500, 50 min to go, process {os.getpid()} on" in status
    assert "about 8 h 22 min to go" in status  # 50 + 59 + 193 + 200 minutes, one by one


def test_the_printed_command_adds_seeds_to_a_planned_sweep(study: Study) -> None:
    mine = ("name=mine", "model=small_mlp", "dataset=digits", "criterion=magnitude")
    study.launch("plan", *mine, "seed=1")
    answer = study.launch("submit", *mine, "seed=2", "cluster=local", rc=2)
    assert answer.count("\n") == 1
    command = shlex.split(answer.partition("with: ")[2].partition(";")[0])
    assert command[:3] == ["python", "-m", "launch"]
    answer = study.launch(*command[3:])
    assert "1 runs added to the 1 planned before" in answer
    assert "1 planned runs are not among those asked for now and are kept" in answer
    assert "2 runs, 2 to do" in answer
    assert len(study.planned("mine")) == 2
    study.launch(*command[3:], "replace=true")
    assert len(study.planned("mine")) == 1


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["plan", "sweep=papr"], "did you mean paper?"),
        (["status", "sweep=paper"], "not planned"),
        (["submit", "sweep=demo", "cluster=slurm_a10"], "slurm_a100"),
        (["submit", "sweep=demo", "cluster=slurm", "cluster.hours=0"], "cluster.hours=0"),
        (["submit", "sweep=demo", "retry=all"], "retry=all"),
        (["plan", "name=mine", "model=small_mlp", "seed=range(5,1)"], "seed=range(5,1): gives no value"),
        (["submit", "sweep=demo", "cluster=slurm,local"], "cluster=slurm,local"),
        (["stauts"], "did you mean status?"),
        (["logs", "0123"], "no run"),
        (["status"], "which sweep?"),
        (["plan", "name=mine", "model=small_mlp", "dataset=cifar10", "densitty=d0.1"], "densitty"),
        (["plan", "name=mine", "distribution=uniform_plus", "density=0.5,0.0001"], "density=0.0001"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(command: list[str], told: str, study: Study) -> None:
    answer = study.launch(*command, rc=2)
    assert answer.startswith("error: ")
    assert answer.count("\n") == 1
    assert told in answer
    assert not study.output_dir.exists()


def test_finished_runs_whose_criterion_was_edited_are_reported_and_retrained_once_with_rerun(study: Study) -> None:
    mine = study.folder / "my_study.py"
    source = "from dst.sparsity import Magnitude\n\n\nclass Mine(Magnitude):\n    pass\n"
    mine.write_text(source)
    grid = ("criterion._target_=my_study.Mine", "criterion.name=mine", "density=dense,d0.1", "recipe.epochs=1")
    study.launch("plan", "name=sweep", *SHORT, f"data_dir={study.data_dir}", *grid)
    dense, sparse = study.planned("sweep")
    submit = ("submit", "sweep=sweep", "cluster=local")
    assert "other source code" not in study.launch(*submit)
    mine.write_text(source + "\n# edited\n")
    line = "1 finished runs were trained with other source code of their criterion"
    assert line in study.launch("status", "sweep=sweep")
    first = study.summary(sparse)
    assert "other source code of their criterion" not in study.launch(*submit, "rerun=true")
    assert study.summary(sparse)["code"]["components"]["criterion"] != first["code"]["components"]["criterion"]
    assert len(list((study.output_dir / "runs" / ".archive").iterdir())) == 1
    assert "0 finished runs were trained with other source code" in study.launch(*submit, "rerun=true")
    assert [study.times_finished(run_id) for run_id in (dense, sparse)] == [1, 1]
