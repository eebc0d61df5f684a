"""``sparsity.update_batch_size``: topology updates prune and grow by the gradient of other samples than the batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dst.config import checked, compose, run_id
from dst.errors import UserError
from dst.train import run
from dst.training.beginning import NOTHING
from dst.training.build import training_factory
from dst.training.evaluation import run_epoch
from tests.run.outcomes import outcomes, run_with_stops

Overrides = Callable[..., list[str]]

LARGER = ("criterion=snip", "growth=gradient", "sparsity.update_batch_size=300")


def test_the_gradient_of_the_whole_training_split_is_that_of_a_batch_of_all(overrides: Overrides) -> None:
    whole = ("recipe.batch_size=1257", "sparsity.update_batch_size=1257", "update_period=1", "recipe.epochs=3")
    training = training_factory(checked(compose(overrides(*LARGER, *whole))))(NOTHING)
    sparsity: Any = training.sparsity
    compute, seen = sparsity._update_gradient, []

    def watched(step: int) -> dict[str, Tensor]:
        gradients: dict[str, Tensor] = compute(step)
        for name, weight in training.model.named_parameters():
            torch.testing.assert_close(gradients[name], weight.grad, rtol=1e-3, atol=1e-6)
        seen.append(step)
        return gradients

    sparsity._update_gradient = watched
    run_epoch(training)
    run_epoch(training)
    assert seen == [1, 2]


def test_updates_by_the_batchs_own_gradient_are_ordinary_updates(overrides: Overrides) -> None:
    def trained(size: str) -> dict[str, Tensor]:
        training = training_factory(checked(compose(overrides(*LARGER, f"sparsity.update_batch_size={size}"))))(NOTHING)
        sparsity: Any = training.sparsity
        if sparsity._update_gradient:
            sparsity._update_gradient = lambda step: {
                name: weight.grad.clone() for name, weight in training.model.named_parameters()
            }
        while not training.phase_is_over:
            run_epoch(training)
        assert training.sparsity.pop_updates()
        return {name: tensor.clone() for name, tensor in training.model.state_dict().items()}

    ordinary, same = trained("null"), trained("300")
    assert all(torch.equal(ordinary[name], same[name]) for name in ordinary)


def test_each_update_sees_other_samples_and_changes_nothing_else(overrides: Overrides) -> None:
    more = ("model=large_mlp_dropout", "model.hidden=[64]", "recipe.batch_size=128")
    training = training_factory(checked(compose(overrides(*LARGER, *more))))(NOTHING)
    gradient: Any = training.sparsity._update_gradient  # type: ignore[union-attr]
    labels = {step: torch.cat([y for _, y in gradient._batches(step)]) for step in (25, 50)}
    assert [len(y) for y in labels.values()] == [300, 300]
    assert not torch.equal(labels[25], labels[50])
    drawn, weights = torch.get_rng_state(), [weight.clone() for weight in training.model.parameters()]
    first = gradient(25)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(torch.equal(*pair) for pair in zip(training.model.parameters(), weights, strict=True))
    assert all(weight.grad is None for weight in training.model.parameters())
    assert all(torch.equal(first[name], again) for name, again in gradient(25).items())


def test_a_stopped_run_ends_as_one_never_stopped(overrides: Overrides, tmp_path: Path) -> None:
    run(compose(overrides(*LARGER, "recipe.epochs=6", f"output_dir={tmp_path / 'whole'}")))
    cfg = compose(overrides(*LARGER, "recipe.epochs=6", f"output_dir={tmp_path / 'stopped'}"))
    run_with_stops(cfg, 13, 17)
    assert outcomes(tmp_path / "stopped") == outcomes(tmp_path / "whole")


def test_it_is_part_of_a_runs_id_where_updates_use_a_gradient() -> None:
    base = ["model=small_mlp", "dataset=digits", "growth=gradient"]
    assert run_id(compose([*base, "sparsity.update_batch_size=null"])) == run_id(compose(base)) == "40fb9156565b"
    larger = "sparsity.update_batch_size=1024"
    for more in (["criterion=magnitude"], ["criterion=snip", "growth=random"], ["growth=random", "criterion=mest"]):
        assert run_id(compose([*base, *more, larger])) != run_id(compose([*base, *more]))
    for more in (["criterion=set", "growth=random"], ["growth.sample=200"], ["update_period=never"], ["density=dense"]):
        assert run_id(compose([*base, *more, larger])) == run_id(compose([*base, *more]))


@pytest.mark.parametrize("growth", ["random", "gradient"])
@pytest.mark.parametrize("criterion", ["magnitude", "snip"])
def test_its_samples_count_as_flops(criterion: str, growth: str, train: Callable[..., dict[str, Any]]) -> None:
    more = ("recipe.epochs=6", "distribution=uniform", "density=0.1", f"criterion={criterion}", f"growth={growth}")
    summary = train(*more, "sparsity.update_batch_size=300")
    dense = 2 * (64 * 256 + 256 * 256 + 256 * 10)
    sparse = dense * summary["density_actual"]
    assert summary["topology_updates"] == 2
    each = 2 * sparse + dense if growth == "gradient" else 3 * sparse if criterion == "snip" else 0
    assert summary["flops_training"] == pytest.approx(6 * 1257 * 3 * sparse + 2 * 300 * each)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["sparsity.update_batch_size=1258"], "the training split of dataset=digits has 1257 samples; give 1257"),
        (["sparsity.update_batch_size=0"], "must be 1 sample or more, or null"),
        (["sparsity.update_batch_size=9", "procedure=gradual"], "procedure=gradual prunes by the batch"),
    ],
)
def test_a_size_that_cannot_be_is_one_line(given: list[str], told: str, overrides: Overrides) -> None:
    with pytest.raises(UserError) as error:
        training_factory(checked(compose(overrides(*given))))
    assert str(error.value).startswith(given[0])
    assert told in str(error.value)
    assert "\n" not in str(error.value)
