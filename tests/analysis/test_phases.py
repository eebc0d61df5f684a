"""Phases as a data frame, and lines of runs that iterate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analysis import load_phases, load_runs
from analysis.compare import select_comparable

Train = Callable[..., dict[str, Any]]


def test_a_row_is_a_phase_of_a_run(train: Train, tmp_path: Path) -> None:
    pruned = train("procedure=lrr", "density.value=0.7", "recipe.epochs=1")
    single = train("recipe.epochs=1")
    frame = load_phases(tmp_path / "outputs")
    names = ["run_id", "phase", "name", "epochs", "epoch", "density", "test_acc", "val_acc", "step"]
    assert list(frame.columns) == [*names, "flops_training"]
    ours = frame[frame["run_id"] == pruned["run_id"]]
    assert ours["name"].tolist() == ["level 0", "level 1", "level 2"]
    assert ours["epoch"].tolist() == [1, 2, 3]
    assert ours["density"].tolist() == pytest.approx([1.0, 0.8, 0.7], abs=1e-4)
    assert ours["test_acc"].iloc[-1] == pruned["test_acc"]
    assert ours["flops_training"].iloc[-1] == pruned["flops_training"]
    cost = ours["flops_training"].diff().fillna(ours["flops_training"])
    assert cost.iloc[1] < 0.9 * cost.iloc[0]
    assert cost.iloc[2] < cost.iloc[1]
    assert frame.loc[frame["run_id"] == single["run_id"], "name"].tolist() == ["train"]
    assert set(frame.merge(load_runs(tmp_path / "outputs"), on="run_id")["method"]) == {"iterative", "dst"}


def test_no_runs_are_no_rows(tmp_path: Path) -> None:
    assert load_phases(tmp_path).empty
    assert "test_acc" in load_phases(tmp_path)


def test_methods_and_criteria_of_iterative_pruning_are_lines_of_their_own(train: Train, tmp_path: Path) -> None:
    short = ["density.value=0.9", "recipe.epochs=1"]
    for more in (["procedure=lrr"], ["procedure=imp"], ["procedure=lrr", "criterion=random"], ["procedure=dst"]):
        train(*more, *short)
    runs = select_comparable(load_runs(tmp_path / "outputs")).runs
    assert set(runs["line"]) == {
        "iterative, criterion=magnitude, procedure=lrr",
        "iterative, criterion=magnitude, procedure=imp",
        "iterative, criterion=random, procedure=lrr",
        "magnitude",
    }
