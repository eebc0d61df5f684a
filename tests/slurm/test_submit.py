"""Submitted jobs: their nodes, their arrays, and no run twice."""

from __future__ import annotations

import json
import shlex
import shutil
from collections import Counter
from pathlib import Path

import pytest

from tests.launch.study import ROOT, SHORT, Study
from tests.slurm.cluster import MAX_ARRAY, SlurmCluster, wait_until

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("slurm")]

SMALL = ("cluster.cpus_per_run=1", "cluster.mem_gb_per_run=1")
ONE_BY_ONE = (*SMALL, "cluster.runs_per_job=1", "cluster.runs_per_gpu=1", "cluster.gpus=0")


def test_one_sweep_runs_on_both_node_types_and_each_job_gets_its_constraint_and_gpu(
    study: Study, cluster: SlurmCluster
) -> None:
    runs = study.plan("both", "seed=1,2", "recipe.epochs=1")
    study.launch("submit", "sweep=both", "cluster=slurm_a100,slurm_v100", *SMALL)
    study.wait_finished(runs)
    jobs = study.jobs("both")
    assert sorted(job["cluster"] for job in jobs) == ["slurm_a100", "slurm_v100"]
    for job in jobs:
        kind = job["cluster"].removeprefix("slurm_")
        shown = cluster.ask("scontrol", "show", "job", "-d", job["job_id"])
        assert f"Features={kind}" in shown
        assert f"NodeList={kind}-0" in shown
        assert f"GRES=gpu:{kind}:1(IDX:" in shown


def test_more_runs_than_the_site_allows_in_an_array_are_split_and_trained_once_each(study: Study) -> None:
    runs = study.plan("many", f"seed=range(1,{MAX_ARRAY + 3})", "recipe.epochs=0")
    assert f"{MAX_ARRAY + 2} runs in {MAX_ARRAY + 2} jobs" in study.launch(
        "submit", "sweep=many", "cluster=slurm", "cluster.parallel=2", *ONE_BY_ONE
    )
    arrays = Counter(job["job_id"].partition("_")[0] for job in study.jobs("many"))
    assert sorted(arrays.values()) == [2, MAX_ARRAY]
    study.wait_finished(runs)
    study.launch("cancel", "sweep=many")
    assert {study.times_finished(run_id) for run_id in runs} == {1}


def test_repeated_or_concurrent_submissions_queue_each_run_once(study: Study, cluster: SlurmCluster) -> None:
    runs = study.plan("twice", "seed=range(1,7)", "recipe.epochs=0")
    submit = ("submit", "sweep=twice", "cluster=slurm", *SMALL, "cluster.runs_per_job=1", "cluster.extra.hold=true")
    shells = [study.start(*submit) for _ in range(2)]
    answers = ["".join(shell.communicate()) for shell in shells]
    assert sorted(shell.returncode for shell in shells) in ([0, 0], [0, 2])
    assert all("Traceback" not in answer for answer in answers)
    assert "nothing to submit" in study.launch(*submit)
    assert Counter(run_id for job in study.jobs("twice") for run_id in job["runs"]) == Counter(runs)
    assert len(cluster.ask("squeue", "-h", "--array", "--name=twice").splitlines()) == len(runs)


def test_jobs_with_damaged_records_are_reported_and_not_submitted_again(study: Study, cluster: SlurmCluster) -> None:
    study.plan("torn", "seed=1,2", "recipe.epochs=0")
    submit = ("submit", "sweep=torn", "cluster=slurm", *SMALL, "cluster.runs_per_job=1", "cluster.extra.hold=true")
    study.launch(*submit)
    jobs = study.output_dir / "sweeps" / "torn" / "jobs.jsonl"
    first, second = jobs.read_text().splitlines()
    jobs.write_text(f"{first}\n{second[:-9]}")
    unknown = json.loads(second)["job_id"]
    answer = study.launch(*submit, rc=2)
    assert answer.startswith("error: ")
    assert answer.count("\n") == 1
    assert f"which runs jobs {unknown} have is not known" in answer
    assert f"which runs jobs {unknown} have is not known" in study.launch("status", "sweep=torn")
    assert len(cluster.ask("squeue", "-h", "--array", "--name=torn").splitlines()) == 2
    cluster.ask("scancel", unknown)
    wait_until(
        lambda: unknown not in cluster.ask("squeue", "-h", "--array", "-t", "PD,R,CG", "-o", "%i"), "its end", 30
    )
    assert "1 runs in 1 jobs" in study.launch(*submit)


