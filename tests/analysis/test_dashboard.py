from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

TypeIn = Callable[..., tuple[int, str, str]]


def objects(node: Any) -> Iterator[dict[str, Any]]:
    """Every object inside a JSON document."""
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from objects(child)


@pytest.fixture
def spec(trained: Path, tmp_path: Path, type_in: TypeIn) -> dict[str, Any]:
    where = (f"output_dir={trained}", f"results_dir={tmp_path}")
    status, out, _ = type_in("dashboard", "entity=lab", "project=sparse", "dry_run=true", *where)
    assert (status, out.strip()) == (0, f"specification in {tmp_path / 'dashboard.json'}")
    found: dict[str, Any] = json.loads((tmp_path / "dashboard.json").read_text())
    return found


def test_the_dashboard_belongs_to_the_given_project(spec: dict[str, Any]) -> None:
    assert spec["project"] == {"name": "sparse", "entityName": "lab"}


def test_accuracy_is_plotted_versus_density_for_each_setup_and_growth(spec: dict[str, Any]) -> None:
    plots = [found["config"] for found in objects(spec) if found.get("viewType") == "Scatter Plot"]
    accuracy = [plot for plot in plots if plot["yAxis"] == "summary:test_acc"]
    assert len(accuracy) == 2
    assert {plot["xAxis"] for plot in accuracy} == {"config:density.value"}
    assert all(plot["xAxisLogScale"] for plot in accuracy)
    periods = {plot["yAxis"] for plot in plots if plot["xAxis"] == "config:update_period.value"}
    assert periods == {"summary:val_acc", "summary:itop_ratio"}
    growths = [
        key["value"]
        for found in objects(spec)
        if found.get("filterFormat")
        for key in found["filters"]
        if key["key"]["name"] == "growth.value"
    ]
    assert set(growths) == {"random", "gradient"}


def test_points_are_grouped_by_criterion_without_dense_and_static(spec: dict[str, Any]) -> None:
    for runset in (found for found in objects(spec) if {"grouping", "filters"} <= found.keys() and found["grouping"]):
        by = runset["grouping"][0]["name"]
        job = next(key for key in runset["filters"]["filters"] if key["key"]["name"] == "jobType")
        assert job["value"] == ["dense", "static"]
        assert (by, job["op"]) in (("criterion.value", "NIN"), ("jobType", "IN"))


def test_the_dashboard_has_learning_curves_and_a_run_table(spec: dict[str, Any]) -> None:
    curves = [found["config"] for found in objects(spec) if found.get("viewType") == "Run History Line Plot"]
    assert {metric for curve in curves for metric in curve["metrics"]} == {"val_acc", "train_loss"}
    assert all((curve["xAxis"], curve["groupArea"]) == ("epoch", "stddev") for curve in curves)
    assert any(found.get("name") == "all runs" for found in objects(spec))


def test_without_runs_the_dashboard_has_the_setups_of_the_paper(tmp_path: Path, type_in: TypeIn) -> None:
    where = (f"output_dir={tmp_path / 'none'}", f"results_dir={tmp_path}")
    assert type_in("dashboard", "entity=lab", "dry_run=true", *where)[0] == 0
    text = (tmp_path / "dashboard.json").read_text()
    assert all(name in text for name in ("vgg16 on cifar100", "large_mlp on cifar10", "small_cnn on cifar10"))


def test_a_missing_entity_is_reported_in_one_line(type_in: TypeIn) -> None:
    status, _, err = type_in("dashboard", "dry_run=true")
    assert status == 2
    assert err.startswith("error: entity: ")
    assert err.count("\n") == 1


def test_a_rejection_by_wandb_is_reported_in_one_line(
    trained: Path, tmp_path: Path, type_in: TypeIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb_workspaces.reports.v2 as wr

    def refuse(self: Any) -> None:
        raise RuntimeError("permission denied\nfor lab")

    monkeypatch.setattr(wr.Report, "save", refuse)
    status, _, err = type_in("dashboard", "entity=lab", f"output_dir={trained}", f"results_dir={tmp_path}")
    assert status == 2
    assert "permission denied for lab" in err
    assert err.count("\n") == 1
