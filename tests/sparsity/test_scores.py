"""Scores normalised by layer, by input and by output neuron."""

from __future__ import annotations

import math

import pytest
import torch

from dst.sparsity import normalised
from tests.sparsity.networks import Layers, equal, sparse

SCORES = torch.tensor([[1.0, 2.0, 5.0], [3.0, -6.0, 100.0]])
MASK = torch.tensor([[True, True, True], [True, True, False]])
BY_HAND = {
    "none": [[1, 2, 5], [3, -6, 100]],
    "layer": [[1 / 17, 2 / 17, 5 / 17], [3 / 17, -6 / 17, 100 / 17]],
    "input": [[1 / 4, 2 / 8, 5 / 5], [3 / 4, -6 / 8, 100 / 5]],
    "output": [[1 / 8, 2 / 8, 5 / 8], [3 / 9, -6 / 9, 100 / 9]],
}


@pytest.mark.parametrize("by", BY_HAND)
def test_scores_are_divided_by_the_sum_of_the_active_ones_around_them(by: str) -> None:
    assert torch.allclose(normalised(SCORES, MASK, by), torch.tensor(BY_HAND[by], dtype=torch.float32))


@pytest.mark.parametrize(("by", "dims"), [("input", (0, 2, 3)), ("output", (1, 2, 3))])
def test_a_channel_of_a_convolution_counts_as_a_neuron(by: str, dims: tuple[int, ...]) -> None:
    scores = torch.rand(4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    found = normalised(scores, torch.ones(4, 3, 2, 2, dtype=torch.bool), by)
    assert torch.allclose(found.sum(dims), torch.ones(4 if by == "output" else 3))


def test_scores_that_are_not_finite_or_all_zero_keep_their_rank() -> None:
    scores = torch.tensor([[math.inf, 1.0, 3.0, math.nan], [0.0, 0.0, 0.0, 0.0]], dtype=torch.bfloat16)
    found = normalised(scores, torch.ones(2, 4, dtype=torch.bool), "output")
    assert found.tolist()[0][:3] == [math.inf, 0.25, 0.75]
    assert math.isnan(found[0, 3])
    assert found.tolist()[1] == [0.0] * 4


def pruned_shares(**options: str) -> list[float]:
    """The share of each layer that a global update prunes, where the weights of the second are a hundredth."""
    model = Layers([(20, 10), (20, 10)])
    with torch.no_grad():
        model[1].weight.copy_(model[0].weight / 100)
    sparsity = sparse(model, density=1.0, scope="global", update_period=1, prune_fraction="constant", **options)
    model.draw_gradients()
    sparsity.update()
    (update,) = sparsity.pop_updates()
    return [row["pruned"] / 200 for row in update["layers"].values()]


def test_normalised_by_layer_scale_decides_nothing_across_layers() -> None:
    assert pruned_shares()[1] > 0.95
    assert pruned_shares(normalise="layer") == pytest.approx([0.5, 0.5], abs=0.01)


@pytest.mark.parametrize("by", ["input", "output"])
def test_normalised_by_neuron_an_update_prunes_the_smallest_shares_of_a_neuron(by: str) -> None:
    model = Layers([(8, 6)])
    with torch.no_grad():
        model[0].weight.mul_(10.0 ** torch.arange(6)).mul_(10.0 ** torch.arange(8)[:, None])
    sparsity = sparse(model, density=0.5, growth="gradient", prune_fraction="constant", update_period=1, normalise=by)
    before = sparsity.masks["0.weight"].clone()
    rows = model[0].weight.abs().tolist()
    sums = [sum(row) for row in rows] if by == "output" else [sum(column) for column in zip(*rows, strict=True)]
    shares = {(i, j): rows[i][j] / sums[i if by == "output" else j] for i, j in before.nonzero().tolist()}
    kept = set(sorted(shares, key=lambda place: -shares[place])[:12])
    magnitudes = set(sorted(shares, key=lambda place: -rows[place[0]][place[1]])[:12])
    model[0].weight.grad = (~before).float()  # grows only what was inactive before
    sparsity.update()
    assert {tuple(place) for place in (before & sparsity.masks["0.weight"]).nonzero().tolist()} == kept != magnitudes


def test_within_a_layer_normalising_by_layer_is_bit_equal_to_none() -> None:
    masks = []
    for normalise in ("none", "layer"):
        model = Layers([(20, 10), (8, 4, 3, 3)])
        sparsity = sparse(model, criterion="snip", update_period=1, normalise=normalise)
        for _ in range(6):
            model.draw_gradients()
            sparsity.step()
        masks.append(sparsity.masks)
    assert equal(*masks)