def test_a_dry_run_shows_the_scripts_and_queues_nothing(study: Study, cluster: SlurmCluster) -> None:
    before = set(cluster.ask("squeue", "-h", "-o", "%i").split())  # of tests before, which may be completing
    study.plan("dry", "seed=1,2", "recipe.epochs=0")
    script = study.launch(
        "submit",
        "sweep=dry",
        "cluster=slurm_v100",
        "dry_run=true",
        "cluster.partition=gpu",
        "cluster.account=lab",
        "cluster.setup=[module load cuda]",
        "cluster.extra={exclude: node13}",
        "cluster.python=apptainer exec --nv image.sif python",
    )
    flags = ("constraint=v100", "gpus-per-node=1", "partition=gpu", "account=lab", "exclude=node13", "requeue")
    assert all(f"#SBATCH --{flag}\n" in script for flag in flags)
    assert "cluster slurm_v100: 2 runs in 1 jobs" in script
    assert script.index("module load cuda") < script.index("apptainer exec --nv image.sif python -u -m submitit")
    assert set(cluster.ask("squeue", "-h", "-o", "%i").split()) <= before
    assert not (study.output_dir / "sweeps" / "dry" / "jobs.jsonl").exists()


def test_the_script_that_a_dry_run_shows_is_the_one_that_is_submitted(study: Study, cluster: SlurmCluster) -> None:
    study.plan("shown", "seed=1,2,3", "recipe.epochs=0")
    submit = ("submit", "sweep=shown", "cluster=slurm", *ONE_BY_ONE, "cluster.extra={hold: true, comment: 'a b; $(c)'}")
    lines = study.launch(*submit, "dry_run=true").splitlines(keepends=True)
    assert "3 runs in 3 jobs (arrays: 1)" in lines[0]
    assert "3 would be, in 3 jobs" in lines[-1]
    study.launch(*submit)
    array, _, _ = study.jobs("shown")[0]["job_id"].partition("_")
    submitted = study.folder / "submitted.sh"
    cluster.ask("scontrol", "write", "batch_script", array, str(submitted))
    assert submitted.read_text().strip() == "".join(lines[1:-1]).strip()
    assert "0 would be, in 0 jobs" in study.launch(*submit, "dry_run=true")


def test_cluster_settings_are_quoted_in_the_sbatch_script(study: Study) -> None:
    study.plan("quoted", "recipe.epochs=0")
    values = ["a b", "$(touch x)", "`touch x`", "; touch x #", '"touch x']
    keys = ("partition", "account", "qos", "constraint", "extra.comment")
    given = [f"cluster.{key}={json.dumps(value)}" for key, value in zip(keys, values, strict=True)]
    submit = ("submit", "sweep=quoted", "cluster=slurm", "dry_run=true", *given)
    script = study.launch(*submit, "cluster.extra.requeue=false").splitlines()
    for key, value in zip(keys, values, strict=True):
        assert f"#SBATCH --{key.removeprefix('extra.')}={shlex.quote(value)}" in script
    assert not any("--requeue" in line for line in script)
    assert "sbatch" in study.launch(*submit, "cluster.extra={a b: 1}", rc=2)


def test_edits_after_submitting_change_neither_the_plan_nor_the_code_of_a_queued_job(
    tmp_path: Path, data_dir: Path, cluster: SlurmCluster
) -> None:
    root = tmp_path / "project"
    for package in ("dst", "launch", "conf"):
        shutil.copytree(ROOT / package, root / package)
    study = Study(tmp_path, data_dir, cluster.environment, root)
    mine = study.folder / "my_study.py"
    mine.write_text("from dst.sparsity import Magnitude\n\n\nclass Mine(Magnitude):\n    pass\n")
    plan = ("plan", "name=frozen", *SHORT, f"data_dir={study.data_dir}", "recipe.epochs=2")
    study.launch(*plan, "criterion._target_=my_study.Mine", "criterion.name=mine")
    [run_id] = study.planned("frozen")
    study.launch("submit", "sweep=frozen", "cluster=slurm", *SMALL, "cluster.extra.hold=true")
    (root / "dst" / "train.py").write_text("raise SystemExit('edited')")
    (root / "conf" / "recipe" / "sgd_100.yaml").write_text("epochs: 7\n")
    mine.write_text("raise SystemExit('edited')")
    cluster.ask("scontrol", "release", study.jobs("frozen")[0]["job_id"])
    study.wait_finished([run_id])
    assert study.summary(run_id)["epochs"] == 2
    assert study.summary(run_id)["code"]["components"]["criterion"]


def test_a_failed_run_does_not_stop_its_job_and_is_retried_on_request(study: Study) -> None:
    runs = study.plan("failing", "seed=1,2,3", "recipe.epochs=1")
    in_the_way = study.run_dir(runs[0]) / "metrics.jsonl"
    in_the_way.mkdir(parents=True)
    submit = ("submit", "sweep=failing", "cluster=slurm", *SMALL, "cluster.runs_per_gpu=1")
    study.launch(*submit)
    study.wait_finished(runs[1:])
    status = study.launch("status", "sweep=failing")
    assert f"failed {runs[0]}: IsADirectoryError" in status
    assert str(study.run_dir(runs[0]) / "log.txt") in status
    assert "Traceback" in study.launch("logs", runs[0])
    in_the_way.rmdir()
    wait_until(lambda: "nothing to submit" in study.launch(*submit), "the job to end")
    study.launch(*submit, "retry=failed")
    study.wait_finished(runs)
    status = study.launch("status", "sweep=failing").replace(str(study.output_dir), "")
    assert "failed" not in status
