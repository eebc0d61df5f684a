"""Sweeps and plans: their runs, equality with Hydra's composition, and error messages."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

import pytest

from dst.config import checked, compose, run_id
from dst.data.prepare import prepare
from dst.errors import UserError
from launch.composition import compose_all
from launch.length import period_warning, without_updates
from launch.plan import Plan
from launch.sweep import Point, expand, expand_overrides

PAPER_IDS = "7eb11ad2a4ec2c9418c90454e41f754b9c459ccb17c42357dba76c7ece216a99"
"""SHA-256 of the ids, sorted and joined by newlines: other ids would orphan finished runs."""


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return Plan.make("paper", tmp_path_factory.mktemp("outputs"), list(expand("paper")))


def test_the_papers_sweeps_have_the_papers_numbers_of_runs(paper: Plan) -> None:
    points = list(expand("paper"))
    configs = compose_all([point.overrides for point in points])
    ids = {point.overrides: run_id(config) for point, config in zip(points, configs, strict=True)}
    runs = {name: {ids[point.overrides] for point in expand(name)} for name in ("fig1", "fig2", "fig5")}
    assert {name: len(found) for name, found in runs.items()} == {"fig1": 4880, "fig2": 21, "fig5": 2700}
    assert len(runs["fig1"] & runs["fig5"]) == 300
    assert {run.run_id for run in paper.runs} == set.union(*runs.values())
    assert len(paper.runs) == 7301


def test_run_ids_and_configs_are_those_of_hydras_own_composition(paper: Plan) -> None:
    for run in random.Random(1).sample(paper.runs, 8):
        assert run_id(compose(run.overrides)) == run.run_id, run.command
        assert run_id(run.config) == run.run_id


def test_the_run_ids_of_the_paper_sweep_never_change(paper: Plan) -> None:
    ids = "\n".join(sorted(run.run_id for run in paper.runs))
    assert hashlib.sha256(ids.encode()).hexdigest() == PAPER_IDS


@pytest.mark.parametrize(
    "overrides",
    [
        # overrides that are valid only together, values within a setup, a key of the recipe, deletions and additions
        ["growth=momentum", "sparsity.momentum=dense", "seed=1,2", "density=d0.1,d0.2"],
        ["growth=momentum,random", "sparsity.momentum=dense", "criterion=mest", "criterion.lam=1,2", "seed=1"],
        ["model=small_mlp,large_mlp", "dataset=digits", "model.hidden=[8],[16]", "recipe.epochs=1"],
        ["model=small_mlp", "dataset=digits", "density=dense,d0.1", "update_period=never,dt25", "seed=range(1,3)"],
        # a recipe that chooses a learning-rate schedule
        ["model=lenet5,small_mlp", "dataset=mnist", "seed=1,2"],
        ["model=lenet5,small_mlp", "dataset=mnist", "lr_schedule=step,cosine", "seed=1,2"],
        ["model=lenet300_100", "dataset=mnist", "recipe=mnist_mlp,sgd_100", "lr_schedule.warmup=0,2"],
        ["dataset.split_seed=3", "density.value=0.12,0.13", "seed=1,2"],
    ],
)
def test_any_combination_of_overrides_is_composed_as_hydra_does(overrides: list[str], tmp_path: Path) -> None:
    runs = points(*overrides)
    ids = list(dict.fromkeys(run_id(compose(point.overrides)) for point in runs))
    assert [run.run_id for run in Plan.make("mine", tmp_path, runs).runs] == ids


def test_a_value_that_is_valid_only_with_other_overrides_is_composed_by_hydra(tmp_path: Path) -> None:
    values = ",".join(map(str, range(101, 111)))
    runs = points("model=small_mlp", "dataset=digits", "seed=2,3", f"recipe.epochs={values},${{seed}}")
    epochs = [run.config["recipe"]["epochs"] for run in Plan.make("mine", tmp_path, runs).runs]
    assert epochs == [*range(101, 111), 2, *range(101, 111), 3]


def test_runs_with_equal_ids_are_planned_once(tmp_path: Path) -> None:
    runs = points("model=small_mlp", "dataset=digits", "density=dense", "criterion=magnitude,mest")
    assert len(Plan.make("mine", tmp_path, runs).runs) == 1


def test_a_plan_reads_as_it_was_written(tmp_path: Path) -> None:
    plan = Plan.make("mine", tmp_path, points("model=small_mlp", "dataset=digits", "seed=1,2"))
    plan.write()
    assert Plan.read("mine", tmp_path) == plan


@pytest.mark.parametrize("prepared", [False, True])
def test_the_plan_warns_of_runs_whose_period_is_longer_than_their_training(tmp_path: Path, prepared: bool) -> None:
    digits = ("model=small_mlp", "dataset=digits", "recipe.epochs=5", f"data_dir={tmp_path / 'data'}")
    if prepared:  # 50 steps either way: the well-known size is the real one
        prepare(checked(compose(digits)).dataset, tmp_path / "data")
    runs = points(*digits, "density=dense", "update_period=dt800") + points(*digits, "update_period=never")
    runs += points(*digits, "update_period.steps=49,50,800")
    plan = Plan.make("mine", tmp_path, runs)
    assert [run.config["update_period"]["steps"] for run in without_updates(plan.runs)] == [50, 800]
    assert "2 runs make no topology update" in period_warning(plan.runs)
    assert period_warning(plan.runs).count("\n") == 1


def points(*overrides: str) -> list[Point]:
    return [Point(run) for run in expand_overrides(overrides)]


BLOCK = {"name": "one", "setups": ["small_mlp/digits"], "axes": {"seed": [1, 2]}}


@pytest.mark.parametrize(
    ("sweep", "told"),
    [
        ({"blocks": [BLOCK | {"axes": {"criterion": ["magnitud"]}}]}, ["magnitud", "did you mean magnitude?"]),
        ({"blocks": [BLOCK | {"axes": {"density.value": [1.5]}}]}, ["density.value=1.5", "(0, 1]"]),
        ({"blocks": [BLOCK | {"axes": {"seeds": [1]}}]}, ["seeds"]),
        ({"blocks": [BLOCK | {"setups": ["small_mlp"]}]}, ["block one", "small_mlp", "model/dataset"]),
        ({"blocks": [BLOCK | {"setups": ["vgg16/digits"]}]}, ["vgg16", "digits"]),
        ({"blocks": [BLOCK | {"axes": {"seed": []}}]}, ["block one", "axes.seed"]),
        ({"blocks": [BLOCK | {"axes": {"seed": "range(1,"}}]}, ["block one", "range(1,"]),
        ({"blocks": [{"name": "one", "axes": {"seed": [1]}}]}, ["block one", "setups"]),
        ({"blocks": [BLOCK | {"axis": {}}]}, ["axis", "setups"]),
        ({"block": []}, ["block", "blocks"]),
        ({}, ["no runs"]),
        ({"include": ["fig31"]}, ["fig31", "fig1"]),
    ],
)
def test_a_mistake_in_a_sweep_file_is_told_with_the_file_and_what_is_valid(
    sweep: dict[str, object], told: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps(sweep))
    with pytest.raises(UserError) as error:
        Plan.make("mine", tmp_path, list(expand(str(path))))
    line = str(error.value)
    assert "\n" not in line
    assert all(word in line for word in [str(path), *told]), line


def test_the_sweeps_of_figure_6_have_the_papers_numbers_of_runs(tmp_path: Path) -> None:
    for name, each in (("fig6a", 240), ("fig6b", 30)):
        of_model = {
            model: [point for point in expand(name) if f"model={model}" in point.overrides]
            for model in ("large_mlp", "small_cnn", "resnet56")
        }
        assert {model: len(found) for model, found in of_model.items()} == dict.fromkeys(of_model, each)
        assert sum(map(len, of_model.values())) == len(list(expand(name)))
        runs = Plan.make(name, tmp_path, of_model["small_cnn"]).runs
        assert len(runs) == each
        assert {run.config["update_period"]["steps"] for run in runs} == {800}
    assert len(list(expand("fig6_small"))) == 144 + 18
