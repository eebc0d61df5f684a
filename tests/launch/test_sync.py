"""Uploads of finished runs, read from W&B's offline files or received by a fake W&B server."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from dst import train
from launch.plan import Plan
from tests.launch.study import Study
from tests.test_tracking import Report
from tests.wandb_server import KEY, WandbServer


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Study:
    """A sweep of two finished runs."""
    study = Study(tmp_path_factory.mktemp("whole"), data_dir)
    study.plan("sweep", "recipe.epochs=10", "seed=1,2")
    for planned in Plan.read("sweep", study.output_dir).runs:
        train.run(OmegaConf.create({**planned.config, "output_dir": str(study.output_dir)}))
    return study


@pytest.fixture
def trained(study: Study, whole: Study) -> tuple[Study, list[str]]:
    """A copy of it."""
    runs = study.adopt(whole, "sweep")
    shutil.copytree(whole.output_dir / "runs", study.output_dir / "runs")
    return study, runs


def test_finished_runs_are_uploaded_once_each_under_their_ids_with_their_whole_history(
    trained: tuple[Study, list[str]],
) -> None:
    study, runs = trained
    (study.run_dir(runs[0]) / "config.yaml").write_text("damaged: [")  # the plan has it too
    with open(study.run_dir(runs[0]) / "metrics.jsonl", "a") as metrics:
        metrics.write('{"a line": "of another program"}\n')
    assert "2 uploaded" in study.launch("sync", "sweep=sweep", "jobs=2", "project=mine")
    assert "2 of them uploaded already" in study.launch("sync", "sweep=sweep", "project=mine")
    for run_id in runs:
        assert len(list(study.run_dir(run_id).glob("wandb/offline-run-*"))) == 1
        report = Report(study.run_dir(run_id))
        assert (report.run.run_id, report.run.project) == (run_id, "mine")
        assert (report.run.run_group, report.run.job_type) == ("small_mlp/digits", "magnitude")
        assert "sweep" in report.run.tags
        assert report.config["code"] == study.summary(run_id)["code"]
        assert [line["epoch"] for line in report.history if "epoch" in line] == list(range(1, 11))
        assert sum("topology/prune_fraction" in line for line in report.history) == 3
        assert report.summary["test_acc"] == study.summary(run_id)["test_acc"]


def test_another_project_is_another_upload_and_a_dry_run_uploads_nothing(trained: tuple[Study, list[str]]) -> None:
    study, runs = trained
    study.launch("sync", "sweep=sweep", "dry_run=true")
    assert not (study.run_dir(runs[0]) / "synced.json").exists()
    study.launch("sync", "sweep=sweep")
    assert "0 of them uploaded already" in study.launch("sync", "sweep=sweep", "project=mine", "dry_run=true")
    assert json.loads((study.run_dir(runs[0]) / "synced.json").read_text())["project"] == "fantastic-weights"


def test_sync_without_an_api_key_is_a_one_line_error_that_says_how_to_get_one(study: Study, tmp_path: Path) -> None:
    study.plan("sweep", "recipe.epochs=0")
    study.environment |= {"WANDB_MODE": "online", "HOME": str(tmp_path), "NETRC": str(tmp_path / "none")}
    assert "0 of 1 runs are finished" in study.launch("sync", "sweep=sweep", "dry_run=true")
    answer = study.launch("sync", "sweep=sweep", rc=2)
    assert "WANDB_API_KEY" in answer
    assert answer.count("\n") == 1


def test_runs_are_uploaded_completely_and_once_to_a_server_that_is_busy_at_first(
    trained: tuple[Study, list[str]],
) -> None:
    study, runs = trained
    with WandbServer(refusals=[429, 503, 500]).running() as server:
        study.environment |= server.environment()
        assert "2 uploaded" in study.launch("sync", "sweep=sweep", "entity=me", "jobs=2")
        requests = len(server.requests)
        assert "2 of them uploaded already" in study.launch("sync", "sweep=sweep", "entity=me")
        assert len(server.requests) == requests
    assert server.runs.keys() == set(runs)
    for run_id, run in server.runs.items():
        assert [line["epoch"] for line in run.history if "epoch" in line] == list(range(1, 11))
        assert sum("topology/prune_fraction" in line for line in run.history) == 3
        assert run.summary["test_acc"] == study.summary(run_id)["test_acc"]
        assert (run.heading["groupName"], run.exit_code) == ("small_mlp/digits", 0)
    assert not any(KEY in request for request in server.requests)
    assert not any(KEY in path.read_text(errors="ignore") for path in study.output_dir.rglob("*") if path.is_file())


def test_a_run_uploaded_twice_is_on_the_server_once(trained: tuple[Study, list[str]]) -> None:
    study, runs = trained
    with WandbServer().running() as server:
        study.environment |= server.environment()
        study.launch("sync", "sweep=sweep", "entity=me")
        before = {run_id: run.history for run_id, run in server.runs.items()}
        (study.run_dir(runs[0]) / "synced.json").unlink()
        assert "1 uploaded" in study.launch("sync", "sweep=sweep", "entity=me")
        assert {run_id: run.history for run_id, run in server.runs.items()} == before
        assert server.runs[runs[0]].begun == 2


@pytest.mark.parametrize("status", [401, 403])
def test_a_server_that_refuses_is_a_one_line_error_without_retries(
    trained: tuple[Study, list[str]], status: int
) -> None:
    study, _ = trained
    with WandbServer(refusals=[-status]).running() as server:
        study.environment |= server.environment()
        answer = study.launch("sync", "sweep=sweep", "entity=me", rc=2)
    assert answer.splitlines()[-1].startswith(f"error: no run could be uploaded to {server.url}: ")
    assert str(status) in answer
    assert "Traceback" not in answer
    assert KEY not in answer


def test_an_invalid_server_address_is_a_one_line_error(trained: tuple[Study, list[str]]) -> None:
    study, _ = trained
    study.environment |= {"WANDB_MODE": "online", "WANDB_BASE_URL": "http://host:99999", "WANDB_API_KEY": KEY}
    answer = study.launch("sync", "sweep=sweep", rc=2)
    assert answer.startswith("error: ")
    assert "http://host:99999" in answer
    assert answer.count("\n") == 1
