"""Learning-rate schedules agree with torch's own schedulers where there are any."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from dst.config import RecipeConfig
from dst.training.lr_schedule import Constant, Cosine, LRSchedule, OneCycle, Polynomial, Span, Step, Triangular

RECIPE = RecipeConfig("test", 12, 128, "sgd", 0.2, 0.9, True, 0.0, [0.5, 0.75], 0.1)
STEPS, PER_EPOCH = 120, 10


def rates(schedule: LRSchedule, steps: int = STEPS) -> list[float]:
    return [schedule(step, Span(steps, PER_EPOCH), RECIPE) for step in range(steps)]


def torchs(make: Callable[[Any], Any], steps: int = STEPS) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=RECIPE.lr)
    scheduler, found = make(optimizer), []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize(
    ("schedule", "make"),
    [
        (Constant(), lambda o: lr_scheduler.ConstantLR(o, factor=1.0)),
        (Cosine(), lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS)),
        (Polynomial(power=2.0), lambda o: lr_scheduler.PolynomialLR(o, STEPS, power=2.0)),
        (OneCycle(), lambda o: lr_scheduler.OneCycleLR(o, RECIPE.lr, STEPS)),
        (
            OneCycle(peak=0.5, initial_divisor=10.0, final_divisor=100.0),
            lambda o: lr_scheduler.OneCycleLR(
                o, RECIPE.lr, STEPS, pct_start=0.5, div_factor=10.0, final_div_factor=100.0
            ),
        ),
        (Step(), lambda o: lr_scheduler.MultiStepLR(o, [60, 90], 0.1)),
    ],
)
def test_a_schedule_agrees_with_torchs(schedule: LRSchedule, make: Callable[[Any], Any]) -> None:
    assert rates(schedule) == pytest.approx(torchs(make))


def test_triangular_rises_from_its_start_and_falls_to_zero() -> None:
    found = rates(Triangular(start=0.2, peak=0.25))
    assert found[0] == pytest.approx(0.2 * 0.2)
    assert found[30] == max(found) == pytest.approx(0.2)
    assert found[15] == pytest.approx(0.2 * 0.6)
    assert found[-1] == pytest.approx(0.2 / 90)


@pytest.mark.parametrize("warmup", [3.0, 0.25])
@pytest.mark.parametrize("schedule", [Constant, Cosine, Polynomial, Triangular, OneCycle])
def test_a_warmup_rises_linearly_and_the_rest_spans_what_is_left(schedule: type[LRSchedule], warmup: float) -> None:
    found = rates(schedule(warmup=warmup))
    assert found[:30] == pytest.approx([0.2 * (step + 1) / 30 for step in range(30)])
    assert found[30:] == pytest.approx(rates(schedule(), STEPS - 30))


def test_milestones_stay_where_they_are_under_a_warmup() -> None:
    found = rates(Step(warmup=2.0))
    assert found[20:] == pytest.approx([0.2] * 40 + [0.02] * 30 + [0.002] * 30)


@given(
    steps=st.integers(1, 50),
    per_epoch=st.integers(1, 10),
    warmup=st.floats(0, 4),
    kind=st.sampled_from([Constant, Cosine, Polynomial, Triangular, OneCycle, Step]),
)
def test_every_step_has_a_finite_rate_between_zero_and_the_recipes(
    steps: int, per_epoch: int, warmup: float, kind: type[LRSchedule]
) -> None:
    found = [kind(warmup=warmup)(step, Span(steps, per_epoch), RECIPE) for step in range(steps)]
    assert all(0 <= rate <= RECIPE.lr * (1 + 1e-9) for rate in found)
