"""Criteria that average their scores over steps, against the average computed weight by weight."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from dst.sparsity import GradualPruning, MaskedModel, RunningMagnitude, RunningSNIP
from tests.sparsity.networks import OPTIMIZERS, Layers, Net, copied, sparse, states, train

BETA = 0.75
SCORES = {"running_magnitude": lambda w, g: abs(w), "running_snip": lambda w, g: abs(w) * abs(g)}
CRITERIA = {"running_magnitude": RunningMagnitude(BETA), "running_snip": RunningSNIP(BETA)}


@pytest.mark.parametrize("name", SCORES)
def test_an_update_prunes_the_lowest_averages_of_a_loop_over_steps_and_weights(name: str) -> None:
    model = Layers([(6, 5), (4, 3)])
    sparsity = sparse(
        model, criterion=CRITERIA[name], density=0.6, update_period=4, prune_fraction="constant", total_steps=13
    )
    averages = {layer.name: [0.0] * layer.weight.numel() for layer in sparsity.layers}
    for step in range(1, 13):
        model.draw_gradients()
        before = copied(sparsity.masks)
        for layer in sparsity.layers:
            average, grads = averages[layer.name], layer.gradient.flatten().tolist()
            for i, (w, g) in enumerate(zip(layer.weight.flatten().tolist(), grads, strict=True)):
                score = SCORES[name](w, g)
                average[i] = BETA * average[i] + (1 - BETA) * score
        sparsity.step()
        for layer in sparsity.layers:
            average, active = averages[layer.name], before[layer.name].flatten().tolist()
            if step % 4 == 0:
                order = sorted((i for i, a in enumerate(active) if a), key=lambda i: average[i])
                surely_kept = order[math.ceil(0.5 * len(order)) :]
                assert layer.mask.flatten()[surely_kept].all()
                (update,) = sparsity.updates[-1:]
                assert update["layers"][layer.name]["pruned"] == len(order) - len(surely_kept)
            averages[layer.name] = [a * m for a, m in zip(average, layer.mask.flatten().tolist(), strict=True)]
            assert layer.average is not None
            assert layer.average.flatten().tolist() == pytest.approx(averages[layer.name], rel=1e-5, abs=1e-9)
    assert len(sparsity.updates) == 3


def test_averages_decide_otherwise_than_the_scores_of_one_step() -> None:
    outcomes = []
    for criterion in (RunningSNIP(0.95), RunningSNIP(0.0)):
        model = Net()
        sparsity = sparse(model, criterion=criterion, update_period=10, total_steps=12)
        train(model, sparsity, 1, 10)
        outcomes.append(sparsity.masks)
    assert any(not torch.equal(outcomes[0][name], outcomes[1][name]) for name in outcomes[0])


def test_with_beta_0_a_running_criterion_is_the_criterion_of_one_step() -> None:
    weights = []
    for criterion in (RunningSNIP(0.0), "snip"):
        model = Net()
        train(model, sparse(model, criterion=criterion, update_period=5, total_steps=22), 1, 21)
        weights.append(model.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_step_of_overflowed_gradients_leaves_averages_finite_and_unchanged_there() -> None:
    model = Layers([(6, 5)])
    sparsity = sparse(model, criterion=RunningSNIP(), update_period=None)
    model.draw_gradients()
    sparsity.step(lambda: None)
    (layer,) = sparsity.layers
    before = layer.average.clone()
    model[0].weight.grad[0] = torch.inf
    model[0].weight.grad[1:3] = torch.nan
    sparsity.step(lambda: None)
    assert torch.equal(layer.average[:3], before[:3])
    assert torch.equal(layer.average[3:] != before[3:], layer.mask[3:])


def test_other_criteria_keep_no_averages() -> None:
    sparsity = sparse(Net(), criterion="snip")
    assert all(layer.average is None for layer in sparsity.layers)
    assert "averages" not in sparsity.state_dict()


def test_the_averages_of_packed_weights_are_saved_and_restored() -> None:
    def attention() -> tuple[nn.Module, MaskedModel]:
        model = nn.MultiheadAttention(4, 2)
        return model, sparse(model, criterion="running_magnitude", density=0.5)

    model, first = attention()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    first.step()
    _, second = attention()
    second.load_state_dict(first.state_dict())
    for one, other in zip(first.layers, second.layers, strict=True):
        assert one.average.any()
        assert torch.equal(one.average, other.average)


def test_gradual_pruning_prunes_the_lowest_averages() -> None:
    model = Layers([(6, 5)])
    sparsity = GradualPruning(
        model, OPTIMIZERS["sgd"](model.parameters()), density=0.5, criterion=RunningSNIP(BETA), update_period=6,
        total_steps=8, start=0.5, stop=0.75, update_order="after",
    )  # fmt: skip
    averages = torch.zeros(6, 5)
    for _ in range(6):
        model.draw_gradients()
        averages = BETA * averages + (1 - BETA) * (model[0].weight * model[0].weight.grad).abs().detach()
        sparsity.step()
    assert torch.equal(sparsity.masks["0.weight"], averages > averages.median())


def test_pruning_at_once_refuses_a_criterion_that_averages_over_steps() -> None:
    model = Layers([(6, 5)])
    sparsity = MaskedModel(model, OPTIMIZERS["sgd"](model.parameters()), density=1.0)
    with pytest.raises(ValueError, match=r"^criterion=RunningSNIP: averages its scores over steps"):
        sparsity.prune_to(0.5, "running_snip")


@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_an_update_after_the_optimizer_step_compares_the_weights_after_it_and_grows_by_the_batchs_gradient(
    optimizer: str,
) -> None:
    options = {"density": 0.5, "growth": "gradient", "prune_fraction": "constant", "update_period": 1, "total_steps": 9}
    model, plain = Layers([(6, 5)]), Layers([(6, 5)])
    sparsity = sparse(model, optimizer, update_order="after", **options)
    static = sparse(plain, optimizer, **options | {"update_period": None})
    for one in (model, plain):
        one.draw_gradients()
    gradient = model[0].weight.grad.clone()
    before = sparsity.masks["0.weight"].clone()
    static.step()
    sparsity.step()
    stepped, (layer,) = plain[0].weight.detach(), sparsity.layers
    pruned = sorted(before.flatten().nonzero().flatten().tolist(), key=lambda i: abs(stepped.flatten()[i]))[:8]
    kept = before.flatten().clone()
    kept[pruned] = False
    inactive = (~kept).nonzero().flatten().tolist()
    kept[sorted(inactive, key=lambda i: -abs(gradient.flatten()[i]))[:8]] = True
    assert int(before.sum()) == 15
    assert torch.equal(layer.mask.flatten(), kept)
    assert torch.equal(layer.weight, torch.where(before & layer.mask, stepped, 0))
    assert torch.equal(model[0].weight.grad, gradient)
    assert all(not state[~mask].any() for state, mask in states(sparsity))
