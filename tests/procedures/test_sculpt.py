"""SCULPT-ing: cycles on a denser mask, one pruning, one more cycle."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dst.config import compose, run_id
from dst.procedures import Sculpt
from dst.sparsity.distribution import kept_count
from tests.run.outcomes import run_outcome

Train = Callable[..., dict[str, Any]]
Overrides = Callable[..., list[str]]

SCULPT = ["procedure=sculpt", "procedure.cycles=2", "recipe.epochs=2", "density=d0.1"]


def folder_of(tmp_path: Path, summary: dict[str, Any]) -> Path:
    return tmp_path / "outputs" / "runs" / summary["run_id"]


def lines(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


@pytest.mark.parametrize("initial_mask", ["random", "snip"])
def test_the_largest_weights_of_all_layers_outlive_the_one_pruning(
    initial_mask: str, train: Train, tmp_path: Path
) -> None:
    summary = train(*SCULPT, f"initial_mask={initial_mask}", "checkpoint.snapshots=[0,40]")
    folder = folder_of(tmp_path, summary)
    n = summary["parameters_sparsifiable"]
    phases = lines(folder, "phases.jsonl")
    assert [line["name"] for line in phases] == ["cycle 1", "cycle 2", "sculpted"]
    assert [line["epochs"] for line in phases] == [2, 2, 2]
    assert [line["density"] for line in phases[:2]] == pytest.approx([0.5, 0.5], abs=1e-3)
    assert summary["parameters_active"] == kept_count(n, 0.1)
    [cut] = lines(folder, "topology.jsonl")
    assert cut["step"] == 40
    masks, before = torch.load(folder / "masks.pt"), torch.load(folder / "snapshots/40.pt")
    scores = torch.cat([before["model"][name].abs().flatten() for name in masks])
    smallest = scores.sort().values[n - kept_count(n, 0.1)]
    assert all(torch.equal(mask, before["model"][name].abs() >= smallest) for name, mask in masks.items())
    assert (summary["method"], summary["criterion"], summary["epochs"]) == ("sculpt", "magnitude", 6)


def test_no_cycles_from_the_target_density_are_a_static_run(train: Train, tmp_path: Path) -> None:
    found = []
    sculpt = ["procedure=sculpt", "procedure.cycles=0", "procedure.start_density=0.1"]
    for procedure in (sculpt, ["procedure=dst", "update_period=never"]):
        outcome = run_outcome(folder_of(tmp_path, train("recipe.epochs=2", *procedure)))
        kept = ("test_acc", "val_acc", "best_val_acc", "flops_training", "parameters_active", "itop_ratio", "epochs")
        outcome["summary"] = {key: outcome["summary"][key] for key in kept}
        outcome["epochs"] = [{**line, "phase": 1} for line in outcome["epochs"]]
        found.append({key: outcome[key] for key in ("summary", "epochs", "masks", "weights", "topology")})
    assert found[0] == found[1]


def test_no_cycles_prune_the_first_weights(train: Train, tmp_path: Path) -> None:
    summary = train("procedure=sculpt", "procedure.cycles=0", "recipe.epochs=1")
    [cut] = lines(folder_of(tmp_path, summary), "topology.jsonl")
    assert cut["step"] == 0
    assert summary["parameters_active"] == kept_count(summary["parameters_sparsifiable"], 0.1)


@given(st.integers(0, 20), st.integers(1, 900), st.booleans())
def test_cycles_spend_the_whole_budget(cycles: int, budget: int, extend: bool) -> None:
    procedure = Sculpt(cycles=cycles, budget=budget, extend=extend)
    if budget <= cycles:
        with pytest.raises(ValueError, match=f"must be {cycles + 1} epochs or more, one for each of {cycles + 1}"):
            procedure.phases(7, 0.1)
        return
    phases = procedure.phases(7, 0.1)
    assert sum(phase.epochs for phase in phases) == budget
    assert len(phases) == (2 if extend else max(1, cycles) + 1)
    assert phases[-1].epochs == -(-budget // (cycles + 1))
    assert [phase.density for phase in phases] == [0.5] * (len(phases) - 1) + [0.1]


def id_of(*more: str) -> str:
    return run_id(compose(["dataset=digits", "model=small_mlp", "procedure=sculpt", *more]))


def test_what_a_sculpted_run_does_not_look_at_makes_no_other_run() -> None:
    for more in (["update_period=never"], ["growth=gradient"], ["sparsity.scope=global"], ["prune_fraction=linear"]):
        assert id_of(*more) == id_of()
    for more in (["initial_mask=snip"], ["distribution=balanced"], ["initial_mask=snip", "initial_mask.batches=2"]):
        dense = ["procedure.start_density=1"]
        assert id_of(*more, *dense) == id_of(*dense)
    decisive = [
        *([], ["initial_mask=snip"], ["distribution=balanced"], ["criterion=random"], ["procedure.extend=true"]),
        *(["procedure.start_density=0.3"], ["procedure.start_density=1"], ["procedure.cycles=3"]),
    ]
    assert len({id_of(*more) for more in decisive}) == len(decisive)


def test_first_masks_from_another_run_have_its_density(train: Train, tmp_path: Path) -> None:
    parent = ["parent=[procedure=imp,density.value=0.5,recipe.epochs=1]", "initial_mask=parent"]
    summary = train(*SCULPT, *parent, "checkpoint.snapshots=[0]")
    masks = torch.load(folder_of(tmp_path, summary) / "snapshots/0.pt")["masks"]
    theirs = torch.load(tmp_path / "outputs" / "runs" / summary["parent"] / "masks.pt")
    assert all(torch.equal(masks[name], mask) for name, mask in theirs.items())


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["procedure.start_density=0.05"], "procedure.start_density=0.05: must be density.value=0.1 or more"),
        (["procedure.start_density=1.5"], "procedure.start_density=1.5: must lie in (0, 1]"),
        (["procedure.cycles=-1"], "procedure.cycles=-1: must be 0 or more"),
        (["procedure.budget=4"], "procedure.budget=4: must be 5 epochs or more, one for each of 5 cycles"),
        (["density=dense"], "procedure=sculpt: density=dense: prunes to a density; give a number"),
        (
            ["initial_mask=parent", "parent=[procedure=imp,density.value=0.4]"],
            "procedure.start_density=0.5: its masks are those of its parent, which has density 0.4",
        ),
    ],
)
def test_a_mistake_is_one_line_before_any_work(
    more: list[str], told: str, overrides: Overrides, type_in: Any, tmp_path: Path
) -> None:
    status, _, err = type_in(*overrides("procedure=sculpt", *more))
    assert (status, len(err.splitlines())) == (2, 1)
    assert told in err
    assert not (tmp_path / "outputs").exists()
