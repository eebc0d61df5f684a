"""Cycles until they bring no more: the rule, and runs that end by it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dst.config import compose, run_id
from dst.errors import UserError
from dst.procedures import Cyclic, Procedure, Sculpt
from dst.procedures.enough import enough_cycles
from dst.train import run
from dst.training.phase import Phase
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
    assert summary["cycles"] == len(cycles)
    assert summary["phases"] == len(phases) == len(cycles) + (procedure == "sculpt")
    assert summary["epochs"] == 3 * len(phases) == len(epochs)
    assert summary["density_actual"] == pytest.approx(0.2, abs=1e-4)


def test_a_run_that_diverges_counts_the_phases_that_it_began(train: Callable[..., dict[str, Any]]) -> None:
    summary = train("procedure=cyclic", *AUTO, "recipe.lr=1e20")
    assert (summary["status"], summary["phases"], summary["cycles"]) == ("diverged", 1, 1)


def test_the_most_cycles_are_part_of_the_run_id_where_they_have_an_effect() -> None:
    def id_of(*more: str) -> str:
        return run_id(compose(["dataset=digits", "model=small_mlp", *more]))

    for procedure in ("procedure=cyclic", "procedure=sculpt"):
        assert id_of(procedure, "procedure.max_cycles=7") == id_of(procedure)
        auto = [procedure, "procedure.cycles=auto"]
        assert len({id_of(procedure), id_of(*auto), id_of(*auto, "procedure.max_cycles=7")}) == 3
    own = [f"procedure._target_={__name__}.OfOnesOwn", "procedure.name=own"]
    assert id_of(*own, "+procedure.max_cycles=1") != id_of(*own, "+procedure.max_cycles=2")


@dataclass(frozen=True)
class OfOnesOwn(Procedure):
    """Has a key of the same name, and of another meaning."""

    max_cycles: int = 1

    def phases(self, epochs: int, density: float | None) -> list[Phase]:
        return [Phase("train", epochs, density)] * self.max_cycles


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


def test_the_test_data_do_not_say_when_it_is_enough(overrides: Callable[..., list[str]]) -> None:
    with pytest.raises(UserError, match=r"^procedure\.cycles=auto: goes by the validation accuracy, which is that of"):
        run(compose(overrides("procedure=cyclic", *AUTO, "dataset.val_size=0")))
