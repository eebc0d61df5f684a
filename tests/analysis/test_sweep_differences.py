"""``compare``: two sweeps, paired by seed, apart from what they differ in."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.frames import runs_frame
from analysis.paired import Differences, holm
from analysis.sweep_differences import compare_sweeps
from tests.analysis.test_best import made

TypeIn = Callable[..., tuple[int, str, str]]


def test_what_sets_two_sweeps_apart_is_left_out_of_the_rows_and_runs_are_paired_by_seed() -> None:
    a = runs_frame([row for density in (0.1, 0.2) for row in made("snip", density, {1: 0.5, 2: 0.7, 3: 0.1})])
    b = runs_frame(
        [
            *made("set", 0.1, {1: 0.6, 2: 0.9}),
            *made("set", 0.2, {1: 0.5, 2: 0.7, 3: 0.1}),
            *made("set", 0.5, {1: 0.5, 2: 0.5}),
        ]
    )
    found = compare_sweeps(a, b, "val_acc")
    assert found.apart == ["criterion"]
    assert list(found.rows["label"]) == ["density=0.1", "density=0.2"]
    assert list(found.rows["difference"]) == pytest.approx([0.15, 0.0])
    assert list(found.rows["pairs"]) == [2, 3]
    assert found.unpaired == {"a": 1, "b": 0}
    assert found.alone == {"a": {}, "b": {"density=0.5": 2}}


def test_a_choice_that_varies_within_the_sweeps_is_no_difference_between_them() -> None:
    a = runs_frame([row for name in ("snip", "set") for row in made(name, 0.1, {1: 0.5}, recipe_lr=0.1)])
    b = runs_frame([row for name in ("snip", "mest") for row in made(name, 0.1, {1: 0.6}, recipe_lr=0.2)])
    found = compare_sweeps(a, b, "val_acc")
    assert found.apart == ["recipe_lr"]
    assert list(found.rows["label"]) == ["criterion=snip"]
    assert found.alone == {"a": {"criterion=set": 1}, "b": {"criterion=mest": 1}}


def test_the_interval_lies_about_the_mean_and_narrows_with_the_spread() -> None:
    values = pd.Series(np.random.default_rng(0).normal(1, 0.5, 50))
    low, high = Differences(values).interval()
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 50**0.5, rel=0.15)
    assert np.isnan(Differences(values[:1]).interval()).all()


def test_p_values_are_those_of_wilcoxon_and_one_where_nothing_differs() -> None:
    values = pd.Series([0.1, 0.2, -0.05, 0.3, 0.15, 0.12, 0.4])
    assert Differences(values).wilcoxon() == stats.wilcoxon(values).pvalue
    assert Differences(0 * values).wilcoxon() == 1.0
    assert np.isnan(Differences(values[:1]).wilcoxon())


def test_holm_multiplies_by_the_tests_left_keeps_the_order_and_passes_over_what_was_not_tested() -> None:
    adjusted = holm(pd.Series([0.04, 0.01, float("nan"), 0.03]))
    assert list(adjusted.dropna()) == pytest.approx([0.06, 0.03, 0.06])
    assert np.isnan(adjusted[2])


def test_compare_prints_and_writes_what_two_sweeps_of_an_output_dir_have(
    outputs: Path, tmp_path: Path, type_in: TypeIn
) -> None:
    header, *lines = (outputs / "sweeps" / "tiny" / "plan.jsonl").read_text().splitlines()
    runs = [json.loads(line) for line in lines]
    dynamic = [run for run in runs if run["config"]["update_period"]["steps"] == 10]
    for name in ("magnitude", "snip"):
        chosen = [run for run in dynamic if run["config"]["criterion"]["name"] == name]
        chosen = chosen if name == "snip" else [run for run in chosen if run["config"]["growth"]["name"] == "random"]
        folder = outputs / "sweeps" / name
        folder.mkdir()
        plan = [json.dumps({**json.loads(header), "runs": len(chosen)}), *map(json.dumps, chosen)]
        (folder / "plan.jsonl").write_text("".join(f"{line}\n" for line in plan))
    where = (f"output_dir={outputs}", f"results_dir={tmp_path / 'results'}")
    status, out, err = type_in("compare", "sweep=magnitude,snip", *where)
    assert status == 0, err
    assert "they differ in: criterion (magnitude: magnitude; snip: snip)" in out
    assert "Only snip has 4 runs: growth=gradient, density=0.1 (2)" in out
    table = pd.read_csv(tmp_path / "results" / "magnitude_vs_snip" / "compare.csv")
    assert list(table["label"]) == ["growth=random, density=0.1", "growth=random, density=0.2"]
    assert list(table["pairs"]) == [2, 2]
    for sweep in ("magnitude", "magnitude,magnitude", "a,b,c"):
        status, _, err = type_in("compare", f"sweep={sweep}", *where)
        assert (status, err) == (2, f"error: sweep={sweep}: give the names of two sweeps, sweep=A,B\n")
