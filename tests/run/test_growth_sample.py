"""``growth.sample``: weights are grown by the gradient of samples held for it."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dst.attempt import Stopped
from dst.config import checked, compose, run_id
from dst.errors import UserError
from dst.train import run
from dst.training.beginning import NOTHING
from dst.training.build import training_factory
from dst.training.evaluation import run_epoch
from dst.training.loop import Training
from tests.run.outcomes import outcomes

Overrides = Callable[..., list[str]]

SAMPLE = ("growth=gradient", "growth.sample=200")


def before_update(training: Training, step: int) -> tuple[nn.Module, dict[str, Tensor], Any]:
    """Trains up to an update; returns copies of the model and masks there, and what the update computes."""
    found: list[Any] = []
    sparsity: Any = training.sparsity
    compute = sparsity._growth_gradient

    def watched(at: int) -> dict[str, Tensor]:
        state = (copy.deepcopy(training.model), {name: mask.clone() for name, mask in sparsity.masks.items()})
        untouched = [weight.grad.clone() for weight in training.model.parameters()]
        drawn = torch.get_rng_state()
        gradients: dict[str, Tensor] = compute(at)
        assert torch.equal(torch.get_rng_state(), drawn)
        assert all(torch.equal(*pair) for pair in zip(training.model.buffers(), state[0].buffers(), strict=True))
        assert all(
            torch.equal(weight.grad, before)
            for weight, before in zip(training.model.parameters(), untouched, strict=True)
        )
        assert training.model.training
        found.append((at, *state, {name: gradient.clone() for name, gradient in gradients.items()}))
        return gradients

    sparsity._growth_gradient = watched
    while not found:
        run_epoch(training)
    (at, model, masks, gradients), *_ = found
    assert at == step
    return model, masks, gradients


def test_the_update_grows_by_the_gradient_of_the_next_samples_with_weight_decay(overrides: Overrides) -> None:
    more = ("recipe.weight_decay=0.1", "recipe.decay_biases=false", "recipe.label_smoothing=0.2", "recipe.epochs=4")
    training = training_factory(checked(compose(overrides(*SAMPLE, *more))))(NOTHING)
    model, masks, gradients = before_update(training, 25)
    train: Any = training.data.train
    raw, y = train.raw_sample(400)
    x, y = train.make_batch(raw[200:], y[200:])
    F.cross_entropy(model(x), y, label_smoothing=0.2).backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None
        expected = weight.grad + (0.1 * weight.detach() if weight.dim() > 1 else 0.0)
        torch.testing.assert_close(gradients[name], expected, rtol=1e-4, atol=1e-6)

    (update, *_) = training.sparsity.pop_updates()
    name, (weight, mask) = next((name, (dict(model.named_parameters())[name].detach(), masks[name])) for name in masks)
    n_pruned = math.ceil(update["prune_fraction"] * int(mask.sum()))
    assert update["layers"][name]["pruned"] == n_pruned
    kept = mask.clone().view(-1)
    kept[weight.abs().masked_fill(~mask, math.inf).flatten().argsort(stable=True)[:n_pruned]] = False
    order = gradients[name].abs().flatten().masked_fill(kept, -1).argsort(descending=True, stable=True)
    kept[order[:n_pruned]] = True
    assert torch.equal(training.sparsity.masks[name].view(-1), kept)


def test_batch_norm_and_dropout_stay_as_they_were(overrides: Overrides) -> None:
    for model in (("model=resnet56", "model.depth=8", "recipe=sgd_100"), ("model=large_mlp_dropout",)):
        training = training_factory(checked(compose(overrides(*SAMPLE, *model, "recipe.epochs=3"))))(NOTHING)
        before_update(training, 25)


def test_a_stopped_run_with_held_samples_ends_as_one_never_stopped(overrides: Overrides, tmp_path: Path) -> None:
    more = (*SAMPLE, "model=large_mlp_dropout", "model.hidden=[64]", "recipe.epochs=6")
    run(compose(overrides(*more, f"output_dir={tmp_path / 'whole'}")))
    cfg = compose(overrides(*more, f"output_dir={tmp_path / 'stopped'}"))
    for steps in (13, 15, 17):
        asked = itertools.count()
        with pytest.raises(Stopped):
            run(cfg, should_stop=lambda asked=asked, steps=steps: next(asked) >= steps)  # type: ignore[misc]
    run(cfg)
    assert outcomes(tmp_path / "stopped") == outcomes(tmp_path / "whole")


def test_the_sample_is_part_of_a_runs_id_but_not_at_its_default() -> None:
    base = ("model=small_mlp", "dataset=digits", "growth=gradient")
    assert run_id(compose([*base, "growth.sample=null"])) == run_id(compose(base)) == "40fb9156565b"
    assert run_id(compose([*base, "growth.sample=200"])) != run_id(compose(base))
    static = (*base, "update_period=never")
    assert run_id(compose([*static, "growth.sample=200"])) == run_id(compose(static))


def test_the_gradient_of_the_sample_is_counted_at_each_update(train: Callable[..., dict[str, Any]]) -> None:
    more = ("recipe.epochs=6", "distribution=uniform", "density=0.1")
    summary = train(*SAMPLE, *more)
    dense = 2 * (64 * 256 + 256 * 256 + 256 * 10)
    sparse = dense * summary["density_actual"]
    assert summary["topology_updates"] == 2
    expected = 6 * 1257 * 3 * sparse + 2 * 200 * (2 * sparse + dense)
    assert summary["flops_training"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            ["growth=gradient", "growth.sample=629"],
            "growth.sample=629: takes the training samples 630 to 1258, the training split of dataset=digits has 1257; "
            "give 628 or fewer",
        ),
        (["growth=gradient_inverted", "growth.sample=0"], "growth.sample=0: must be 1 sample or more, or null"),
        (["growth=random", "+growth.sample=10"], "growth.sample=10: "),
    ],
)
def test_a_sample_that_cannot_be_is_one_line(given: list[str], told: str, overrides: Overrides) -> None:
    with pytest.raises(UserError) as error:
        training_factory(checked(compose(overrides(*given))))
    assert str(error.value).startswith(told)
    assert "\n" not in str(error.value)
