"""The logs of probes as a data frame."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis import load_probes, load_runs
from dst.errors import UserError

Train = Callable[..., dict[str, Any]]


def test_a_row_is_a_measurement_of_a_layer_or_of_the_network(train: Train, tmp_path: Path) -> None:
    measured = [train(f"seed={seed}", "probes=[weights]", "probes.weights.every=20") for seed in (1, 2)]
    train("seed=3")
    frame = load_probes("weights", tmp_path / "outputs")
    assert list(frame.columns) == ["run_id", "step", "epoch", "layer", "norm", "distance", "cosine_distance"]
    assert set(frame["run_id"]) == {summary["run_id"] for summary in measured}
    assert len(frame) == 2 * 3 * (1 + 3)
    whole = frame[(frame["layer"] == "") & (frame["run_id"] == measured[0]["run_id"])]
    log = tmp_path / "outputs" / "runs" / measured[0]["run_id"] / "probes" / "weights.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert whole["step"].tolist() == [1, 20, 40]
    assert whole["distance"].tolist() == [line["distance"] for line in lines]
    layers = frame[(frame["layer"] == "layers.3.weight") & (frame["run_id"] == measured[0]["run_id"])]
    assert layers["norm"].iloc[1] == lines[1]["layers"]["layers.3.weight"]["norm"]
    runs = load_runs(tmp_path / "outputs")
    assert set(frame.merge(runs, on="run_id")["seed"]) == {1, 2}
    assert not [column for column in runs.columns if "probe" in column]  # seeds 1 and 3 differ in nothing but the seed


def test_damaged_lines_are_passed_over(train: Train, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    summary = train("probes=gradient_flow", "probes.gradient_flow.every=10", "probes.gradient_flow.sample=64")
    expected = load_probes("gradient_flow", tmp_path / "outputs")
    log = tmp_path / "outputs" / "runs" / summary["run_id"] / "probes" / "gradient_flow.jsonl"
    first, *rest = log.read_bytes().splitlines(keepends=True)
    foreign = b'{"step": 3, "epoch": 1, "layers": [1]}\n[]\n{"epoch": 2}\n'
    log.write_bytes(first + foreign + b"".join(rest) + b'{"step": 5, "epo')
    pd.testing.assert_frame_equal(load_probes("gradient_flow", tmp_path / "outputs"), expected)
    assert "passed over what is damaged" in caplog.text


def test_a_probe_that_no_run_has_is_told_with_those_that_there_are(train: Train, tmp_path: Path) -> None:
    train()
    with pytest.raises(UserError, match=r"none of 1 runs has the probe flow; none has any; train with probes=\[flow\]"):
        load_probes("flow", tmp_path / "outputs")
    train("seed=2", "probes=weights")
    with pytest.raises(UserError, match="none of 2 runs has the probe flow; there are weights"):
        load_probes("flow", tmp_path / "outputs")


def test_the_runs_of_a_sweep_are_chosen_by_its_plan(trained: Path) -> None:
    with pytest.raises(UserError, match="none of 26 runs has the probe weights"):
        load_probes("weights", trained, sweep="tiny")
    with pytest.raises(UserError, match="leave sweep out for all runs"):
        load_probes("weights", trained, sweep="none")


def test_eigenvalues_are_a_column_of_lists(train: Train, tmp_path: Path) -> None:
    train("model.hidden=[6]", "probes=hessian", "probes.hessian.at=[1,5]", "probes.hessian.sample=40")
    frame = load_probes("hessian", tmp_path / "outputs")
    assert list(frame.columns[4:]) == ["size", "method", "largest", "smallest", "negative", "eigenvalues"]
    assert frame["step"].tolist() == [1, 5]
    assert [len(values) for values in frame["eigenvalues"]] == frame["size"].tolist()
    long = frame.explode("eigenvalues")
    assert long.groupby("step")["eigenvalues"].max().tolist() == frame["largest"].tolist()
