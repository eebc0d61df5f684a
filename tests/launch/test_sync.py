"""Uploads of finished runs, up to the client's edge: what W&B's client is told, read back from its offline files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.launch.study import Study
from tests.test_tracking import Report


@pytest.fixture
def trained(study: Study) -> tuple[Study, list[str]]:
    runs = study.plan("sweep", "recipe.epochs=10", "seed=1,2")
    study.launch("submit", "sweep=sweep", "cluster=local")
    return study, runs


def test_finished_runs_are_uploaded_once_each_under_their_ids_with_their_whole_history(
    trained: tuple[Study, list[str]],
) -> None:
    study, runs = trained
    assert "2 uploaded" in study.launch("sync", "sweep=sweep", "jobs=2", "project=mine")
    assert "2 of them uploaded already" in study.launch("sync", "sweep=sweep", "project=mine")
    for run_id in runs:
        assert len(list(study.run_dir(run_id).glob("wandb/offline-run-*"))) == 1
        report = Report(study.run_dir(run_id))
        assert (report.run.run_id, report.run.project) == (run_id, "mine")
        assert (report.run.run_group, report.run.job_type) == ("small_mlp/digits", "magnitude")
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


def test_without_a_key_sync_says_in_one_line_how_to_get_one(study: Study, tmp_path: Path) -> None:
    study.plan("sweep", "recipe.epochs=0")
    study.environment |= {"WANDB_MODE": "online", "HOME": str(tmp_path), "NETRC": str(tmp_path / "none")}
    answer = study.launch("sync", "sweep=sweep", rc=2)
    assert "WANDB_API_KEY" in answer
    assert answer.count("\n") == 1
