"""Sweeps of runs that start from other runs: each parent once, before its children, and nothing waits without need."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest

from dst.config import compose, run_id
from dst.files.lock import Owner
from launch.parents import generations
from launch.plan import Plan
from launch.readiness import LEAVE, READY, WAIT, Readiness
from launch.state import states
from launch.status import plan_text, status_text
from launch.timing import Timing
from tests.launch.study import Study

GRADUAL = "parent=[procedure=gradual,update_period=10]"
CHILDREN = (GRADUAL, "initial_mask=parent", "update_period=never", "recipe.epochs=2")
INITS = "weight_init=default,sparsity_aware,parent"


def parents_of(plan: Plan) -> dict[str, str]:
    return {run.run_id: run.parent_id for run in plan.runs if run.parent_id}


def test_a_plan_has_each_parent_once_before_its_children_with_the_weights_that_they_need(study: Study) -> None:
    runs = study.plan("sweep", *CHILDREN, INITS, "weight_init.step=7", "seed=1,2")
    plan = Plan.read("sweep", study.output_dir)
    parents = parents_of(plan)
    assert (len(runs), len(set(runs)), len(parents), len(set(parents.values()))) == (8, 8, 6, 2)
    assert all(runs.index(parent) < runs.index(child) for child, parent in parents.items())
    assert all(plan.by_id[parent].config["checkpoint"]["snapshots"] == [7] for parent in parents.values())
    assert "8 runs (2 of them the parents of others)" in plan_text(plan, states(plan), Timing.read(study.output_dir))


def test_what_the_plan_says_to_type_for_a_parent_is_that_run(study: Study) -> None:
    study.plan("sweep", *CHILDREN, "recipe.lr=0.5", "growth=gradient", "density=0.2,0.3")
    study.plan("chain", "parent=[parent=[procedure=gradual,density=0.1],initial_mask=parent]", "weight_init=parent")
    study.plan("other recipe", "parent=[recipe=vgg16,recipe.epochs=3]", "recipe.lr=0.5", "weight_init=parent")
    for name, count in (("sweep", 4), ("chain", 3), ("other recipe", 2)):
        plan = Plan.read(name, study.output_dir)
        assert len(plan.runs) == count
        assert [run_id(compose(run.overrides)) for run in plan.runs] == [run.run_id for run in plan.runs]


def test_a_parent_that_is_a_point_of_the_sweep_itself_is_one_run_that_keeps_what_its_children_need(
    study: Study,
) -> None:
    study.plan(
        "sweep", "procedure=dst,gradual", "parent=[procedure=gradual]", "weight_init=parent", "weight_init.step=5"
    )
    plan = Plan.read("sweep", study.output_dir)
    parents = parents_of(plan)
    assert len(plan.runs) == 3
    assert len(set(parents.values())) == 1
    study.plan("both", "procedure=gradual", "checkpoint.snapshots=[1],[3]")
    [run] = Plan.read("both", study.output_dir).runs
    assert run.config["checkpoint"]["snapshots"] == [1, 3]
    assert run.overrides[-2] == "checkpoint.snapshots=[1, 3]"
    study.plan("phases", "procedure=gradual", "checkpoint.phases=false,true")
    [run] = Plan.read("phases", study.output_dir).runs
    assert run.config["checkpoint"]["phases"] is True
    assert "checkpoint.phases=true" in run.overrides


def test_generations_follow_the_longest_line_of_ancestors_among_the_given_runs(study: Study) -> None:
    study.plan("chain", "parent=[parent=[seed=7],weight_init=parent]", "weight_init=parent", "seed=1,2")
    plan = Plan.read("chain", study.output_dir)
    sizes = [len(generation) for generation in generations(plan.runs)]
    assert sizes == [1, 2, 2]
    youngest = [run for run in plan.runs if run.run_id not in parents_of(plan).values()]
    assert [len(generation) for generation in generations(youngest)] == [2]


def test_children_begin_when_their_parent_has_finished_and_wait_by_name_until_then(study: Study) -> None:
    study.plan("sweep", *CHILDREN, INITS, "weight_init.step=0", "seed=1,2")
    plan = Plan.read("sweep", study.output_dir)
    header = status_text(plan, states(plan)).splitlines()[1]
    assert header.split("  ")[-2:] == ["waiting for its parent", "runs"]
    study.launch("submit", "sweep=sweep", "cluster=local", "cluster.runs_per_gpu=2")
    for child, parent in parents_of(plan).items():
        began = (study.run_dir(child) / "config.yaml").stat().st_mtime
        assert (study.run_dir(parent) / "summary.json").stat().st_mtime <= began
    assert [study.times_finished(run.run_id) for run in plan.runs] == [1] * 8
    assert "waiting for its parent" not in study.launch("status", "sweep=sweep")


def test_a_failed_parent_fails_its_children_with_one_line_and_retry_brings_all_back(study: Study) -> None:
    study.plan("sweep", *CHILDREN, "weight_init=default,sparsity_aware", "seed=1,2")
    plan = Plan.read("sweep", study.output_dir)
    parents = parents_of(plan)
    bad = next(iter(parents.values()))
    in_the_way = study.run_dir(bad) / "metrics.jsonl"
    in_the_way.mkdir(parents=True)
    submit = ("submit", "sweep=sweep", "cluster=local", "cluster.runs_per_gpu=2")
    answer = study.launch(*submit, rc=1)
    children = ", ".join(child for child, parent in parents.items() if parent == bad)
    assert f"failed {children}: its parent, run {bad}, failed: IsADirectoryError" in answer
    for child, parent in parents.items():
        assert study.is_finished(child) == (parent != bad)
        if parent == bad:
            failure = json.loads((study.run_dir(child) / "failure.json").read_text())
            assert failure["error"].startswith(f"its parent, run {bad}, failed: ")
            assert "Traceback" not in study.log(child)
    in_the_way.rmdir()
    study.launch(*submit, "retry=failed")
    assert [study.times_finished(run.run_id) for run in plan.runs] == [1] * 6


@pytest.mark.slow
def test_a_parent_of_an_earlier_sweep_is_not_trained_again(study: Study, tmp_path: Path) -> None:
    [parent] = study.plan("first", "procedure=gradual", "update_period=10", "recipe.epochs=2")
    study.launch("submit", "sweep=first", "cluster=local")
    runs = study.plan("second", *CHILDREN, "weight_init=default,layer_scaled")
    assert runs[0] == parent
    before = (study.run_dir(parent) / "summary.json").stat().st_mtime_ns
    study.launch("submit", "sweep=second", "cluster=local")
    assert all(study.is_finished(run) for run in runs)
    assert (study.run_dir(parent) / "summary.json").stat().st_mtime_ns == before
    shutil.rmtree(study.run_dir(parent))
    assert "waiting for its parent" not in study.launch("status", "sweep=second")  # a finished child waits for nothing


def test_a_run_whose_owner_fell_silent_while_another_was_trained_is_not_left_to_it(study: Study) -> None:
    """A heartbeat seen before a training of hours says nothing about the owner after it."""
    [run_id] = study.plan("sweep")
    plan = Plan.read("sweep", study.output_dir)
    readiness = Readiness(plan)
    directory = study.run_dir(run_id)
    directory.mkdir(parents=True)
    claim = directory / "claim.1"
    elsewhere = Owner("another-host", 1, "another boot", "")
    claim.write_text(json.dumps(asdict(elsewhere)))
    assert readiness(plan.runs[0]) == WAIT
    readiness.look_again(plan.runs)
    touch_later(claim, 5)
    assert readiness(plan.runs[0]) == LEAVE  # alive a moment ago
    readiness.look_again(plan.runs, has_trained=True)
    touch_later(claim, 5)  # its last heartbeat, after which it died
    assert readiness(plan.runs[0]) == WAIT
    readiness.look_again(plan.runs)
    touch_later(claim, -1000)
    assert readiness(plan.runs[0]) == READY


def touch_later(path: Path, seconds: float) -> None:
    now = path.stat().st_mtime + seconds
    os.utime(path, (now, now))
