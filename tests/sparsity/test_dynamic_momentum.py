"""Optimizer state under sparsity: masked or dense, of newly grown weights, as the growth signal."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dst.sparsity import DynamicSparsity
from tests.sparsity.networks import Layers, assert_inactive_is_exactly_zero, sparse, states


def test_dense_momentum_updates_the_state_of_inactive_weights_like_the_plain_optimizer() -> None:
    model = Layers([(9, 9)])
    sparsity = sparse(model, "momentum", update_period=None, momentum="dense")
    grads = []
    for _ in range(3):
        model.draw_gradients()
        grads.append(sparsity.layers[0].gradient.clone())
        sparsity.step()
    ((buffer, mask),) = states(sparsity)
    expected = 0.81 * grads[0] + 0.9 * grads[1] + grads[2]  # the weight decay of a weight of 0 is 0
    torch.testing.assert_close(buffer[~mask], expected[~mask])


def test_a_newly_grown_weight_starts_without_momentum() -> None:
    model = Layers([(20, 20)])
    sparsity = sparse(model, update_period=2, total_steps=4)
    model.draw_gradients()
    sparsity.step()
    before = sparsity.masks["0.weight"].clone()
    model.draw_gradients()
    grad = sparsity.layers[0].gradient.clone()
    sparsity.step()
    ((buffer, mask),) = states(sparsity)
    new = mask & ~before
    assert new.any()
    assert torch.equal(buffer[new], grad[new])
    assert torch.equal(model[0].weight[new], -0.1 * grad[new])


@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_momentum_growth_uses_the_momentum_not_the_gradient(optimizer: str) -> None:
    model = Layers([(12, 12)])
    sparsity = sparse(model, optimizer, growth="momentum", momentum="dense", density=0.2, total_steps=3)
    model.draw_gradients()
    sparsity.step()
    ((momentum, mask),) = list(states(sparsity))[:1]
    before, regrowth_score = mask.clone(), momentum.abs()
    model.draw_gradients()
    sparsity.update()
    new = mask & ~before
    pruned = before & ~mask
    assert new.any()
    not_grown = ~mask & ~pruned
    assert float(regrowth_score[new].min()) >= float(regrowth_score[not_grown].max())


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon")
def test_inactive_weights_stay_zero_with_an_optimizer_that_mixes_gradients() -> None:
    model = nn.Sequential(nn.Linear(9, 9, bias=False), nn.Linear(9, 9, bias=False))
    sparsity = DynamicSparsity(model, torch.optim.Muon(model.parameters(), lr=0.1), update_period=2, total_steps=8)
    for _ in range(8):
        model.zero_grad()
        model(torch.randn(4, 9)).square().sum().backward()
        sparsity.step()
        assert_inactive_is_exactly_zero(sparsity)
