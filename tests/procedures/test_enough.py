"""Cycles until they bring no more: the rule, and runs that end by it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dst.procedures import Cyclic, Sculpt
from dst.procedures.enough import enough_cycles
from tests.run.test_resume import kill_again_and_again

AUTO = ("procedure.cycles=auto", "recipe.epochs=3", "recipe.lr=0.1", "lr_schedule=triangular")


@pytest.mark.parametrize(
    ("accuracies", "enough"),
    [
        ([[0.5]], False),
        ([[0.5], [0.5]], False),
        ([[0.5], [0.5], [0.5]], True),
        ([[0.5], [0.4], [0.51]], False),
        ([[0.5], [0.6], [0.55], [0.6]], True),
        ([[0.5], [0.6], [0.55], [0.61]], False),
        (
            [[0.50, 0.50], [0.51, 0.53], [0.52, 0.54], [0.52, 0.55]],
            True,
        ),  # rises .010, .005; spreads .010, .015
        ([[0.50, 0.50], [0.51, 0.53], [0.52, 0.54], [0.55, 0.55]], False),
        ([[0.5] * 5, [0.1] + [0.6] * 5, [0.9] + [0.6] * 5, [0.9] + [0.6] * 5], True),  # of six epochs the last five
    ],
)
def test_it_is_enough_after_two_cycles_without_a_rise_above_their_spread(
    accuracies: list[list[float]], enough: bool
) -> None:
    assert enough_cycles(accuracies) == enough
    assert Cyclic(cycles="auto", max_cycles=6).left_out(accuracies) == (6 - len(accuracies) if enough else 0)
    assert Cyclic(cycles=6).left_out(accuracies) == 0


def test_sculpting_leaves_out_cycles_but_not_the_pruning() -> None:
    procedure = Sculpt(cycles="auto", max_cycles=5)
    assert [phase.name for phase in procedure.phases(2, 0.1)] == [*(f"cycle {n}" for n in range(1, 6)), "sculpted"]
    assert procedure.left_out([[0.5], [0.5], [0.5]]) == 2
    assert procedure.left_out([[0.5]] * 6) == 0


@pytest.mark.parametrize("procedure", ["cyclic", "sculpt"])
def test_a_run_ends_by_the_rule_and_says_so(
    procedure: str, train: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    summary = train(f"procedure={procedure}", *AUTO, "density.value=0.2")
    folder = tmp_path / "outputs" / "runs" / summary["run_id"]
    phases, epochs = (
        [json.loads(line) for line in (folder / name).read_text().splitlines()]
        for name in ("phases.jsonl", "metrics.jsonl")
    )
    cycles = [phase for phase in phases if phase["name"].startswith("cycle")]
    by_cycle = [[line["val_acc"] for line in epochs if line["phase"] == phase["phase"]] for phase in cycles]
    assert enough_cycles(by_cycle) != (len(cycles) == 20)
    assert not any(enough_cycles(by_cycle[:number]) for number in range(1, len(by_cycle)))
    assert summary["phases"] == len(phases) == len(cycles) + (procedure == "sculpt")
    assert summary["epochs"] == 3 * len(phases) == len(epochs)
    assert summary["density_actual"] == pytest.approx(0.2, abs=1e-4)


def test_kills_do_not_change_when_it_is_enough(overrides: Callable[..., list[str]], tmp_path: Path) -> None:
    kill_again_and_again(overrides, tmp_path, "procedure=sculpt", *AUTO, "checkpoint.minutes=0", kills=6)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"cycles": "many"}, "procedure.cycles=many: must be 1 or more, or auto"),
        ({"cycles": 0}, "procedure.cycles=0: must be 1 or more"),
        ({"cycles": "auto", "budget": 30}, "procedure.cycles=auto: a budget is divided among cycles of a known number"),
        ({"cycles": "auto", "max_cycles": 0}, "procedure.max_cycles=0: must be 1 or more"),
    ],
)
def test_what_cannot_be_is_one_line(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=f"^{told}"):
        Cyclic(**given)
