"""Pruning a masked model to a density at once."""

from __future__ import annotations

import pytest
import torch

from dst.sparsity import DISTRIBUTIONS, MaskedModel
from dst.sparsity.distribution import kept_count
from tests.sparsity.networks import BIG, OPTIMIZERS, Layers


def masked(distribution: str = "erk", density: float = 0.5) -> tuple[Layers, MaskedModel]:
    model = Layers(BIG)
    sparsity = MaskedModel(
        model, OPTIMIZERS["momentum"](model.parameters()), density=density, distribution=distribution
    )
    model.draw_gradients()
    sparsity.step()
    return model, sparsity


@pytest.mark.parametrize("scope", ["global", "local"])
@pytest.mark.parametrize("criterion", ["magnitude", "set", "random", "snip"])
def test_exact_counts_are_left_of_the_active_weights(scope: str, criterion: str) -> None:
    model, sparsity = masked(density=1.0)
    for density in (0.8, 0.64, 0.3):
        before = {name: mask.clone() for name, mask in sparsity.masks.items()}
        gradients = {name: torch.randn_like(weight) for name, weight in model.named_parameters()}
        sparsity.prune_to(density, criterion, scope=scope, gradients=gradients)
        groups = [sparsity.layers] if scope == "global" else [[layer] for layer in sparsity.layers]
        for layers in groups:
            size = sum(layer.mask.numel() for layer in layers)
            assert sum(int(layer.mask.sum()) for layer in layers) == kept_count(size, density)
        assert sum(layer.n_active for layer in sparsity.layers) == sum(int(m.sum()) for m in sparsity.masks.values())
        assert not any(bool((mask & ~before[name]).any()) for name, mask in sparsity.masks.items())
        assert not any(bool(layer.weight[~layer.mask].any()) for layer in sparsity.layers)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_the_smallest_active_weights_go_and_inactive_ones_never_take_their_place(distribution: str) -> None:
    _, sparsity = masked(distribution)
    active = torch.cat([layer.weight[layer.mask].abs() for layer in sparsity.layers])
    weights = {layer.name: layer.weight.detach().abs().clone() for layer in sparsity.layers}
    sparsity.prune_to(0.2)
    kept = kept_count(sum(layer.mask.numel() for layer in sparsity.layers), 0.2)
    smallest = active.sort(descending=True).values[kept - 1]
    assert all(torch.equal(layer.mask, weights[layer.name] >= smallest) for layer in sparsity.layers)


def test_a_density_that_is_there_already_prunes_nothing() -> None:
    _, sparsity = masked(density=0.2)
    before = {name: mask.clone() for name, mask in sparsity.masks.items()}
    sparsity.prune_to(0.5)
    assert all(torch.equal(mask, before[name]) for name, mask in sparsity.masks.items())


def test_mistakes_are_told() -> None:
    _, sparsity = masked()
    with pytest.raises(ValueError, match=r"^criterion=SNIP: scores by the gradients; give them$"):
        sparsity.prune_to(0.2, "snip")
    with pytest.raises(ValueError, match="^scope='layer'"):
        sparsity.prune_to(0.2, scope="layer")
    with pytest.raises(ValueError, match="^density=0"):
        sparsity.prune_to(0)
