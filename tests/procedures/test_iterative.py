"""Iterative pruning: exact densities, weights taken back or kept, ids and mistakes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from dst.config import checked, compose, run_id
from dst.procedures import IMP, LRR, WR
from dst.sparsity.distribution import kept_count
from dst.training.beginning import NOTHING
from dst.training.build import training_factory
from dst.training.evaluation import run_epoch
from dst.training.flops import count_forward
from dst.training.optimizer import make_optimizer
from tests.run.outcomes import run_outcome

Train = Callable[..., dict[str, Any]]
Overrides = Callable[..., list[str]]

THREE_LEVELS = ["procedure=imp", "density.value=0.7", "recipe.epochs=2", "recipe.lr_milestones=[]"]
"""Three levels of two epochs: densities 1, 0.8 and 0.7."""


def folder_of(tmp_path: Path, summary: dict[str, Any]) -> Path:
    return tmp_path / "outputs" / "runs" / summary["run_id"]


def lines(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def test_densities_are_powers_of_what_is_kept_and_the_last_is_the_target() -> None:
    found = [phase.density for phase in LRR().phases(1, 0.2)]
    assert found == [1.0, *(0.8**level for level in range(1, 8)), 0.2]
    assert [phase.density for phase in LRR(prune_rate=0.5).phases(1, 0.25)] == [1.0, 0.5, 0.25]
    assert [phase.density for phase in LRR().phases(1, 0.8**2)] == [1.0, 0.8, 0.8**2]
    assert [phase.density for phase in LRR().phases(1, 1.0)] == [1.0]


@given(
    density=st.floats(0.001, 1.0),
    prune_rate=st.floats(0.05, 0.95),
    budget=st.integers(1, 3000),
    method=st.sampled_from([IMP, LRR, WR]),
)
def test_levels_only_get_sparser_and_spend_the_whole_budget(
    density: float, prune_rate: float, budget: int, method: type[LRR]
) -> None:
    levels = len(LRR(prune_rate=prune_rate).phases(1, density))
    more = {"rewind_epoch": 0} if method is WR else {}
    procedure = method(prune_rate=prune_rate, budget=budget, **more)
    if budget < levels:
        with pytest.raises(ValueError, match=rf"^procedure.budget={budget}: must be {levels} epochs or more, one for"):
            procedure.phases(7, density)
        return
    phases = procedure.phases(7, density)
    densities = [phase.density or 0.0 for phase in phases]
    assert sum(phase.epochs for phase in phases) == budget
    lengths = [phase.epochs for phase in phases]
    assert lengths == sorted(lengths)
    assert lengths[-1] - lengths[0] <= 1
    assert (densities[0], densities[-1]) == (1.0, density)
    assert densities == sorted(set(densities), reverse=True)
    assert {phase.updates for phase in phases} == {"none"}


@pytest.mark.parametrize("criterion", ["magnitude", "set", "random", "mest"])
@pytest.mark.parametrize("scope", ["global", "local"])
def test_each_level_has_exactly_its_weights(criterion: str, scope: str, train: Train, tmp_path: Path) -> None:
    more = ["procedure=lrr", f"procedure.scope={scope}", f"criterion={criterion}", "recipe.epochs=1"]
    summary = train(*more, "density.value=0.4")
    n = summary["parameters_sparsifiable"]
    phases = lines(folder_of(tmp_path, summary), "phases.jsonl")
    densities = [1.0, 0.8, 0.8**2, 0.8**3, 0.8**4, 0.4]
    sizes = [mask.numel() for mask in torch.load(folder_of(tmp_path, summary) / "masks.pt").values()]
    groups = [n] if scope == "global" else sizes
    wanted = [sum(kept_count(size, density) for size in groups) for density in densities]
    assert [round(line["density"] * n) for line in phases] == wanted
    assert [line["name"] for line in phases] == [f"level {level}" for level in range(6)]
    assert summary["parameters_active"] == wanted[-1]
    assert (summary["criterion"], summary["method"], summary["growth"]) == (criterion, "iterative", None)
    layerwise = {int(mask.sum()) for mask in torch.load(folder_of(tmp_path, summary) / "masks.pt").values()}
    if scope == "local":
        assert layerwise == {kept_count(size, 0.4) for size in sizes}


@pytest.mark.parametrize(("method", "epochs"), [("imp", 0), ("wr", 1), ("lrr", 2)])
def test_a_level_is_plain_training_from_the_pruned_weights_of_its_start(
    method: str, epochs: int, train: Train, overrides: Overrides, tmp_path: Path
) -> None:
    """By a loop of its own: the masks of the largest weights, the weights of ``epochs``, SGD on the masked gradient."""
    rewind = ["procedure.rewind_epoch=1"] if method == "wr" else []
    typed = [*THREE_LEVELS, f"procedure={method}", *rewind, "density.value=0.8", "checkpoint.snapshots=[0,10,20,40]"]
    folder = folder_of(tmp_path, train(*typed))
    start, trained, end = (torch.load(folder / f"snapshots/{step}.pt")["model"] for step in (10 * epochs, 20, 40))
    masks = torch.load(folder / "masks.pt")
    scores = torch.cat([trained[name].abs().flatten() for name in masks])
    smallest = scores.sort().values[len(scores) - kept_count(len(scores), 0.8)]
    assert all(torch.equal(masks[name], trained[name].abs() >= smallest) for name in masks)

    config = checked(compose(overrides(*THREE_LEVELS, "procedure=dst", "density=dense")))
    training = training_factory(config)(NOTHING)
    model = training.model
    model.load_state_dict({name: weight * masks.get(name, 1) for name, weight in start.items()})
    optimizer = make_optimizer(model, config.recipe, torch.device("cpu"))
    for epoch in (2, 3):
        model.train()
        for x, y in training.data.train.epoch(epoch):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            for name, weight in model.named_parameters():
                assert weight.grad is not None
                weight.grad *= masks.get(name, 1)
            optimizer.step()
    assert all(torch.equal(weight, end[name]) for name, weight in model.state_dict().items())


def test_rewinding_to_epoch_0_is_iterative_magnitude_pruning_bit_for_bit(train: Train, tmp_path: Path) -> None:
    found = []
    for procedure in (["procedure=imp"], ["procedure=wr", "procedure.rewind_epoch=0"]):
        outcome = run_outcome(folder_of(tmp_path, train(*THREE_LEVELS, *procedure, "model=small_mlp")))
        for key in ("run_id", "procedure", "code"):
            del outcome["summary"][key]
        found.append(outcome)
    assert found[0] == found[1]


def normalised(input_shape: tuple[int, ...], outputs: int, hidden: Any, dropout: Any) -> nn.Module:
    features = math.prod(input_shape)
    return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(features), nn.Linear(features, 20), nn.Linear(20, outputs))


def test_batch_norm_statistics_go_back_with_the_weights(overrides: Overrides) -> None:
    typed = overrides(
        *THREE_LEVELS, f"model._target_={__name__}.normalised", "model.name=normalised", "recipe.epochs=1"
    )
    config = checked(compose(typed))
    training = training_factory(config)(NOTHING)
    first = {name: value.clone() for name, value in training.model.state_dict().items()}
    run_epoch(training)
    moved = [name for name, value in training.model.named_buffers() if not torch.equal(value, first[name])]
    IMP().between(training, training.phases[1])
    training.begin_phase(1)
    masks = training.sparsity.masks
    assert moved
    for name, value in training.model.state_dict().items():
        assert torch.equal(value, first[name] * masks[name] if name in masks else first[name])
    momentum = [state["momentum_buffer"] for state in training.optimizer.state_dict()["state"].values()]
    assert not any(bool(buffer.any()) for buffer in momentum)


def test_operations_are_counted_level_by_level(train: Train, overrides: Overrides, tmp_path: Path) -> None:
    summary = train(*THREE_LEVELS, "procedure.scope=local")
    training = training_factory(checked(compose(overrides(*THREE_LEVELS))))(NOTHING)
    forward = count_forward(training.model, training.data.shape)
    masks = torch.load(folder_of(tmp_path, summary) / "masks.pt")
    samples = training.data.train.samples_seen(20)
    expected = 0.0
    for density in (1.0, 0.8, 0.7):
        shares = {name: kept_count(mask.numel(), density) / mask.numel() for name, mask in masks.items()}
        expected += 3 * forward.at(shares) * samples
    assert summary["flops_training"] == pytest.approx(expected, rel=1e-12)


def id_of(*more: str) -> str:
    return run_id(compose(["dataset=digits", "model=small_mlp", *more]))


@pytest.mark.parametrize(
    "more",
    [
        ["update_period=never"],
        ["update_period=dt100"],
        ["growth=gradient"],
        ["initial_mask=snip"],
        ["initial_mask=parent"],
        ["distribution=uniform"],
        ["sparsity.scope=global"],
        ["prune_fraction=linear"],
    ],
)
def test_what_a_level_does_not_look_at_makes_no_other_run(more: list[str]) -> None:
    assert id_of("procedure=imp") == id_of("procedure=imp", *more)


def test_what_decides_a_level_makes_another_run() -> None:
    chosen = [
        [],
        ["procedure=lrr"],
        ["procedure=wr"],
        ["procedure=wr", "procedure.rewind_epoch=5"],
        ["criterion=random"],
        ["procedure.scope=local"],
        ["procedure.prune_rate=0.5"],
        ["density=d0.2"],
        ["procedure.budget=120"],
        ["weight_init=sparsity_aware"],
    ]
    assert len({id_of("procedure=imp", *more) for more in chosen}) == len(chosen)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["procedure=imp", "density=dense"], "procedure=imp: density=dense: prunes to a density; give a number"),
        (["procedure=lrr", "procedure.prune_rate=1"], "procedure.prune_rate=1: must lie between 0 and 1"),
        (["procedure=lrr", "procedure.prune_rate=1e-9"], "procedure.prune_rate=1e-09: takes 2302585092 levels"),
        (["procedure=lrr", "procedure.scope=layer"], "procedure.scope=layer: unknown; choose"),
        (
            ["procedure=wr", "procedure.rewind_epoch=5"],
            "procedure.rewind_epoch=5: must be 4, the epochs of a level, or",
        ),
        (["procedure=wr", "procedure.rewind_epoch=-1"], "procedure.rewind_epoch=-1: must be 0 or more"),
        (
            ["procedure=imp", "procedure.budget=11"],
            "procedure.budget=11: must be 12 epochs or more, one for each of 12",
        ),
        (["procedure=imp", "density.value=1e-9"], "density.value=1e-09: leaves none of the model's weights"),
    ],
)
def test_a_mistake_is_one_line_before_any_work(
    more: list[str], told: str, overrides: Overrides, type_in: Any, tmp_path: Path
) -> None:
    status, _, err = type_in(*overrides(*more))
    assert (status, len(err.splitlines())) == (2, 1)
    assert told in err
    assert not list((tmp_path / "outputs").rglob("metrics.jsonl"))
