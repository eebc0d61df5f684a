"""Equal training FLOPs: the epochs that a cost pays for, against what real runs count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dst.errors import UserError
from dst.procedures import planned_phases
from launch.composition import compose_all
from launch.cost import with_epochs
from launch.sweep import Point, expand

KINDS = {
    "dense": ("density=dense",),
    "static": ("update_period=never",),
    "SET": ("growth=random", "update_period=5"),
    "RigL": ("growth=gradient", "update_period=3", "prune_fraction.stop_at=0.75"),
    "RigL with a sample of its own": ("growth=gradient", "growth.sample=200", "update_period=5"),
    "RigL with the gradient of a larger batch": (
        "growth=gradient",
        "update_period=5",
        "sparsity.update_batch_size=300",
    ),
    "pruned by a larger batch": (
        *("growth=random", "criterion=snip", "update_period=5", "sparsity.update_batch_size=300"),
    ),
    "dense momentum": ("growth=momentum", "sparsity.momentum=dense", "update_period=5"),
    "gradual": ("procedure=gradual", "update_period=1"),
    "cyclic": ("procedure=cyclic", "procedure.cycles=2", "update_period=never", "initial_mask=magnitude"),
    "sculpt": ("procedure=sculpt", "procedure.cycles=1", "procedure.start_density=0.6"),
    "lrr": ("procedure=lrr", "procedure.prune_rate=0.5"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_costs_what_was_planned(
    kind: str, overrides: Callable[..., list[str]], train: Callable[..., dict[str, Any]]
) -> None:
    choices = ("recipe.epochs=2", "density.value=0.3", "update_period=never", *KINDS[kind])
    if kind == "dense":
        choices = ("recipe.epochs=2", "update_period=never", *KINDS[kind])
    [point], [chosen] = with_epochs([Point((*overrides(*choices), "cost=1.5"))])
    assert 1.1 < chosen.cost <= 1.5
    summary = train(*point.overrides)
    assert summary["epochs"] == chosen.epochs
    dense = 3 * 2 * (64 * 256 + 256 * 256 + 256 * 10) * 1257 * 2
    assert summary["flops_training"] == pytest.approx(chosen.cost * dense, rel=0.03 if kind == "gradual" else 0.002)


def test_the_runs_of_all_seeds_share_a_choice_and_others_stay_as_they_are(overrides: Callable[..., list[str]]) -> None:
    base = overrides("update_period=never", "density.value=0.5")
    points = [Point((*base, f"cost={cost}", f"seed={seed}")) for cost in (1, 2) for seed in (1, 2)]
    found, chosen = with_epochs([Point(("density=dense",)), *points])
    assert found[0].overrides == ("density=dense",)
    assert [point.overrides[-2:] for point in found[1:]] == [
        *(("seed=1", "recipe.epochs=8"), ("seed=2", "recipe.epochs=8")),
        *(("seed=1", "recipe.epochs=16"), ("seed=2", "recipe.epochs=16")),
    ]
    assert [choice.epochs for choice in chosen] == [8, 16]
    assert not any(override.startswith("cost=") for point in found for override in point.overrides)


def test_what_only_a_budget_allows_can_be_paid_for(overrides: Callable[..., list[str]]) -> None:
    common = ["dataset=digits", "model=small_mlp", "density=0.1", "recipe.epochs=4", "cost=20"]
    given = [["procedure=wr", "procedure.rewind_epoch=5"], ["procedure=cyclic", "procedure.strategy=linear_increase"]]
    found, _ = with_epochs([Point((*overrides(*common, *more),), "here") for more in given])
    for point in found:
        [config] = compose_all([point.overrides])
        phases = planned_phases(config)
        assert min(phase.epochs for phase in phases) >= 4
    assert phases[0].epochs < phases[-1].epochs


def test_families_cost_the_same() -> None:
    points, chosen = with_epochs(list(expand("families")))
    assert len(points) == 324
    assert len({point.overrides for point in points}) == 324
    for choice in chosen:
        wanted = float(next(item for item in choice.overrides if item.startswith("cost="))[5:])
        assert 0.8 * wanted < choice.cost <= wanted * (1 + 1e-9)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["cost=0"], "cost=0: must be above 0, in dense trainings of recipe.epochs"),
        (["cost=much"], "cost=much: must be above 0, in dense trainings of recipe.epochs"),
        (["cost=nan"], "cost=nan: must be above 0, in dense trainings of recipe.epochs"),
        (["cost=1", "recipe.epochs=0"], "cost=1: is a multiple of recipe.epochs, which is 0"),
        (
            ["cost=0.25", "procedure=lrr", "density.value=0.5"],
            "cost=0.25: procedure=lrr takes 5 epochs here, which cost 0.863 dense trainings of recipe.epochs=4; raise",
        ),
        (["cost=1", "dataset=image_folder"], "cost=1: dataset.shape is not known before the data are read; give it"),
        (
            ["cost=1", "dataset=image_folder", "dataset.shape=[3,8,8]", "dataset.num_classes=2"],
            "cost=1: dataset=image_folder has no known size before it is prepared; prepare it with: python -m",
        ),
        (
            ["cost=1", "procedure=cyclic", "procedure.cycles=auto"],
            "cost=1: procedure.cycles=auto chooses the",
        ),
        (["cost=1", "criterion=best"], "criterion=best: unknown"),
        (["cost=1e7"], "cost=1e7: pays for more than 1,000,000 epochs; give less"),
        (
            ["cost=1", "procedure=lrr", "procedure.budget=50"],
            "cost=1: chooses procedure.budget; leave it out",
        ),
    ],
)
def test_what_cannot_be_paid_for_is_one_line(given: list[str], told: str, overrides: Callable[..., list[str]]) -> None:
    with pytest.raises(UserError) as refused:
        with_epochs([Point((*overrides(*given),), "here")])
    assert str(refused.value).startswith(f"here: {told}")
    assert "\n" not in str(refused.value)
