"""The recipes of residual networks: epochs at which the learning rate changes, and what decays."""

from __future__ import annotations

import math

import pytest

from dst.config import checked, compose
from dst.config.components import build
from dst.training.lr_schedule import LRSchedule, Span


@pytest.mark.parametrize(
    ("chosen", "samples", "epochs", "warmup", "drops"),
    [
        ("model=resnet20 dataset=cifar10", 45_000, 160, 0, [80, 120]),
        ("model=resnet18_cifar dataset=cifar100", 45_000, 150, 10, [60, 120]),
        ("model=resnet18 dataset=imagenet", 1_281_167, 90, 10, [40, 70]),
        ("model=resnet50 recipe=resnet50_code dataset=imagenet", 1_281_167, 90, 5, [30, 60, 80]),
    ],
)
def test_the_learning_rate_rises_in_the_warm_up_and_drops_tenfold_after_the_published_epochs(
    chosen: str, samples: int, epochs: int, warmup: int, drops: list[int]
) -> None:
    config = checked(compose(chosen.split()))
    assert config.recipe.epochs == epochs
    per_epoch = math.ceil(samples / config.recipe.batch_size)
    span = Span(epochs * per_epoch, per_epoch)
    schedule: LRSchedule = build("lr_schedule", config.lr_schedule, LRSchedule)
    rates = [schedule(epoch * per_epoch, span, config.recipe) / 0.1 for epoch in range(epochs)]
    assert rates[:warmup] == pytest.approx([epoch / warmup for epoch in range(warmup)], abs=1e-3)
    assert rates[warmup] == 1
    assert [epoch for epoch in range(warmup + 1, epochs) if rates[epoch] < rates[epoch - 1]] == drops
    assert rates[-1] == pytest.approx(0.1 ** len(drops))


@pytest.mark.parametrize(
    ("chosen", "weight_decay", "epochs"),
    [
        ("model=resnet18_cifar recipe=resnet18_cifar_triangular dataset=cifar10", 5e-4, 150),
        ("model=resnet50_cifar dataset=cifar100", 1e-4, 150),
        ("model=resnet50 recipe=resnet50_triangular dataset=imagenet", 1e-4, 90),
    ],
)
def test_a_triangle_rises_from_a_fifth_to_the_peak_in_a_fifth_of_the_steps(
    chosen: str, weight_decay: float, epochs: int
) -> None:
    config = checked(compose(chosen.split()))
    recipe = config.recipe
    assert (recipe.batch_size, recipe.epochs, recipe.weight_decay) == (512, epochs, weight_decay)
    schedule: LRSchedule = build("lr_schedule", config.lr_schedule, LRSchedule)
    rates = [schedule(step, Span(100, 10), recipe) for step in (0, 10, 20, 60)]
    assert rates == pytest.approx([0.04, 0.12, 0.2, 0.1])


def test_the_authors_recipe_for_imagenet_differs_from_the_text_in_what_their_code_does() -> None:
    code, text = (
        checked(compose(["model=resnet50", f"recipe={name}", "dataset=imagenet"])).recipe
        for name in ("resnet50_code", "resnet50")
    )
    assert {key: value for key, value in vars(code).items() if value != vars(text)[key]} == {
        "name": "resnet50_code",
        "nesterov": False,
        "decay_biases": False,
        "label_smoothing": 0.1,
        "lr_milestones": [0.3333, 0.6666, 0.8888],
    }
