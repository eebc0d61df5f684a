"""When DynamicSparsity updates the topology and how many weights it prunes."""

from __future__ import annotations

import math

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LinearLR

from dst.sparsity import Constant, Cosine, DynamicSparsity, LearningRate
from tests.sparsity.networks import BIG, Layers, sparse


@pytest.mark.parametrize(
    ("period", "total", "stop_at", "steps"),
    [
        (3, 12, 1.0, [3, 6, 9]),
        (3, 13, 1.0, [3, 6, 9, 12]),
        (1, 4, 1.0, [1, 2, 3]),
        (4, 16, 0.5, [4]),
        (4, 17, 0.5, [4, 8]),
        (5, 100, 0.55, list(range(5, 55, 5))),  # 0.55 · 100 is 55.00000000000001 in floating point
        (20, 12, 1.0, []),
        (3, 12, 0.0, []),
        (None, None, 1.0, []),
    ],
)
def test_updates_happen_every_period_before_the_stop_step(
    period: int | None, total: int | None, stop_at: float, steps: list[int]
) -> None:
    model = Layers([(6, 5)])
    sparsity = sparse(model, update_period=period, total_steps=total, stop_at=stop_at, prune_fraction="constant")
    for _ in range((total or 12) + 5):
        model.draw_gradients()
        sparsity.step()
    updates = sparsity.pop_updates()
    assert [update["step"] for update in updates] == steps
    assert all(update["prune_fraction"] == 0.5 for update in updates)
    assert sparsity.pop_updates() == []


def test_the_prune_fraction_follows_the_schedule_until_the_stop_step() -> None:
    model = Layers([(20, 20)])
    sparsity = sparse(model, density=0.5, total_steps=20, stop_at=0.5, prune_fraction=0.4)
    for _ in range(20):
        model.draw_gradients()
        sparsity.step()
    updates = sparsity.pop_updates()
    expected = [0.2 * (1 + math.cos(math.pi * step / 10)) for step in (2, 4, 6, 8)]
    assert [update["prune_fraction"] for update in updates] == pytest.approx(expected)
    assert [update["layers"]["0.weight"]["pruned"] for update in updates] == [math.ceil(rho * 200) for rho in expected]


def test_the_prune_fraction_can_be_a_number_a_name_or_a_schedule() -> None:
    schedules = [sparse(Layers(BIG), prune_fraction=given_).schedule for given_ in (0.3, "constant", Cosine(0.1))]
    assert schedules == [Cosine(0.3), Constant(0.5), Cosine(0.1)]


def test_a_prune_fraction_that_follows_a_cosine_learning_rate_is_the_cosine_schedule() -> None:
    model = Layers([(20, 20)])
    sparsity = sparse(model, update_period=1, total_steps=40, prune_fraction=LearningRate(0.3))
    scheduler = CosineAnnealingLR(sparsity.optimizer, T_max=40)
    for _ in range(40):
        model.draw_gradients()
        sparsity.step()
        scheduler.step()
    found = [update["prune_fraction"] for update in sparsity.pop_updates()]
    # the update at step t, counted from 1, has the learning rate after t − 1 steps
    assert found == pytest.approx([Cosine(0.3)(step - 1, 40) for step in range(1, 40)], abs=1e-6)


def test_a_learning_rate_held_as_a_tensor_is_followed() -> None:
    model = Layers([(20, 20)])
    lr = torch.tensor(0.1)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    sparsity = DynamicSparsity(model, optimizer, update_period=1, total_steps=9, prune_fraction="lr")
    for factor in (1.0, 0.5, 0.25):
        lr.fill_(0.1 * factor)
        model.draw_gradients()
        sparsity.step()
    found = [update["prune_fraction"] for update in sparsity.pop_updates()]
    assert found == pytest.approx([0.3, 0.15, 0.075], abs=1e-6)
    assert sparsity.prune_fraction == pytest.approx(0.075, abs=1e-6)


def test_during_a_warm_up_of_torch_the_initial_learning_rate_is_the_one_after_it() -> None:
    model = Layers([(20, 20)])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler = LinearLR(optimizer, start_factor=0.25, total_iters=3)
    sparsity = DynamicSparsity(model, optimizer, update_period=1, total_steps=9, prune_fraction="lr")
    for _ in range(5):
        model.draw_gradients()
        sparsity.step()
        scheduler.step()
    found = [update["prune_fraction"] for update in sparsity.pop_updates()]
    assert found == pytest.approx([0.075, 0.15, 0.225, 0.3, 0.3])


def test_a_learning_rate_above_the_initial_one_does_not_raise_the_prune_fraction() -> None:
    model = Layers([(20, 20)])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    LambdaLR(optimizer, lambda step: 25.0)
    sparsity = DynamicSparsity(model, optimizer, update_period=1, total_steps=9, prune_fraction="lr")
    assert sparsity.prune_fraction == 0.3


def test_a_prune_fraction_cannot_follow_a_learning_rate_of_zero() -> None:
    model = Layers([(20, 20)])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with pytest.raises(ValueError, match=r"^the optimizer's initial lr=0: must be above 0[^\n]*$"):
        DynamicSparsity(model, optimizer, update_period=1, total_steps=9, prune_fraction="lr")
