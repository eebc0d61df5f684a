"""Which weights compete: those of sparsifiable layers, with each other or across layers."""

from __future__ import annotations

import torch
from torch import nn

from dst.sparsity import sparsifiable_weights
from tests.sparsity.networks import Layers, counts, sparse


def test_only_linear_and_convolution_weights_are_sparse() -> None:
    class Everything(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(4, 4)
            self.conv1 = nn.Conv1d(2, 3, 3)
            self.conv2 = nn.Conv2d(2, 3, 3)
            self.conv3 = nn.Conv3d(2, 3, 3)
            self.norm = nn.BatchNorm2d(3)
            self.layer_norm = nn.LayerNorm(4)
            self.head = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 2, bias=False))

    names = ["conv1.weight", "conv2.weight", "conv3.weight", "head.0.weight", "head.1.weight"]
    assert list(sparsifiable_weights(Everything())) == names
    assert list(sparsifiable_weights(nn.Linear(3, 2))) == ["weight"]


def test_a_weight_shared_by_two_layers_is_one_weight_with_one_mask() -> None:
    first, second = nn.Linear(8, 8), nn.Linear(8, 8)
    second.weight = first.weight
    model = nn.Sequential(first, second)
    sparsity = sparse(model, density=0.5)
    assert list(sparsity.masks) == ["0.weight"]
    assert int((first.weight != 0).sum()) == 32


def test_global_scope_prunes_the_lowest_of_all_layers_and_grows_where_gradients_are_largest() -> None:
    model = Layers([(10, 10), (10, 10), (10, 10)])
    with torch.no_grad():
        for factor, module in zip((100, 1, 100), model, strict=True):
            module.weight.uniform_(1, 2).mul_(factor)
    sparsity = sparse(
        model, density=0.3, distribution="uniform", growth="gradient", scope="global", prune_fraction="constant"
    )
    model.draw_gradients()
    model[2].weight.grad.mul_(1000)
    sparsity.steps = 1
    sparsity.update()
    (update,) = sparsity.pop_updates()
    # of 90 active weights 45 go: all 30 of the second layer, then 15 more; 45 come, all to the third
    second, third = update["layers"]["1.weight"], update["layers"]["2.weight"]
    assert second == {"active": 0, "pruned": 30, "grown": 0}
    assert third["grown"] == 45
    assert sum(row["pruned"] for row in update["layers"].values()) == 45
    assert counts(sparsity.masks) == {name: row["active"] for name, row in update["layers"].items()}
    assert sum(counts(sparsity.masks).values()) == 90


def test_global_set_balances_the_signs_of_all_layers_together() -> None:
    model = Layers([(10, 10), (10, 10)])
    with torch.no_grad():
        model[0].weight.uniform_(1, 2)
        model[1].weight.uniform_(-2, -1)
    sparsity = sparse(
        model, density=0.5, distribution="uniform", criterion="set", scope="global", prune_fraction="constant"
    )
    model.draw_gradients()
    sparsity.update()
    (update,) = sparsity.pop_updates()
    assert [row["pruned"] for row in update["layers"].values()] == [25, 25]
