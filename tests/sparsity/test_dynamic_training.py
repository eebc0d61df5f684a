"""DynamicSparsity in a plain training loop: each step matches the definition."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from dst.sparsity import Criterion, DynamicSparsity, layer_densities
from tests.sparsity.networks import (
    OPTIMIZERS,
    Net,
    assert_inactive_is_exactly_zero,
    backward,
    batch,
    copied,
    counts,
    equal,
    sparse,
    train,
)


@pytest.mark.parametrize("momentum", ["masked", "dense"])
@pytest.mark.parametrize("growth", ["random", "gradient"])
def test_a_model_learns_in_a_plain_loop_at_constant_density(momentum: str, growth: str) -> None:
    model = Net()
    sparsity = sparse(model, density=0.2, update_period=10, total_steps=200, growth=growth, momentum=momentum)
    densities = layer_densities([layer.weight.shape for layer in sparsity.layers], 0.2)
    for layer, density in zip(sparsity.layers, densities, strict=True):
        assert layer.n_active == max(1, round(density * layer.weight.numel()))
    start = copied(sparsity.masks)
    losses = train(model, sparsity, 1, 200)
    assert sum(losses[-20:]) < 0.5 * sum(losses[:20])
    assert not equal(start, sparsity.masks)
    assert counts(start) == counts(sparsity.masks)
    assert_inactive_is_exactly_zero(sparsity)


@pytest.mark.parametrize("momentum", ["masked", "dense"])
def test_every_step_matches_a_reference_implementation(momentum: str) -> None:
    """Reference: RigL and SGD written out; the update uses the batch's own gradient and precedes the optimizer step."""
    lr, beta, period, total, rho = 0.1, 0.9, 3, 12, 0.5
    model, plain = Net(), Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=beta)
    sparsity = DynamicSparsity(
        model,
        optimizer,
        growth="gradient",
        update_period=period,
        total_steps=total,
        prune_fraction=rho,
        momentum=momentum,
    )
    masks = copied(sparsity.masks)
    parameters = dict(plain.named_parameters())
    buffers = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    all_masks = {name: masks.get(name, torch.ones_like(p, dtype=torch.bool)) for name, p in parameters.items()}
    for name, parameter in parameters.items():
        parameter.data *= all_masks[name]
    for step in range(1, total + 1):
        backward(model, optimizer, step)
        sparsity.step()

        x, y = batch(step)
        plain.zero_grad()
        F.cross_entropy(plain(x), y).backward()
        for name, parameter in parameters.items():
            weight, grad, mask = parameter.data, parameter.grad, all_masks[name]
            assert grad is not None
            if name in masks and step % period == 0 and step < total:
                n = math.ceil(rho / 2 * (1 + math.cos(math.pi * step / total)) * int(mask.sum()))
                pruned = weight.abs().masked_fill(~mask, torch.inf).flatten().argsort(stable=True)[:n]
                mask.view(-1)[pruned] = False
                grown = grad.abs().masked_fill(mask, -1).flatten().argsort(descending=True, stable=True)[:n]
                mask.view(-1)[grown] = True
                weight *= mask
                buffers[name] *= mask if momentum == "masked" else 1
            direction = grad * mask if momentum == "masked" else grad
            buffers[name] = beta * buffers[name] + direction
            parameter.data = (weight - lr * buffers[name]) * mask
        for name, mask in sparsity.masks.items():
            assert torch.equal(mask, all_masks[name]), (step, name)
        for (name, ours), expected in zip(model.named_parameters(), parameters.values(), strict=True):
            torch.testing.assert_close(ours, expected, msg=f"{name} after step {step}")


def test_an_update_scores_the_unmasked_gradient_of_its_batch() -> None:
    seen: list[Tensor] = []

    @dataclass(frozen=True)
    class Recording(Criterion):
        def score(self, weight: Tensor, grad: Tensor) -> Tensor:
            seen.append(grad.clone())
            return weight.abs()

    model = Net()
    sparsity = sparse(model, criterion=Recording(), density=0.1, update_period=2, total_steps=3)
    train(model, sparsity, 1, 1)
    backward(model, sparsity.optimizer, 2)
    expected = [layer.gradient.clone() for layer in sparsity.layers]
    sparsity.step()
    assert len(seen) == len(expected) == 3
    for given_, own, mask in zip(seen, expected, sparsity.masks.values(), strict=True):
        assert torch.equal(given_, own)
        assert mask.all() or own[~mask].any()  # not masked away
    assert sparsity.density < 0.11


def test_static_training_never_changes_the_masks() -> None:
    model = Net()
    sparsity = sparse(model, update_period=None, total_steps=None)
    start = copied(sparsity.masks)
    train(model, sparsity, 1, 20)
    assert equal(sparsity.masks, start)
    assert sparsity.itop_ratio() == sparsity.density
    assert_inactive_is_exactly_zero(sparsity)


@pytest.mark.parametrize("momentum", ["masked", "dense"])
@pytest.mark.parametrize("optimizer", ["nesterov", "adam"])
@pytest.mark.parametrize("criterion", ["magnitude", "set", "rsensitivity"])
def test_at_density_one_every_pruned_weight_is_regrown_and_training_equals_dense_training(
    momentum: str, optimizer: str, criterion: str
) -> None:
    model, bare = Net(), Net()
    sparsity = sparse(model, optimizer, density=1.0, criterion=criterion, momentum=momentum)
    optimizer_alone = OPTIMIZERS[optimizer](bare.parameters())
    for step in range(1, 11):
        backward(bare, optimizer_alone, step)
        optimizer_alone.step()
    train(model, sparsity, 1, 10)
    assert all(row["pruned"] > 0 for update in sparsity.pop_updates() for row in update["layers"].values())
    assert all(mask.all() for mask in sparsity.masks.values())
    assert equal(dict(model.named_parameters()), dict(bare.named_parameters()))


def test_biases_and_norms_are_trained_as_in_dense_training() -> None:
    model = Net()
    sparsity = sparse(model, density=0.05)
    dense = {name: p.detach().clone() for name, p in model.named_parameters() if name not in sparsity.masks}
    backward(model, sparsity.optimizer, 1)
    grads = {name: model.get_parameter(name).grad.clone() for name in dense}
    sparsity.step()
    for name, before in dense.items():
        torch.testing.assert_close(model.get_parameter(name), before - 0.1 * (grads[name] + 1e-2 * before))


def test_construction_keeps_the_initial_values_of_active_weights() -> None:
    model, initial = Net(), Net()
    sparsity = sparse(model)
    for name, mask in sparsity.masks.items():
        assert torch.equal(model.get_parameter(name), initial.get_parameter(name) * mask)
