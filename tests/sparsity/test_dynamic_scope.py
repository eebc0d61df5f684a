"""Which weights are sparse, and whether scores are compared within a layer or across all layers."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import nn

from dst.sparsity import sparsifiable_weights
from tests.sparsity.networks import Layers, Net, copied, counts, equal, sparse, train


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


def test_a_weight_shared_by_two_layers_has_one_mask() -> None:
    first, second = nn.Linear(8, 8), nn.Linear(8, 8)
    second.weight = first.weight
    model = nn.Sequential(first, second)
    sparsity = sparse(model, density=0.5)
    assert list(sparsity.masks) == ["0.weight"]
    assert int((first.weight != 0).sum()) == 32


def test_global_scope_prunes_the_lowest_scores_and_grows_the_largest_gradients_of_all_layers() -> None:
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
    # 45 of 90 active weights are pruned, including all 30 of the second layer; all 45 are grown in the third
    second, third = update["layers"]["1.weight"], update["layers"]["2.weight"]
    assert second == {"active": 0, "pruned": 30, "grown": 0}
    assert third["grown"] == 45
    assert sum(row["pruned"] for row in update["layers"].values()) == 45
    assert counts(sparsity.masks) == {name: row["active"] for name, row in update["layers"].items()}
    assert sum(counts(sparsity.masks).values()) == 90


def test_global_set_balances_the_signs_over_all_layers() -> None:
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


def test_a_frozen_layer_stays_dense_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    model = Net()
    model.hidden.requires_grad_(False)
    before = model.hidden.weight.clone()
    with caplog.at_level(logging.INFO, "dst"):
        sparsity = sparse(model)
    assert "hidden.weight (frozen)" in caplog.text
    assert sparsity.dense_parameters == model.hidden.weight.numel()
    train(model, sparsity, 1, 6)
    assert torch.equal(model.hidden.weight, before)
    assert list(sparsity.masks) == ["conv.weight", "out.weight"]


class OptionalLayer(Net):
    """A network with a layer that can be switched on and off."""

    def __init__(self) -> None:
        super().__init__()
        self.optional = nn.Linear(3, 3)
        self.enabled = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = super().forward(x)
        return self.optional(logits) if self.enabled else logits


@pytest.mark.parametrize("scope", ["local", "global"])
def test_a_layer_without_gradient_keeps_its_mask_and_is_logged_once(
    scope: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = OptionalLayer()
    sparsity = sparse(model, scope=scope, density=0.5, distribution="uniform", total_steps=20)
    before, active = copied(sparsity.masks), sum(counts(sparsity.masks).values())
    with caplog.at_level(logging.INFO, "dst"):
        train(model, sparsity, 1, 4)
    line = "no gradient reaches optional.weight: topology updates leave the masks there as they are"
    assert caplog.messages == [line]
    assert torch.equal(sparsity.masks["optional.weight"], before["optional.weight"])
    assert not equal(sparsity.masks, before)
    for update in sparsity.pop_updates():
        assert list(update["layers"]) == list(before)
        assert update["layers"]["optional.weight"] == {
            "active": counts(before)["optional.weight"],
            "pruned": 0,
            "grown": 0,
        }

    model.enabled = True
    train(model, sparsity, 5, 8)
    model.enabled = False
    sparsity.optimizer.zero_grad()
    train(model, sparsity, 9, 12)
    assert not torch.equal(sparsity.masks["optional.weight"], before["optional.weight"])
    assert sum(counts(sparsity.masks).values()) == active
