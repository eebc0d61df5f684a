"""Edge cases work; invalid arguments are rejected with a one-line message."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from dst.sparsity import DynamicSparsity
from tests.sparsity.networks import (
    BIG,
    Layers,
    Net,
    assert_inactive_is_exactly_zero,
    batch,
    copied,
    counts,
    equal,
    sparse,
    states,
    train,
)


@pytest.mark.parametrize("growth", ["random", "gradient"])
def test_a_layer_with_one_active_weight_keeps_one(growth: str) -> None:
    model = Layers([(9, 9)])
    sparsity = sparse(model, density=1e-9, growth=growth, update_period=1)
    positions = set()
    for _ in range(9):
        model.draw_gradients()
        sparsity.step()
        positions.add(int(sparsity.masks["0.weight"].flatten().nonzero()))
        assert_inactive_is_exactly_zero(sparsity)
    assert len(positions) > 1


@pytest.mark.parametrize("criterion", ["magnitude", "set", "mest", "snip", "sensitivity", "rsensitivity", "random"])
def test_nan_weights_do_not_change_the_count(criterion: str) -> None:
    model = Layers([(9, 9)])
    sparsity = sparse(model, criterion=criterion, growth="gradient")
    before = counts(sparsity.masks)
    with torch.no_grad():
        model[0].weight.fill_(torch.nan)
        sparsity.layers[0].mask_weight()
    model.draw_gradients("NaN")
    sparsity.update()
    assert counts(sparsity.masks) == before
    assert_inactive_is_exactly_zero(sparsity)


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"density": 0}, r"density=0: must lie in \(0, 1\]"),
        ({"density": 1.5}, r"density=1\.5: must lie in \(0, 1\]"),
        ({"distribution": "erks"}, r"distribution='erks': choose one of erk, er, balanced, uniform, uniform_plus"),
        ({"scope": "layer"}, r"scope='layer': choose local or global"),
        ({"normalise": "neuron"}, r"normalise='neuron': choose none or layer or input or output"),
        ({"update_order": "first"}, r"update_order='first': choose before or after"),
        ({"momentum": "none"}, r"momentum='none': choose masked or dense"),
        ({"prune_fraction": 1.5}, r"prune_fraction=1\.5: must lie in \[0, 1\]"),
        ({"update_period": 0}, r"update_period=0: must be 1 step or more, or None"),
        ({"total_steps": None}, r"total_steps is needed [^\n]*update_period=None"),
        ({"growth": "momentum"}, r"momentum growth needs [^\n]*momentum='dense'"),
        ({"density": torch.nan}, r"density=nan: must lie in \(0, 1\]"),
        ({"density": "0.1"}, r"density='0\.1': must lie in \(0, 1\]"),
        ({"prune_fraction": torch.nan}, r"prune_fraction=nan: must lie in \[0, 1\]"),
        ({"update_period": 1.5}, r"update_period=1\.5: must be a whole number"),
        ({"update_period": -1}, r"update_period=-1: must be 1 step or more, or None"),
        *(({"stop_at": value}, rf"stop_at={value}: must lie in \[0, 1\]") for value in (torch.nan, 2, -1, 7)),
        ({"seed": -1}, r"seed=-1: must be 0 or more"),
        ({"seed": 1.5}, r"seed=1\.5: must be a whole number"),
        ({"total_steps": -1}, r"total_steps=-1: must be 1 step or more"),
        ({"total_steps": 0, "update_period": None}, r"total_steps=0: must be 1 step or more"),
        ({"total_steps": 1.5}, r"total_steps=1\.5: must be a whole number"),
        ({"criterion": "nope"}, r"criterion=nope: unknown; choose one of [^\n]*magnitude, [^\n]*snip[^\n]*"),
        ({"growth": "gradients"}, r"growth=gradients: unknown; did you mean gradient\? [^\n]*random"),
        ({"prune_fraction": "cosin"}, r"prune_fraction=cosin: unknown; did you mean cosine\? [^\n]*linear, lr"),
    ],
)
def test_an_invalid_argument_is_rejected_in_one_line_before_the_model_changes(wrong: dict[str, Any], line: str) -> None:
    model, untouched = Net(), Net()
    with pytest.raises(ValueError, match=f"^{line}$"):
        sparse(model, **wrong)
    assert equal(model.state_dict(), untouched.state_dict())


def test_a_model_without_sparsifiable_layers_is_rejected() -> None:
    with pytest.raises(ValueError, match=r"^LayerNorm has no Linear or Conv layer"):
        sparse(nn.LayerNorm(4))


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"criterion": 5}, r"criterion=5: give a Criterion or the name of one: [^\n]*magnitude, [^\n]*snip[^\n]*"),
        ({"growth": None}, r"growth=None: give a Growth or the name of one: gradient, [^\n]*random"),
        ({"prune_fraction": None}, r"prune_fraction=None: give a Schedule or the name of one: [^\n]*cosine[^\n]*"),
    ],
)
def test_another_type_for_criterion_growth_or_schedule_is_rejected_with_the_valid_names(
    wrong: dict[str, Any], line: str
) -> None:
    with pytest.raises(TypeError, match=f"^{line}$"):
        sparse(Net(), **wrong)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize("distribution", ["erk", "er", "uniform", "uniform_plus"])
def test_a_layer_without_weights_is_rejected(distribution: str) -> None:
    model = nn.Sequential(nn.Linear(0, 4), nn.Linear(4, 4))
    with pytest.raises(ValueError, match=r"^a weight of shape \(4, 0\) cannot be sparse[^\n]*$"):
        sparse(model, distribution=distribution)


def test_an_optimizer_that_needs_a_closure_is_rejected() -> None:
    model = Net()
    with pytest.raises(ValueError, match=r"^optimizer=LBFGS: moves the weights several times within a step[^\n]*SGD"):
        DynamicSparsity(model, torch.optim.LBFGS(model.parameters()), update_period=None)


def test_the_optimizer_of_another_model_is_rejected() -> None:
    optimizer = torch.optim.SGD(Net().parameters(), lr=0.1)
    with pytest.raises(ValueError, match=r"^optimizer=SGD: holds none of the weights to be sparse[^\n]*$"):
        DynamicSparsity(Net(), optimizer, update_period=None)
    with pytest.raises(TypeError, match=r"^optimizer='sgd': give a torch optimizer[^\n]*$"):
        DynamicSparsity(Net(), "sgd", update_period=None)  # type: ignore[arg-type]


@pytest.mark.parametrize(("optimizer", "trained"), [("sgd", 3), ("nesterov", 3), ("rmsprop", 3), ("adamw", 0)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_a_model_converted_to_another_dtype_continues_training(
    optimizer: str, trained: int, dtype: torch.dtype
) -> None:
    model = Net()
    sparsity = sparse(model, optimizer, growth="gradient", total_steps=20)
    train(model, sparsity, 1, trained)
    before = copied(sparsity.masks)
    model.to(dtype)
    for step in range(4, 8):
        sparsity.optimizer.zero_grad()
        model(batch(step)[0].to(dtype)).square().mean().backward()
        sparsity.step()
        assert_inactive_is_exactly_zero(sparsity)
    assert not equal(sparsity.masks, before)
    assert counts(sparsity.masks) == counts(before)
    assert all(not state[~mask].any() for state, mask in states(sparsity))


def test_an_update_without_gradients_is_rejected_with_what_to_call_first() -> None:
    with pytest.raises(ValueError, match=r"^0\.weight has no gradient: call step\(\) after backward\(\)$"):
        sparse(Layers(BIG)).update()
