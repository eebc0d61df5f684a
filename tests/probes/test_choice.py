"""Probes on the command line: choices, mistakes, plans."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dst.config import checked, compose, run_id
from launch.plan import Plan
from launch.sweep import Point, expand_overrides

Overrides = Callable[..., list[str]]
BASE = ("dataset=digits", "model=small_mlp")


@pytest.mark.parametrize(
    ("chosen", "found"),
    [
        ([], {}),
        (["probes=[]"], {}),
        (["probes=weights"], {"weights": 100}),
        (["probes=[gradient_flow,weights]", "probes.gradient_flow.every=50"], {"gradient_flow": 50, "weights": 100}),
    ],
)
def test_probes_are_chosen_by_name(chosen: list[str], found: dict[str, int]) -> None:
    probes = checked(compose([*BASE, *chosen])).probes
    assert {name: node["every"] for name, node in probes.items()} == found


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["probes=[gradient_flw]"], "probes=[gradient_flw]: unknown; did you mean gradient_flow?"),
        (
            ["probes=flow"],
            "probes=flow: unknown; choose one of gradient_flow, hessian, jaccard, update_effect, weights",
        ),
        (["probes=null"], "probes=null: unknown; choose one of"),
        (["probes=[3]"], "probes=[3]: unknown; choose one of"),
        (["probes=weights", "probes.weights.every=0"], "probes.weights.every=0: must be 1 step or more"),
        (["probes=weights", "probes.weights.every=null"], "probes.weights.every=None: "),
        (["probes=weights", "probes.weights.evry=3"], "probes.weights.evry: unknown; did you mean every?"),
        (["probes=weights", "probes.weights.name=norms"], "probes.weights: is no probe; choose some with probes=["),
        (["probes.weights.every=3"], "probes.weights: the run has no such probe; choose it with probes=[weights]"),
        (["+probes.weights.every=3"], "probes.weights: is no probe; choose some with probes=["),
        (
            ["probes=weights", "probes.weights._target_=dst.sparsity.SNIP"],
            "probes.weights._target_=dst.sparsity.SNIP: is no Probe; name",
        ),
        (
            ["probes=gradient_flow", "probes.gradient_flow.sample=-1"],
            "probes.gradient_flow.sample=-1: must be 0 (the training batch) or more",
        ),
        (
            ["probes=gradient_flow", "probes.gradient_flow.sample=1258"],
            "probes.gradient_flow.sample=1258: the training split has 1257 samples; give 1257 or fewer",
        ),
    ],
)
def test_a_mistake_is_one_line_before_any_work(
    more: list[str], told: str, overrides: Overrides, type_in: Any, tmp_path: Path
) -> None:
    status, _, err = type_in(*overrides(*more))
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert status == 2
    assert line.startswith(f"error: {told}")
    assert not (tmp_path / "outputs").exists()


def test_the_help_lists_the_probes(type_in: Any) -> None:
    status, out, _ = type_in("--help")
    assert status == 0
    assert any(
        line.split() == ["probes", "gradient_flow,", "hessian,", "jaccard,", "update_effect,", "weights"]
        for line in out.splitlines()
    )


def test_a_plan_holds_the_probes_of_its_runs(tmp_path: Path) -> None:
    more = ("seed=1,2,3", "density=dense,d0.1", "probes=[gradient_flow,weights]", "probes.weights.every=7")
    runs = [Point(point) for point in expand_overrides([*BASE, *more])]
    plan = Plan.make("mine", tmp_path, runs)
    assert [run.config["probes"]["weights"]["every"] for run in plan.runs] == [7] * 6
    assert [run.run_id for run in plan.runs] == [run_id(compose(run.overrides)) for run in runs]
    assert [run.run_id for run in plan.runs] == [run_id(run.config) for run in plan.runs]


def test_the_module_of_a_probe_of_ones_own_goes_with_the_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_probe.py").write_text("from dst.probes import Probe\n\n\nclass Mine(Probe):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    mine = ("+probes.mine._target_=my_probe.Mine", "+probes.mine.name=mine", "probes=weights")
    assert Plan.make("mine", tmp_path, [Point((*BASE, *mine))]).modules == ["dst", "my_probe"]


def test_configs_of_earlier_plans_have_no_probes() -> None:
    config = compose(BASE)
    del config.probes
    assert checked(config).probes == {}
    assert run_id(config) == run_id(compose(BASE))
