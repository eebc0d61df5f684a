"""How cyclic training divides its budget."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dst.config import compose, run_id
from dst.errors import UserError
from dst.procedures import Cyclic
from dst.procedures.cycle_lengths import STRATEGIES


def lengths(strategy: str, cycles: int, budget: int) -> list[int]:
    procedure = Cyclic(cycles=cycles, budget=budget, strategy=strategy)
    return [phase.epochs for phase in procedure.phases(1, 0.1)]


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("constant", [90, 90, 90, 90, 90]),
        ("linear_increase", [30, 60, 90, 120, 150]),
        ("linear_decrease", [150, 120, 90, 60, 30]),
        ("exponential_increase", [61, 73, 87, 103, 126]),
        ("exponential_decrease", [123, 103, 87, 73, 64]),
        ("cyclic_peak", [75, 150, 112, 75, 38]),
        ("alternating", [112, 56, 112, 56, 114]),
        ("plateau", [93, 187, 56, 56, 58]),
    ],
)
def test_lengths_are_those_of_the_authors_with_the_rest_in_the_last_cycle(strategy: str, expected: list[int]) -> None:
    assert lengths(strategy, 5, 450) == expected


@given(st.sampled_from(sorted(STRATEGIES)), st.integers(1, 20), st.integers(1, 2000))
def test_cycles_spend_the_whole_budget_or_say_what_would_be_enough(strategy: str, cycles: int, budget: int) -> None:
    try:
        found = lengths(strategy, cycles, budget)
    except ValueError as error:
        match = re.fullmatch(
            rf"procedure.budget={budget}: must be (\d+) epochs or more, one for each of procedure.cycles={cycles}",
            str(error),
        )
        assert match
        assert int(match[1]) > budget
        assert min(lengths(strategy, cycles, int(match[1]))) >= 1
    else:
        assert (len(found), sum(found)) == (cycles, budget)
        assert min(found) >= 1


def id_of(*more: str) -> str:
    return run_id(compose(["dataset=digits", "model=small_mlp", "procedure=cyclic", *more]))


def test_ids_from_before_there_were_strategies_hold() -> None:
    assert id_of() == "69e017375c3e"
    assert id_of("procedure.budget=30", "procedure.cycles=3") == "99f6bc07b403"
    assert id_of("procedure.budget=30", "procedure.strategy=plateau") != id_of("procedure.budget=30")


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (
            ["procedure.strategy=plateau"],
            "procedure.strategy=plateau: divides a budget; give procedure.budget=… epochs",
        ),
        (["procedure.strategy=plato"], "procedure.strategy=plato: unknown; did you mean plateau?"),
        (
            ["procedure.strategy=linear_increase", "procedure.budget=14"],
            "procedure.budget=14: must be 15 epochs or more, one for each of procedure.cycles=5",
        ),
    ],
)
def test_a_strategy_that_cannot_be_is_told_in_one_line(more: list[str], told: str) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(told)}[^\n]*$"):
        id_of(*more)
