"""``best``: the best choice of each group by the mean over seeds, and whether the next one is any worse."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from omegaconf import OmegaConf

from analysis.best import Best, best_choices
from analysis.frames import runs_frame
from analysis.repeat import repeat_command
from dst.config import compose, run_id

TypeIn = Callable[..., tuple[int, str, str]]


def made(criterion: str, density: float, accuracies: dict[int, float], **more: object) -> list[dict[str, object]]:
    """Rows of runs that differ in their seeds."""
    shared = {"status": "finished", "setup": "m/d", "model": "m", "dataset": "d", "method": "dst", "density": density}
    shared |= {"criterion": criterion, "growth": "random", "update_period": 800} | more
    return [
        shared | {"seed": seed, "run_id": f"{criterion}{density}{seed}{more}", "val_acc": acc, "test_acc": acc - 0.1}
        for seed, acc in accuracies.items()
    ]


def best_of(*runs: list[dict[str, object]], by: str = "val_acc", group: str = "density") -> list[Best]:
    return best_choices(runs_frame([row for rows in runs for row in rows]), by, [group])


def test_each_group_has_the_choice_of_the_best_mean_first_and_the_others_in_order() -> None:
    found = best_of(
        *(made("magnitude", density, {1: 0.5, 2: 0.7}) for density in (0.1, 0.2)),
        made("snip", 0.1, {1: 0.8, 2: 0.8}),
        made("snip", 0.2, {1: 0.4, 2: 0.4}),
        made("set", 0.2, {1: 0.5, 2: 0.5}),
    )
    assert [(best.group, [candidate.label for candidate in best.candidates]) for best in found] == [
        ("density=0.1", ["criterion=snip", "criterion=magnitude"]),
        ("density=0.2", ["criterion=magnitude", "criterion=set", "criterion=snip"]),
    ]


def test_whatever_varies_is_a_choice_and_nothing_is_averaged_but_seeds() -> None:
    (best,) = best_of(
        made("snip", 0.1, {1: 0.5, 2: 0.5}, recipe_lr=0.1),
        made("snip", 0.1, {1: 0.9, 2: 0.9}, recipe_lr=0.2),
    )
    assert [candidate.label for candidate in best.candidates] == ["recipe.lr=0.2", "recipe.lr=0.1"]


def test_less_of_a_loss_is_better() -> None:
    (best,) = best_of(
        made("snip", 0.1, {1: 0.5}, val_loss=2.0), made("magnitude", 0.1, {1: 0.4}, val_loss=1.0), by="val_loss"
    )
    assert best.candidates[0].label == "criterion=magnitude"


def test_missing_seeds_and_ties_are_told_and_only_common_seeds_are_paired() -> None:
    (best,) = best_of(
        made("snip", 0.1, {1: 0.5, 2: 0.7, 3: 0.6}),
        made("magnitude", 0.1, {1: 0.6, 3: 0.6}),
        made("set", 0.1, {1: 0.1, 2: 0.1, 3: 0.1}),
    )
    assert best.ties == ["criterion=magnitude"] or best.ties == ["criterion=snip"]
    assert {candidate.label: candidate.missing for candidate in best.candidates} == {
        "criterion=snip": (),
        "criterion=magnitude": (2,),
        "criterion=set": (),
    }
    assert list(best.difference.values.index) == [1, 3]


def test_the_difference_to_the_runner_up_is_tested_by_seed_by_what_the_number_of_seeds_allows() -> None:
    few = {seed: 0.5 + 0.1 * seed for seed in (1, 2, 3)}
    (best,) = best_of(made("snip", 0.1, few), made("set", 0.1, {s: a - 0.05 - 0.001 * s for s, a in few.items()}))
    name, p = best.difference.test()
    assert name == "paired t-test"
    assert p < 0.01  # the seeds vary by 0.1, the difference by 0.001: unpaired, nothing would be found
    many = {seed: 0.1 * seed for seed in range(1, 9)}
    (best,) = best_of(made("snip", 0.1, many), made("set", 0.1, {s: a - 0.01 * s for s, a in many.items()}))
    assert best.difference.test() == ("Wilcoxon", pytest.approx(2 / 2**8))


def test_the_command_of_the_best_run_repeats_it_with_and_without_a_plan(trained: Path, tmp_path: Path) -> None:
    for directory in sorted((trained / "runs").glob("[!.]*"))[::25]:
        for plans in (trained, tmp_path):
            words = shlex.split(repeat_command(directory.name, directory, plans))
            assert words[:3] == ["python", "-m", "dst.train"]
            assert run_id(compose(words[3:])) == directory.name
    custom = tmp_path / "config.yaml"
    config = OmegaConf.load(directory / "config.yaml")
    config.criterion._target_ = "elsewhere.Criterion"
    OmegaConf.save(config, custom)
    assert repeat_command("0" * 12, tmp_path, tmp_path).startswith("python -c 'import dst.train")


def test_best_prints_each_group_with_test_accuracy_and_command_and_writes_a_table(
    trained: Path, tmp_path: Path, type_in: TypeIn
) -> None:
    where = (f"output_dir={trained}", f"results_dir={tmp_path}", "sweep=tiny")
    status, out, _ = type_in("best", *where, "group=model,density")
    assert status == 0
    assert "model=small_mlp, density=0.1: choices: 7, runs: 14" in out
    assert out.count("runner-up") == out.count("not significant") + out.count(", significant") == 2
    table = pd.read_csv(tmp_path / "tiny" / "best.csv")
    assert list(table["group"]) == [f"model=small_mlp, density={d}" for d in ("0.1", "0.2", "1")]
    assert all(command in out for command in table["command"])
    runs = pd.read_csv(tmp_path / "tiny" / "runs.csv").query("density == 0.1").fillna({"criterion": "", "growth": ""})
    means = runs.groupby(["method", "criterion", "growth", "update_period"], dropna=False)["val_acc"].mean()
    assert table["mean"][0] == pytest.approx(means.max())
    assert f"{table['test_acc'][0]:.4f} ±" in out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("best", "by=f1"), "by=f1: unknown; "),
        (("best", "by=criterion"), "by=criterion: unknown; "),
        (("best", "group=density,modle"), "group=density,modle: modle: unknown; did you mean model?"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: tuple[str, ...], told: str, trained: Path, tmp_path: Path, type_in: TypeIn
) -> None:
    status, out, err = type_in(*arguments, f"output_dir={trained}", f"results_dir={tmp_path}")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert told in err
