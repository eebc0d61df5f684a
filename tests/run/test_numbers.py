"""A number typed for a group means its value: in a training, Hydra's multirun, a plan, a sweep file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dst.config import compose, run_id
from launch.plan import Plan
from launch.sweep import Point, expand, expand_overrides

TypeIn = Callable[..., tuple[int, str, str]]


def identifier(*overrides: str) -> str:
    return run_id(compose(list(overrides)))


@pytest.mark.parametrize(
    ("number", "long"),
    [
        ("density=0.1", "density=d0.1"),
        ("density=0.10", "density=d0.1"),
        ("density=1e-1", "density=d0.1"),
        ("density=0.12", "density.value=0.12"),
        ("density=1", "density.value=1.0"),
        ("update_period=100", "update_period=dt100"),
        ("update_period=7", "update_period.steps=7"),
        ("prune_fraction=0.3", "prune_fraction.initial=0.3"),
        ("prune_fraction=1", "prune_fraction.initial=1.0"),
    ],
)
def test_a_number_means_its_value(number: str, long: str) -> None:
    assert identifier(number) == identifier(long)


def test_a_sweep_may_mix_names_and_numbers_with_the_multirun_flag_anywhere(
    type_in: TypeIn, overrides: Callable[..., list[str]], tmp_path: Path
) -> None:
    status, _, err = type_in("density=d0.05,0.12,dense", "--multirun", *overrides("recipe.epochs=0"))
    assert status == 0, err
    summaries = [json.loads(path.read_text()) for path in (tmp_path / "outputs/runs").glob("*/summary.json")]
    assert {summary["density"] for summary in summaries} == {0.05, 0.12, 1.0}


def test_plans_and_sweep_files_take_numbers_as_trainings_do(tmp_path: Path) -> None:
    fixed = ["model=small_mlp", "dataset=digits"]
    names = [["density=d0.05", "density.value=0.3", "density=dense"], ["update_period=dt100", "update_period.steps=7"]]
    expected = {identifier(*fixed, density, period) for density in names[0] for period in names[1]}
    typed = expand_overrides([*fixed, "density=0.05,0.3,dense", "update_period=100,7"])
    line = [Point(run) for run in typed]
    axes = {"density": [0.05, 0.3, "dense"], "update_period": [100, 7]}
    file = tmp_path / "mine.yaml"
    file.write_text(json.dumps({"blocks": [{"name": "one", "setups": ["small_mlp/digits"], "axes": axes}]}))
    for points in (line, list(expand(str(file)))):
        assert {run.run_id for run in Plan.make("mine", tmp_path, points).runs} == expected


def test_a_range_of_densities_ends_at_round_numbers(tmp_path: Path) -> None:
    typed = expand_overrides(["model=small_mlp", "dataset=digits", "density=range(0.1,0.35,0.1)"])
    points = [Point(run) for run in typed]
    found = [run.config["density"]["value"] for run in Plan.make("mine", tmp_path, points).runs]
    assert found == [0.1, 0.2, 0.3]
