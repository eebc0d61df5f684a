"""The optimizer's state under sparsity: masked or dense, at new weights, as a signal to grow by."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dst.sparsity import DynamicSparsity
from tests.sparsity.networks import Layers, assert_inactive_is_exactly_zero, sparse, states


def test_with_dense_momentum_the_state_of_inactive_weights_is_the_bare_optimizer_s() -> None:
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
def test_momentum_growth_follows_the_momentum_not_the_gradient(optimizer: str) -> None:
    model = Layers([(12, 12)])
    sparsity = sparse(model, optimizer, growth="momentum", momentum="dense", density=0.2, total_steps=3)
    model.draw_gradients()
    sparsity.step()
    ((momentum, mask),) = list(states(sparsity))[:1]
    before, promise = mask.clone(), momentum.abs()
    model.draw_gradients()
    sparsity.update()
    new = mask & ~before
    pruned_and_gone = before & ~mask
    assert new.any()
    left_out = ~mask & ~pruned_and_gone
    assert float(promise[new].min()) >= float(promise[left_out].max())


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon")
def test_an_optimizer_that_mixes_weights_leaves_inactive_ones_at_zero_too() -> None:
    model = nn.Sequential(nn.Linear(9, 9, bias=False), nn.Linear(9, 9, bias=False))
    sparsity = DynamicSparsity(model, torch.optim.Muon(model.parameters(), lr=0.1), update_period=2, total_steps=8)
    for _ in range(8):
        model.zero_grad()
        model(torch.randn(4, 9)).square().sum().backward()
        sparsity.step()
        assert_inactive_is_exactly_zero(sparsity)
