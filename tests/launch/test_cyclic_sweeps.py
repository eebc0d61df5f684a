"""The sweeps of cyclic training: their runs, each once, composed, costed, and the parents that they need."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from launch.composition import compose_all
from launch.plan import Plan
from launch.sweep import expand
from launch.timing import Timing

RUNS = {
    "cyclic_resnet20": 534,
    "cyclic_cifar100": 702,
    "cyclic_imagenet": 369,  # the plan adds four parents, LRR and WR to densities of which only the masks are needed
    "cyclic_mnist": 594,
    "cyclic_small": 104,
}


@pytest.mark.parametrize(("name", "runs"), RUNS.items())
def test_a_sweep_has_its_runs_each_once(name: str, runs: int) -> None:
    points = [point.overrides for point in expand(name)]
    assert len(points) == len(set(points)) == runs


def test_a_run_of_each_block_and_model_composes_and_has_a_known_cost(tmp_path: Path) -> None:
    timed = Timing.read(tmp_path).table
    points = {(point.origin, point.overrides[0]): point for name in RUNS for point in expand(name)}
    configs = compose_all([point.overrides for point in points.values()])
    assert len(configs) == len(points) > 80
    setups = {f"{config['model']['name']}/{config['dataset']['name']}" for config in configs}
    assert len(setups) == 9
    assert all("epoch_s" in timed[setup] for setup in setups)


def test_children_have_weights_of_their_own_and_their_parents_are_runs_of_the_sweep(tmp_path: Path) -> None:
    plan = Plan.make("cyclic_small", tmp_path, list(expand("cyclic_small")))
    assert len(plan.runs) == RUNS["cyclic_small"]
    children = [run for run in plan.runs if run.parent_id]
    parents = [plan.by_id[run.parent_id] for run in children if run.parent_id]
    assert all(child.config["seed"] != parent.config["seed"] for child, parent in zip(children, parents, strict=True))
    assert Counter(parent.config["procedure"]["name"] for parent in parents) == {"lrr": 16, "wr": 16}
    assert all(parent.config["checkpoint"]["snapshots"] == [10] for parent in parents)
