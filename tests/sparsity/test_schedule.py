"""Prune-fraction schedules against their formulas."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dst.errors import UserError
from dst.sparsity import Constant, Cosine, LearningRate, Linear, make_schedule

law = settings(deadline=None, max_examples=200)
FRACTIONS = st.floats(0, 1)


@law
@given(rho=FRACTIONS, stop=st.integers(1, 10**7), share=FRACTIONS)
def test_cosine_is_half_rho_times_one_plus_the_cosine(rho: float, stop: int, share: float) -> None:
    step = round(share * stop)
    assert Cosine(rho)(step, stop) == pytest.approx(rho / 2 * (1 + math.cos(math.pi * step / stop)), abs=1e-12)


def test_cosine_decreases_from_rho_through_half_of_rho_to_zero() -> None:
    values = [Cosine(0.5)(step, 1000) for step in (0, 500, 1000)]
    assert values == pytest.approx([0.5, 0.25, 0.0])


@law
@given(rho=FRACTIONS, stop=st.integers(2, 10**6), data=st.data())
def test_schedules_never_increase_and_stay_between_zero_and_rho(rho: float, stop: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(1, stop - 1))
    second = data.draw(st.integers(first, stop - 1))
    for schedule in (Cosine(rho), Linear(rho), Constant(rho)):
        assert rho >= schedule(first, stop) >= schedule(second, stop) >= 0


def test_linear_multiplies_by_099_every_600_steps() -> None:
    linear = make_schedule("linear")
    steps = [1, 599, 600, 1199, 1200, 6000]
    assert [linear(step, 1e9) for step in steps] == pytest.approx(
        [0.5, 0.5, 0.5 * 0.99, 0.5 * 0.99, 0.5 * 0.99**2, 0.5 * 0.99**10]
    )


def test_linear_accepts_another_factor_and_interval() -> None:
    linear = make_schedule("linear", initial=0.8, factor=0.5, every=10)
    assert [linear(step, 100) for step in (9, 10, 25)] == pytest.approx([0.8, 0.4, 0.2])


def test_constant_is_rho_at_every_step() -> None:
    constant = make_schedule("constant", initial=0.3)
    assert [constant(step, 100) for step in (1, 50, 99)] == [0.3, 0.3, 0.3]


def test_schedules_have_the_names_of_the_config_group_and_its_defaults() -> None:
    assert make_schedule("cosine") == Cosine(0.5)
    assert make_schedule("linear") == Linear(0.5, 0.99, 600)
    assert make_schedule("lr") == LearningRate(0.3)
    assert make_schedule("constant", stop_at=0.5) == Constant(0.5, stop_at=0.5)
    with pytest.raises(UserError, match=r"^prune_fraction=cosin: unknown; did you mean cosine\?[^\n]*$"):
        make_schedule("cosin")
