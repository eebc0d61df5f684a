"""The optimizer: which parameters decay, under a loss scale, across devices; the recipe's schedule."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.amp import GradScaler

import dst.data
from dst.config import checked, compose
from dst.models import build_model
from dst.training.build import build_training
from dst.training.checkpoint import load_training_state, training_state
from dst.training.device import place
from dst.training.evaluation import run_epoch
from dst.training.loop import Training
from dst.training.optimizer import make_optimizer

Overrides = Callable[..., list[str]]
CPU = torch.device("cpu")


@pytest.mark.parametrize("decay_biases", [True, False])
def test_without_decay_of_biases_weight_decay_is_for_kernels_alone(decay_biases: bool, overrides: Overrides) -> None:
    changes = ("recipe.weight_decay=0.5", "recipe.lr=0.1", f"recipe.decay_biases={decay_biases}")
    recipe = checked(compose(overrides(*changes, "recipe.momentum=0"))).recipe
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 3))
    before = [parameter.detach().clone() for parameter in model.parameters()]
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    make_optimizer(model, recipe, CPU).step()
    assert [weight.dim() for weight in before] == [4, 1, 1, 1, 2, 1]
    for old, new in zip(before, model.parameters(), strict=True):
        decay = 0.5 * old if decay_biases or old.dim() > 1 else 0.0
        torch.testing.assert_close(new.detach(), old - 0.1 * (1 + decay))


def test_a_recipe_can_choose_the_learning_rate_schedule_and_the_command_line_has_the_last_word() -> None:
    def chosen(*given: str) -> tuple[str, str]:
        config = checked(compose(["dataset=mnist", *given]))
        return config.recipe.name, config.lr_schedule["name"]

    assert chosen("model=lenet5") == ("mnist_lenet5", "cosine")
    assert chosen("model=lenet5", "lr_schedule=step") == ("mnist_lenet5", "step")
    assert chosen("model=lenet5", "recipe=sgd_100") == ("sgd_100", "step")
    assert chosen("model=lenet300_100") == ("sgd_100", "step")
    assert chosen("model=lenet300_100", "recipe=mnist_mlp") == ("mnist_mlp", "cosine")


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_a_first_step_that_overflows_changes_nothing(optimizer: str, overrides: Overrides) -> None:
    recipe = checked(compose(overrides(f"recipe.optimizer={optimizer}"))).recipe
    x = torch.linspace(-1, 1, 12).view(3, 4)

    def trained(*factors: float) -> list[Tensor]:
        torch.manual_seed(0)
        model = nn.Linear(4, 2)
        descent, scaler = make_optimizer(model, recipe, CPU), GradScaler("cpu")
        torch.full((4096,), torch.nan)  # what fresh memory may hold
        for factor in factors:
            descent.zero_grad()
            scaler.scale(model(x).square().sum() * factor).backward()
            scaler.step(descent)
            scaler.update()
        return [weight.detach() for weight in model.parameters()]

    for found, expected in zip(trained(1e38, 1e38, 1.0, 0.5), trained(1.0, 0.5), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_a_checkpoint_of_a_device_with_another_memory_format_is_continued(overrides: Overrides) -> None:
    config = checked(compose(overrides("model=small_cnn", "recipe.epochs=2")))

    def training() -> Training:
        data = dst.data.load(config.dataset, Path(config.data_dir), device=CPU, batch_size=128, seed=1)
        model = build_model(config.model, input_shape=data.shape, num_classes=data.num_classes, seed=1)
        return build_training(config, place(model, CPU, "fp32"), data, CPU)

    whole, interrupted, continued = training(), training(), training()
    for each in (whole, whole, interrupted):
        run_epoch(each)
    state = training_state(interrupted)
    momenta = [values["momentum_buffer"] for values in state["optimizer"].values()]
    assert any(not momentum.is_contiguous() for momentum in momenta)  # channels-last, as on every CPU
    state["optimizer"] = {
        key: {"momentum_buffer": momentum.contiguous()}
        for key, momentum in zip(state["optimizer"], momenta, strict=True)
    }
    load_training_state(continued, state)
    run_epoch(continued)
    for found, expected in zip(continued.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(found, expected)
