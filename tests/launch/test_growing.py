"""A sweep to which runs are added while it is trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dst.errors import UserError
from launch.plan import Plan
from launch.state import states
from launch.status import plan_text
from launch.timing import Timing
from launch.worker import Worker
from tests.launch.study import Study


def test_a_worker_trains_the_runs_that_are_added_to_its_plan_unless_they_need_other_code(study: Study) -> None:
    (first,) = study.plan("sweep", "recipe.epochs=0", "seed=1")
    study.plan("other", "recipe.epochs=0", "seed=2")
    plan, other = Plan.read("sweep", study.output_dir), Plan.read("other", study.output_dir)
    grown = replace(other, name="sweep").added_to(plan)
    assert [run.config["seed"] for run in grown.runs] == [2, 1]

    def train() -> list[str]:
        began: list[str] = []

        def listen(event: str, run_id: str, text: str) -> None:
            if event == "began" and not began:
                grown.write()
            began.extend([run_id] if event == "began" else [])

        Worker("sweep", str(study.output_dir), [first], 1, 0).train(listen)
        return began

    plan = replace(plan, code="another version")
    plan.write()
    assert train() == [first]
    (study.run_dir(first) / "summary.json").unlink()
    plan = replace(plan, code=grown.code)
    plan.write()
    assert train() == [first, other.runs[0].run_id]
    text = plan_text(other, states(other), Timing.read(study.output_dir))  # another sweep with a run of this one
    assert "1 runs, 1 finished already, for free, 0 to do" in text


def test_runs_planned_in_another_directory_are_not_kept_beside_new_ones(study: Study) -> None:
    study.plan("sweep", "seed=1")
    study.plan("other", "seed=2")
    new = replace(Plan.read("other", study.output_dir), cwd=Path("/elsewhere"))
    with pytest.raises(UserError, match=f"was planned in {study.folder}"):
        new.added_to(Plan.read("sweep", study.output_dir))


def test_a_plan_of_an_earlier_version_is_added_to(study: Study) -> None:
    (first,) = study.plan("sweep", "seed=1")
    frozen = Plan.read("sweep", study.output_dir)
    for key in ("snapshots", "phases"):  # which earlier versions did not have
        del frozen.runs[0].config["checkpoint"][key]
    study.plan("other", "seed=1,2")
    grown = replace(Plan.read("other", study.output_dir), name="sweep").added_to(frozen)
    assert [run.run_id for run in grown.runs][:1] == [first]
    assert len(grown.runs) == 2
