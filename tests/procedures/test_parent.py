"""Runs that start from another run's masks and weights."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dst.attempt import Stopped
from dst.config import checked, compose, parent_of, run_id
from dst.train import run
from dst.training.beginning import NOTHING
from dst.training.build import training_factory
from tests.run.outcomes import run_outcome

Train = Callable[..., dict[str, Any]]
Overrides = Callable[..., list[str]]

GRADUAL = "parent=[procedure=gradual,update_period=dt25]"
LOTTERY = [GRADUAL, "initial_mask=parent", "weight_init=parent", "weight_init.step=0", "update_period=never"]


def id_of(*more: str) -> str:
    return run_id(compose(["dataset=digits", "model=small_mlp", *more]))


def weights(path: Path) -> dict[str, Tensor]:
    state: dict[str, Any] = torch.load(path)
    found: dict[str, Tensor] = state.get("training", state)["model"]
    return found


def test_a_lottery_ticket_has_the_masks_and_the_first_weights_of_the_pruned_run(train: Train, tmp_path: Path) -> None:
    child = train(*LOTTERY, "checkpoint.snapshots=[0]")
    parent = train("procedure=gradual")  # finished already, though typed for itself
    runs = tmp_path / "outputs" / "runs"
    assert {path.name for path in runs.iterdir()} == {child["run_id"], parent["run_id"]}
    masks, pruned = (torch.load(runs / summary["run_id"] / "masks.pt") for summary in (child, parent))
    assert all(torch.equal(masks[name], pruned[name]) for name in pruned)
    ours, theirs = (weights(runs / summary["run_id"] / "snapshots/0.pt") for summary in (child, parent))
    for name, weight in theirs.items():
        assert torch.equal(ours[name], weight * masks.get(name, 1))
    assert (child["method"], parent["method"]) == ("static", "gradual")


@pytest.mark.parametrize("step", [20, "last"])
def test_weights_come_from_the_step_that_is_asked_for(step: int | str, train: Train, tmp_path: Path) -> None:
    dense = ["density=dense", "parent=[seed=5]", "weight_init=parent", f"weight_init.step={step}", "recipe.epochs=2"]
    child = train(*dense, "checkpoint.snapshots=[0]", "checkpoint.keep=nothing")
    runs = tmp_path / "outputs" / "runs"
    [parent] = [path for path in runs.iterdir() if path.name != child["run_id"]]
    start = weights(runs / child["run_id"] / "snapshots/0.pt")
    kept = weights(parent / ("checkpoint.pt" if step == "last" else f"snapshots/{step}.pt"))
    assert all(torch.equal(start[name], kept[name]) for name in kept)


@pytest.mark.parametrize(("chosen", "magnitudes", "signs"), [("parent_signs", 0, 1), ("parent_magnitudes", 1, 0)])
def test_signs_and_magnitudes_come_from_different_weights(
    chosen: str, magnitudes: int, signs: int, train: Train, tmp_path: Path
) -> None:
    coupled = [GRADUAL, "initial_mask=parent", "update_period=never", "recipe.epochs=2", "checkpoint.snapshots=[0]"]
    child, own = (train(*coupled, *more) for more in ([f"weight_init={chosen}", "weight_init.step=20"], []))
    runs = tmp_path / "outputs" / "runs"
    [parent] = [path for path in runs.iterdir() if path.name not in (own["run_id"], child["run_id"])]
    masks = torch.load(parent / "masks.pt")
    sources = [weights(runs / own["run_id"] / "snapshots/0.pt"), weights(parent / "snapshots/20.pt")]
    for name, weight in weights(runs / child["run_id"] / "snapshots/0.pt").items():
        if name not in masks:
            assert torch.equal(weight, sources[0][name])
            continue
        active = weight[masks[name]]
        assert torch.equal(active.abs(), sources[magnitudes][name][masks[name]].abs())
        assert torch.equal(active < 0, sources[signs][name][masks[name]] < 0)
        assert not weight[~masks[name]].any()


def test_a_snapshot_holds_the_weights_after_its_step(overrides: Overrides, train: Train, tmp_path: Path) -> None:
    summary = train("growth=gradient", "checkpoint.snapshots=[0,30]")
    cfg = compose(overrides("growth=gradient", f"output_dir={tmp_path / 'stopped'}"))
    asked = iter(range(29))
    with pytest.raises(Stopped):
        run(cfg, should_stop=lambda: next(asked, None) is None)
    folder = tmp_path / "outputs" / "runs" / summary["run_id"]
    stopped = torch.load(tmp_path / "stopped" / "runs" / summary["run_id"] / "checkpoint.pt")["training"]
    assert stopped["step"] == 30
    kept = torch.load(folder / "snapshots/30.pt")
    assert (kept["step"], kept["run_id"]) == (30, summary["run_id"])
    assert all(torch.equal(kept["model"][name], weight) for name, weight in stopped["model"].items())
    assert all(torch.equal(kept["masks"][name], mask) for name, mask in stopped["sparsity"]["masks"].items())
    first = training_factory(checked(cfg))(NOTHING).model.state_dict()
    assert all(torch.equal(weight, first[name]) for name, weight in weights(folder / "snapshots/0.pt").items())


def test_first_weights_that_were_not_kept_are_made_anew(train: Train, tmp_path: Path) -> None:
    train("procedure=gradual")
    train(*LOTTERY)
    without = {path.name: run_outcome(path) for path in (tmp_path / "outputs" / "runs").iterdir()}
    assert all(not outcome["snapshots"] for outcome in without.values())
    shutil.rmtree(tmp_path / "outputs")
    train(*LOTTERY)
    for path in (tmp_path / "outputs" / "runs").iterdir():
        assert {**run_outcome(path), "snapshots": {}} == without[path.name]


def test_a_resumed_child_does_not_need_its_parent_any_more(overrides: Overrides, tmp_path: Path) -> None:
    cfg = compose(overrides(*LOTTERY))
    whole = run(cfg)
    runs = tmp_path / "outputs" / "runs"
    expected = run_outcome(runs / whole["run_id"])
    shutil.rmtree(runs / whole["run_id"])
    asked = iter(range(12))
    with pytest.raises(Stopped):
        run(cfg, should_stop=lambda: next(asked, None) is None)
    shutil.rmtree(runs / checked(cfg).parent_id)
    run(cfg)
    assert run_outcome(runs / whole["run_id"]) == expected
    assert [path.name for path in runs.iterdir()] == [whole["run_id"]]


@pytest.mark.parametrize("init", ["sparsity_aware", "layer_scaled"])
def test_weight_inits_start_from_the_masks_that_the_run_has(init: str, train: Train, tmp_path: Path) -> None:
    summary = train("update_period=never", f"weight_init={init}", "checkpoint.snapshots=[0]")
    plain = train("update_period=never", "checkpoint.snapshots=[0]")
    runs = tmp_path / "outputs" / "runs"
    masks = torch.load(runs / summary["run_id"] / "masks.pt")
    ours, default = (weights(runs / of["run_id"] / "snapshots/0.pt") for of in (summary, plain))
    for name, weight in ours.items():
        assert torch.equal(weight != 0, default[name] != 0)
        if name not in masks:
            assert torch.equal(weight, default[name])
        elif init == "layer_scaled":
            torch.testing.assert_close(weight * masks[name].float().mean().sqrt(), default[name])
        else:
            normalised = weight * (masks[name].sum(dim=1, keepdim=True) / 2).sqrt()
            assert float(normalised[masks[name]].std()) == pytest.approx(1, rel=0.1)


def test_a_parents_config_is_the_runs_own_with_the_overrides_applied() -> None:
    typed = ["dataset=digits", "model=small_mlp", "recipe.lr=0.3", "seed=9", "density=0.2"]
    child = checked(compose([*typed, "parent=[procedure=gradual,recipe.lr=1,update_period=25]", "initial_mask=parent"]))
    parent = parent_of(child)
    assert parent is not None
    asked = [*typed, "procedure=gradual", "recipe.lr=1", "update_period=25"]
    assert asdict(parent) == asdict(checked(compose(asked)))
    assert child.parent_id == run_id(compose(asked))


def test_a_parent_may_have_a_parent() -> None:
    first = ["procedure=gradual", "seed=4"]
    second = [f"parent=[{','.join(first)}]", "initial_mask=parent"]
    third = checked(compose(["dataset=digits", f"parent=[{','.join(second)}]", "weight_init=parent"]))
    assert third.parent_id == run_id(compose(["dataset=digits", *second]))
    assert parent_of(third).parent_id == run_id(compose(["dataset=digits", *first]))  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("base", "without_effect"),
    [
        ([], ["parent=[procedure=gradual]", "weight_init.step=0", "weight_init=default"]),
        (["density=dense"], ["initial_mask=parent", "parent=[procedure=gradual]"]),
        (["procedure=gradual"], ["initial_mask=parent", "parent=[seed=3]"]),
        (["weight_init=layer_scaled"], ["weight_init.scale=3"]),
        ([GRADUAL, "initial_mask=parent"], ["checkpoint.snapshots=[0]"]),
        ([GRADUAL, "weight_init=parent"], ["parent=[update_period=25,procedure=gradual]"]),
    ],
)
def test_what_a_run_does_not_take_from_a_parent_makes_no_other_run(base: list[str], without_effect: list[str]) -> None:
    assert id_of(*base) == id_of(*base, *without_effect)


def test_each_parent_and_each_thing_taken_from_it_makes_another_run() -> None:
    given = [
        [],
        ["weight_init=sparsity_aware"],
        ["weight_init=sparsity_aware", "weight_init.scale=1"],
        ["weight_init=layer_scaled"],
        [GRADUAL, "initial_mask=parent"],
        [GRADUAL, "weight_init=parent"],
        [GRADUAL, "weight_init=parent", "weight_init.step=0"],
        [GRADUAL, "weight_init=parent", "initial_mask=parent"],
        ["parent=[procedure=gradual,update_period=50]", "weight_init=parent"],
        ["parent=[procedure=gradual,update_period=dt25,seed=3]", "weight_init=parent"],
    ]
    assert len({id_of(*more) for more in given}) == len(given)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["initial_mask=parent"], "initial_mask=parent: of which run? give the overrides"),
        (["weight_init=parent"], "weight_init=parent: of which run? give the overrides"),
        (
            ["parent=[initial_mask=parent]", "initial_mask=parent"],
            "parent=[initial_mask=parent]: initial_mask=parent: of",
        ),
        (["parent=[model=large_mlp]", "initial_mask=parent"], "is a large_mlp, this run a small_mlp"),
        (["parent=[model.hidden=[8]]", "initial_mask=parent"], "has weights of other shapes (layers."),
        (
            ["parent=[density=0.2]", "initial_mask=parent"],
            "density.value=0.1: its masks are those of its parent, which has",
        ),
        (["parent=[density=dense]", "initial_mask=parent"], "which is dense, without masks"),
        (["parent=procedure=gradual", "initial_mask=parent"], "write a list of overrides, such as parent='[procedure"),
        (["parent=[procedure=gradul]", "initial_mask=parent"], "procedure=gradul: unknown; did you mean gradual?"),
        (["parent=[recipe.lrr=1]", "initial_mask=parent"], "recipe.lrr: unknown; did you mean lr?"),
        (["parent=[+recipe.lrr=1]", "initial_mask=parent"], "+recipe.lrr=1: write group=choice or key=value"),
        (["parent=['seed=1,2']", "initial_mask=parent"], "seed=1,2: write group=choice or key=value, with one value"),
        (["parent=[seed=2]", "weight_init=parent", "weight_init.step=x"], "weight_init.step=x: must be last or a step"),
        (["parent=[seed=2]", "weight_init=parent", "weight_init.step=99999"], "the run has 40 steps, none 99999"),
        (["weight_init=he"], "weight_init=he: unknown"),
        (["weight_init=sparsity_aware", "weight_init.mode=fan"], "weight_init.mode=fan: unknown"),
        (["checkpoint.snapshots=[-1]"], "checkpoint.snapshots=[-1]: must be steps, 0 or more"),
        (["checkpoint.snapshots=[45]"], "checkpoint.snapshots=[45]: the run has 40 steps, none 45"),
    ],
)
def test_a_mistake_is_one_line_before_any_work(
    more: list[str], told: str, overrides: Overrides, type_in: Any, tmp_path: Path
) -> None:
    status, _, err = type_in(*overrides(*more))
    assert (status, len([line for line in err.splitlines() if "comes first" not in line])) == (2, 1)
    assert told in err
    assert not (tmp_path / "outputs").exists()


def test_a_parent_that_cannot_give_what_is_asked_for_is_told_in_one_line(
    overrides: Overrides, train: Train, type_in: Any
) -> None:
    train("seed=3", "checkpoint.keep=nothing")
    parent = train("seed=3", "checkpoint.keep=nothing")["run_id"]
    ask = ["parent=[seed=3]", "weight_init=parent"]
    status, _, err = type_in(*overrides(*ask, "weight_init.step=7"))
    assert status == 2
    assert f"weight_init.step=7: its parent, run {parent}, is finished and kept no weights of that step" in err
    status, _, err = type_in(*overrides(*ask))
    assert status == 2
    assert f"{parent}: kept no weights (checkpoint.keep=nothing)" in err
    status, _, err = type_in(*overrides("parent=[recipe.lr=1e30]", "weight_init=parent"))
    assert status == 2
    assert err.splitlines()[-1].endswith("diverged: there is nothing to start from")
