"""``where=``: commands that concern some of a sweep's runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from dst.errors import UserError
from launch.arguments import parse_arguments
from launch.cancel import cancel
from launch.cluster import ClusterConfig
from launch.local import train_locally
from launch.plan import Plan
from launch.planning import make_plan
from launch.state import states
from launch.worker import Worker
from tests.launch.study import Study
from tests.launch.test_plan import points


def test_selected_runs_are_trained_and_cancelled_ones_only_once_submitted_again(study: Study) -> None:
    study.plan("sweep", "recipe.epochs=0", "criterion=magnitude,mest", "seed=1,2")
    plan = Plan.read("sweep", study.output_dir)

    def finished() -> list[tuple[str, int]]:
        done = [run.config for run in plan.runs if study.is_finished(run.run_id)]
        return [(config["criterion"]["name"], config["seed"]) for config in done]

    assert list(cancel(plan, "seed == 1", dry_run=True))[1].startswith("2 unfinished runs would be cancelled")
    list(cancel(plan, "seed == 1", dry_run=False))
    worker = Worker(
        "sweep", str(study.output_dir), [run.run_id for run in plan.runs], 1, 0, where='criterion == "mest"'
    )
    worker.train(lambda event, run_id, text: None)
    assert finished() == [("mest", 2)]
    train_locally(plan.select("seed == 1 and criterion == 'mest'"), ClusterConfig("local", "local"), retry_failed=False)
    assert finished() == [("mest", 1), ("mest", 2)]


def test_parents_are_trained_with_the_selected_runs_and_shown_only_if_selected(tmp_path: Path) -> None:
    child = ("model=small_mlp", "dataset=digits", "weight_init=parent", "parent=[density=dense]", "seed=1,2")
    plan = Plan.make("mine", tmp_path, points(*child))
    selected = plan.select("density < 1 and seed == 2")
    assert [run.config["seed"] for run in selected.runs] == [2]
    assert states(selected)[selected.runs[0].run_id].for_parent
    family = plan.select("density < 1 and seed == 2", with_parents=True)
    assert [run.run_id for run in family.runs] == [selected.runs[0].parent_id, selected.runs[0].run_id]
    with pytest.raises(UserError, match="selects none of 4 runs; there are seed: 1, 2"):
        plan.select("seed == 3")
    with pytest.raises(UserError, match="there is no sed; the nearest first, there are seed"):
        plan.select("sed == 1")


def test_plan_freezes_the_selected_runs_with_their_parents_and_the_others_when_asked_for(tmp_path: Path) -> None:
    family = ("weight_init=parent", "parent=[density=dense]", "density=dense,d0.2", "model=small_mlp", "dataset=digits")
    words = ["name=mine", f"output_dir={tmp_path}", *family, "seed=1,2"]

    def planned(*more: str) -> list[tuple[int, float | None]]:
        arguments = parse_arguments("plan", [*words, *more])
        make_plan(arguments, arguments.where, keep_others=True)
        return [(run.config["seed"], run.config["density"]["value"]) for run in Plan.read("mine", tmp_path).runs]

    assert planned("where=seed == 2 and density < 1") == [(2, None), (2, 0.2)]
    assert "'where=seed == 2 and density < 1'" in Plan.read("mine", tmp_path).command
    assert len(planned()) == 6
    assert len(planned("where=seed == 1", "replace=true")) == 3
