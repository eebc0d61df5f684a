"""Runs of which only a part of the weights is sparse."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dst.errors import UserError
from launch.plan import Plan
from launch.sweep import Point

Train = Callable[..., dict[str, Any]]

HEAD = "layers.5.weight"
SIZES = {"layers.1.weight": 16_384, "layers.3.weight": 65_536, HEAD: 2_560}
SPARSE = SIZES["layers.1.weight"] + SIZES["layers.3.weight"]
DENSE_HEAD = ("sparsity.exclude=[layers.5.*]", "update_period=never", "recipe.epochs=1")


def masks_and_weights(folder: Path, run_id: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    run = folder / "outputs" / "runs" / run_id
    return torch.load(run / "masks.pt"), torch.load(run / "checkpoint.pt")["training"]["model"]


def assert_head_is_dense(summary: dict[str, Any], folder: Path, active: int) -> None:
    masks, weights = masks_and_weights(folder, summary["run_id"])
    assert set(masks) == set(SIZES) - {HEAD}
    assert weights[HEAD].all()
    assert all(not weights[name][~mask].any() for name, mask in masks.items())
    assert sum(int(mask.sum()) for mask in masks.values()) == summary["parameters_active"] == active
    assert (summary["parameters_sparsifiable"], summary["dense_parameters"]) == (SPARSE, SIZES[HEAD])
    assert summary["flops_inference"] == 2 * (active + SIZES[HEAD])


def test_masks_by_score_and_weights_by_mask_leave_an_excluded_layer_dense(
    train: Train, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    chosen = (*DENSE_HEAD, "initial_mask=snip", "weight_init=sparsity_aware", "checkpoint.snapshots=[0]", "density=0.1")
    with caplog.at_level(logging.INFO, "dst"):
        summary = train(*chosen)
    (line,) = [line for line in caplog.messages if "stay dense" in line]
    assert line.startswith("2,560 of 84,480 weights (3.0%) stay dense")
    assert line.endswith(f": {HEAD}")
    assert_head_is_dense(summary, tmp_path, SPARSE - int(0.9 * SPARSE))
    plain = train("density=dense", "recipe.epochs=0", "checkpoint.snapshots=[0]")
    first, default = (
        torch.load(tmp_path / "outputs" / "runs" / one["run_id"] / "snapshots" / "0.pt")["model"]
        for one in (summary, plain)
    )
    assert torch.equal(first[HEAD], default[HEAD])
    assert not torch.equal(first["layers.3.weight"], default["layers.3.weight"])


def test_iterative_pruning_and_its_child_leave_an_excluded_layer_dense(
    train: Train, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = SPARSE - int((1 - 0.64) * SPARSE)
    parent = "parent=[procedure=imp,criterion=snip]"
    with caplog.at_level(logging.INFO, "dst"):
        child = train(*DENSE_HEAD, "density=0.64", parent, "initial_mask=parent", "weight_init=parent")
    assert len([line for line in caplog.messages if "stay dense" in line]) == 2  # one of each run
    assert_head_is_dense(child, tmp_path, kept)
    masks, _ = masks_and_weights(tmp_path, child["run_id"])
    of_parent, _ = masks_and_weights(tmp_path, child["parent"])
    assert all(torch.equal(masks[name], mask) for name, mask in of_parent.items())


def test_a_parent_of_which_other_weights_are_sparse_is_refused(train: Train) -> None:
    parent = "parent=[sparsity.exclude=null]"
    with pytest.raises(UserError, match=f"parent=.*{HEAD}"):
        train(*DENSE_HEAD, parent, "initial_mask=parent", "recipe.epochs=0")


def test_a_plan_refuses_patterns_that_no_parameter_matches(tmp_path: Path) -> None:
    good = ("dataset=digits", "model=small_mlp", "sparsity.exclude=[layers.5.*]")
    wrong = (*good[:2], "sparsity.exclude=[classifier.*]")
    points = [Point(overrides, ()) for overrides in (good, wrong)]
    with pytest.raises(
        UserError,
        match=r"model=small_mlp, sparsity: exclude=classifier\.\*: matches no parameter .* layers\.\d\.weight",
    ):
        Plan.make("mine", tmp_path, points)
    nothing = Point((*good[:2], "sparsity.exclude=[layers.*]"), ())
    with pytest.raises(UserError, match=r"sparsity\.exclude=\['layers\.\*'\] leaves no weight to be sparse"):
        Plan.make("mine", tmp_path, [nothing])
