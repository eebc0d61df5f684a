"""When DynamicSparsity updates the topology and how many weights it prunes."""

from __future__ import annotations

import math

import pytest

from dst.sparsity import Constant, Cosine
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
