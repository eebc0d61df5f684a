"""The phases of a run: known beforehand, each with an optimizer and schedules of its own, logged one by one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from dst.attempt import Stopped
from dst.config import checked, compose, run_id
from dst.procedures import Cyclic, Procedure, planned_phases
from dst.train import run
from dst.training.beginning import NOTHING
from dst.training.build import training_factory
from dst.training.evaluation import run_epoch
from dst.training.loop import Training
from dst.training.phase import Phase
from tests.run.outcomes import outcomes, run_outcome

Train = Callable[..., dict[str, Any]]
Overrides = Callable[..., list[str]]


def folder_of(tmp_path: Path, summary: dict[str, Any]) -> Path:
    return tmp_path / "outputs" / "runs" / summary["run_id"]


def lines(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


@pytest.mark.parametrize("method", [["growth=gradient"], ["update_period=never"], ["density=dense"]])
def test_one_cycle_is_the_run_of_one_phase_bit_for_bit(method: list[str], train: Train, tmp_path: Path) -> None:
    outcomes = []
    for procedure in (["procedure=dst"], ["procedure=cyclic", "procedure.cycles=1"]):
        outcome = run_outcome(folder_of(tmp_path, train(*method, *procedure)))
        del outcome["phases"], outcome["summary"]["run_id"], outcome["summary"]["procedure"], outcome["summary"]["code"]
        outcomes.append(outcome)
    assert outcomes[0] == outcomes[1]


def test_each_cycle_repeats_the_learning_rates_and_keeps_the_density(train: Train, tmp_path: Path) -> None:
    summary = train("procedure=cyclic", "procedure.cycles=3", "recipe.lr_milestones=[0.5]", "growth=gradient")
    folder = folder_of(tmp_path, summary)
    metrics = lines(folder, "metrics.jsonl")
    assert [line["phase"] for line in metrics] == [1] * 4 + [2] * 4 + [3] * 4
    assert [line["epoch"] for line in metrics] == list(range(1, 13))
    assert [line["lr"] for line in metrics] == pytest.approx([0.01, 0.01, 0.001, 0.001] * 3)
    steps = [line["step"] for line in lines(folder, "topology.jsonl")]
    per_cycle = metrics[3]["step"]
    assert steps == [cycle * per_cycle + 25 for cycle in range(3)]  # each cycle has updates at its own Δt, 2Δt, … < T
    assert {line["density"] for line in metrics} == {summary["density_actual"]}
    assert (summary["epochs"], summary["procedure"]) == (12, "cyclic")


def test_every_phase_ends_with_a_line_of_its_test_accuracy(train: Train, tmp_path: Path) -> None:
    summary = train("procedure=cyclic", "procedure.cycles=3", "procedure.budget=4")
    phases = lines(folder_of(tmp_path, summary), "phases.jsonl")
    assert [(line["phase"], line["name"], line["epochs"], line["epoch"]) for line in phases] == [
        (1, "cycle 1", 1, 1), (2, "cycle 2", 1, 2), (3, "cycle 3", 2, 4),
    ]  # fmt: skip
    assert phases[-1]["test_acc"] == summary["test_acc"]
    assert all(0 <= line["test_acc"] <= 1 and line["density"] == pytest.approx(0.1, abs=1e-3) for line in phases)


def test_the_weights_of_each_phases_end_are_kept_where_that_is_asked_for(train: Train, tmp_path: Path) -> None:
    typed = ["procedure=lrr", "density.value=0.7", "recipe.epochs=1", "checkpoint.phases=true"]
    summary = train(*typed)
    folder = folder_of(tmp_path, summary)
    phases = lines(folder, "phases.jsonl")
    assert {path.name for path in (folder / "snapshots").iterdir()} == {f"{line['step']}.pt" for line in phases}
    for line in phases:
        masks = torch.load(folder / "snapshots" / f"{line['step']}.pt")["masks"].values()
        active, size = (sum(counted(mask) for mask in masks) for counted in (torch.count_nonzero, torch.numel))
        assert active / size == pytest.approx(line["density"])
    assert train(*typed[:-1], f"output_dir={tmp_path / 'other'}")["run_id"] == summary["run_id"]
    assert not (tmp_path / "other" / "runs" / summary["run_id"] / "snapshots").exists()


def test_a_cycle_starts_with_an_optimizer_that_holds_no_momentum(train: Train, tmp_path: Path) -> None:
    """With lr 0 at the only step of each later cycle nothing moves, unless momentum went on."""
    common = ("recipe.batch_size=2000", "update_period=never", "checkpoint.keep=all")
    one = train("recipe.epochs=1", *common)
    more = train("recipe.epochs=1", "procedure=cyclic", "procedure.cycles=2", *common)
    states = [
        torch.load(folder_of(tmp_path, summary) / "checkpoint.pt", weights_only=True)["training"]
        for summary in (one, more)
    ]
    momentum = [next(iter(state["optimizer"].values()))["momentum_buffer"] for state in states]
    gradient_scale = momentum[0].norm()  # of the first step, whose momentum is the gradient itself
    assert momentum[1].norm() < 1.5 * gradient_scale  # two steps with momentum 0.9 on one batch would come to 1.9


def test_a_phase_goes_on_with_the_weights_and_masks_of_the_one_before(overrides: Overrides) -> None:
    config = checked(compose(overrides("procedure=cyclic", "procedure.cycles=2", "growth=gradient", "recipe.epochs=8")))
    training = training_factory(config)(NOTHING)
    first = {name: mask.clone() for name, mask in training.sparsity.masks.items()}
    while not training.phase_is_over:
        run_epoch(training)
    masks = {name: mask.clone() for name, mask in training.sparsity.masks.items()}
    weights = {name: weight.detach().clone() for name, weight in training.model.named_parameters()}
    itop = training.sparsity.itop_ratio()
    assert any(not torch.equal(masks[name], first[name]) for name in masks)  # updates came
    training.begin_phase(1)
    assert all(torch.equal(masks[name], mask) for name, mask in training.sparsity.masks.items())
    assert all(torch.equal(weights[name], weight) for name, weight in training.model.named_parameters())
    assert training.sparsity.itop_ratio() == itop


def test_the_best_epoch_of_gradual_pruning_is_as_sparse_as_its_end(train: Train, tmp_path: Path) -> None:
    summary = train("procedure=gradual", "recipe.epochs=20", "density=0.02")
    folder = folder_of(tmp_path, summary)
    accuracies = {line["epoch"]: (line["density"], line["val_acc"]) for line in lines(folder, "metrics.jsonl")}
    sparsest = {epoch: acc for epoch, (density, acc) in accuracies.items() if density == summary["density_actual"]}
    assert max(acc for _, acc in accuracies.values()) > max(sparsest.values())  # a denser epoch was better
    assert summary["best_val_acc"] == max(sparsest.values()) == sparsest[summary["best_epoch"]]
    best = torch.load(folder / "checkpoint.pt")["training"]["best"]["model"]
    assert all(not bool(best[name][~mask].any()) for name, mask in torch.load(folder / "masks.pt").items())


@pytest.mark.parametrize(("cycles", "budget"), [(1, 7), (3, 10), (4, 4), (5, 99)])
def test_cycles_spend_the_whole_budget(cycles: int, budget: int) -> None:
    lengths = [phase.epochs for phase in Cyclic(cycles=cycles, budget=budget).phases(100, 0.1)]
    assert (len(lengths), sum(lengths)) == (cycles, budget)
    assert len(set(lengths[:-1])) <= 1


def test_phases_are_known_from_the_config_alone() -> None:
    config = compose(["procedure=cyclic", "procedure.cycles=3", "recipe.epochs=7"])
    rest = {"recipe": {"epochs": 7}, "density": {"value": 0.1}}
    cyclic = {"procedure": dict(config.procedure), **rest}
    assert [phase.epochs for phase in planned_phases(cyclic)] == [7] * 3
    assert [phase.epochs for phase in planned_phases(rest)] == [7]  # of an older plan


BASE = ["dataset=digits", "model=small_mlp", "growth=gradient"]


def id_of(*more: str) -> str:
    return run_id(compose([*BASE, *more]))


@pytest.mark.parametrize(
    "more",
    [
        ["procedure=cyclic"],
        ["procedure=cyclic", "procedure.cycles=3"],
        ["procedure=gradual"],
        ["lr_schedule=cosine"],
        ["lr_schedule=cosine", "lr_schedule.warmup=5"],
        ["lr_schedule.warmup=5"],
    ],
)
def test_a_procedure_or_schedule_makes_another_run(more: list[str]) -> None:
    others = [id_of(*other) for other in ([], ["procedure=cyclic"], ["lr_schedule=cosine"]) if other != more]
    assert id_of(*more) not in others


@pytest.mark.parametrize(
    ("base", "without_effect"),
    [
        ([], ["procedure=dst", "lr_schedule=step"]),
        (["procedure=gradual"], ["growth=random"]),
        (["procedure=gradual"], ["prune_fraction=linear"]),
        (["procedure=gradual", "sparsity.scope=global"], ["distribution=uniform"]),
        (["lr_schedule=cosine"], ["recipe.lr_milestones=[0.1]"]),
        (["procedure=cyclic", "procedure.budget=12"], ["recipe.epochs=3"]),
    ],
)
def test_what_a_procedure_does_not_look_at_makes_no_other_run(base: list[str], without_effect: list[str]) -> None:
    assert id_of(*base) == id_of(*base, *without_effect)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["procedure=cyclic", "procedure.cycles=0"], "procedure.cycles=0: must be 1 or more"),
        (
            ["procedure=cyclic", "procedure.cycles=3", "procedure.budget=2"],
            "procedure.budget=2: must be 3 epochs",
        ),
        (["procedure=gradual", "update_period=never"], "update_period=never: procedure=gradual prunes; give a number"),
        (["procedure=gradual", "density=dense"], "density=dense: procedure=gradual prunes; give a number"),
        (["procedure=gradual", "procedure.start=0.8"], "procedure.start=0.8, procedure.stop=0.75: must be shares"),
        (["procedure=cycl"], "procedure=cycl: unknown; did you mean cyclic?"),
        (["procedure=cyclic", "procedure.cycle=3"], "procedure.cycle: unknown"),
        (["lr_schedule.warmup=-1"], "lr_schedule.warmup=-1: must be 0 or more"),
    ],
)
def test_a_mistake_is_one_line_before_any_work(
    more: list[str], told: str, overrides: Overrides, type_in: Any, tmp_path: Path
) -> None:
    status, _, err = type_in(*overrides(*more))
    assert (status, len(err.splitlines())) == (2, 1)
    assert told in err
    assert not (tmp_path / "outputs").exists()


def test_checked_configs_of_earlier_plans_have_the_default_procedure() -> None:
    config = compose(BASE)
    del config.procedure, config.lr_schedule
    assert run_id(config) == id_of()
    assert checked(config).procedure["name"] == "dst"


@dataclass(frozen=True)
class Rewound(Procedure):
    """Two phases, the second from the weights after some epochs of the first."""

    keep_at: int = 0

    def phases(self, epochs: int, density: float | None) -> list[Phase]:
        return [Phase("first", epochs, density, keep_at=self.keep_at), Phase("second", epochs, density)]

    def between(self, training: Training, following: Phase) -> None:
        training.model.load_state_dict(training.kept)


@pytest.mark.parametrize("epochs", [0, 2, 4])
def test_a_procedure_takes_back_the_weights_of_the_epoch_that_it_asked_to_keep(
    epochs: int, overrides: Overrides, tmp_path: Path
) -> None:
    node = [f"procedure._target_={__name__}.Rewound", "procedure.name=rewound", f"+procedure.keep_at={epochs}"]
    more = [*node, "update_period=never", "checkpoint.snapshots=[0,20,40]"]
    training = training_factory(checked(compose(overrides(*more))))(NOTHING)
    while not training.phase_is_over:
        run_epoch(training)
    summary = run(compose(overrides(*more)))
    kept = torch.load(folder_of(tmp_path, summary) / f"snapshots/{10 * epochs}.pt")["model"]
    assert len(kept) == len(training.kept)
    assert all(torch.equal(kept[name], weight) for name, weight in training.kept.items())
    stopped = compose(overrides(*more, f"output_dir={tmp_path / 'stopped'}"))
    asked = iter(range(25))  # in the first phase, after what is kept
    with pytest.raises(Stopped):
        run(stopped, should_stop=lambda: next(asked, None) is None)
    run(stopped)
    assert outcomes(tmp_path / "stopped") == outcomes(tmp_path / "outputs")
