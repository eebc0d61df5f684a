"""Degenerate cases work, and impossible ones are refused in one line."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests.sparsity.networks import BIG, Layers, Net, assert_inactive_is_exactly_zero, counts, equal, sparse


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
def test_weights_that_became_nan_do_not_change_the_count(criterion: str) -> None:
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
        ({"distribution": "erks"}, r"distribution='erks': choose one of erk, er, uniform, uniform_plus"),
        ({"scope": "layer"}, r"scope='layer': choose local or global"),
        ({"momentum": "none"}, r"momentum='none': choose masked or dense"),
        ({"prune_fraction": 1.5}, r"prune_fraction=1\.5: must lie in \[0, 1\]"),
        ({"update_period": 0}, r"update_period=0: must be 1 step or more, or None"),
        ({"total_steps": None}, r"total_steps is needed [^\n]*update_period=None"),
        ({"growth": "momentum"}, r"momentum growth needs [^\n]*momentum='dense'"),
    ],
)
def test_a_wrong_setting_is_refused_in_one_line_before_the_model_is_touched(wrong: dict[str, Any], line: str) -> None:
    model, untouched = Net(), Net()
    with pytest.raises(ValueError, match=f"^{line}$"):
        sparse(model, **wrong)
    assert equal(model.state_dict(), untouched.state_dict())


def test_a_model_without_sparsifiable_layers_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^LayerNorm has no Linear or Conv layer"):
        sparse(nn.LayerNorm(4))


def test_an_update_without_gradient_says_what_to_call_first() -> None:
    with pytest.raises(ValueError, match=r"^0\.weight has no gradient: call step\(\) after backward\(\)$"):
        sparse(Layers(BIG)).update()
