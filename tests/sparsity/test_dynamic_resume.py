"""Saving and restoring DynamicSparsity, and its in-time over-parametrization ratio."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch

from tests.sparsity.networks import Layers, Net, copied, counts, equal, sparse, train


def test_the_itop_ratio_is_the_share_of_weights_active_at_least_once() -> None:
    model = Net()
    sparsity = sparse(model, density=0.2, update_period=3, total_steps=30)
    ever = copied(sparsity.masks)
    assert sparsity.itop_ratio() == sparsity.density
    for step in range(1, 31):
        train(model, sparsity, step, step)
        for name, mask in sparsity.masks.items():
            ever[name] |= mask
    assert sparsity.itop_ratio() == sum(counts(ever).values()) / sum(mask.numel() for mask in ever.values())
    assert sparsity.itop_ratio() > sparsity.density


def saved_and_loaded(state: Any) -> Any:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("stop", [1, 7, 10])
@pytest.mark.parametrize(
    ("criterion", "growth", "scope", "momentum"),
    [
        ("magnitude", "random", "local", "masked"),
        ("random", "random", "local", "masked"),
        ("snip", "gradient", "local", "masked"),
        ("set", "momentum", "local", "dense"),
        ("random", "random", "global", "masked"),
        ("running_snip", "gradient", "global", "masked"),
        ("magnitude", "gradient", "global", "dense"),
    ],
)
def test_training_restored_into_new_objects_ends_with_the_same_result(
    stop: int, criterion: str, growth: str, scope: str, momentum: str
) -> None:
    chosen = {
        "criterion": criterion,
        "growth": growth,
        "scope": scope,
        "momentum": momentum,
        "total_steps": 25,
        "seed": 5,
    }
    whole = Net()
    uninterrupted = sparse(whole, update_period=5, **chosen)
    train(whole, uninterrupted, 1, 25)

    half = Net()
    first = sparse(half, update_period=5, **chosen)
    train(half, first, 1, stop)
    state = saved_and_loaded(
        {"model": half.state_dict(), "optimizer": first.optimizer.state_dict(), "sparsity": first.state_dict()}
    )
    rest = Net(seed=1)
    second = sparse(rest, update_period=5, **chosen)
    rest.load_state_dict(state["model"])
    second.optimizer.load_state_dict(state["optimizer"])
    second.load_state_dict(state["sparsity"])
    torch.rand(3)
    train(rest, second, stop + 1, 25)

    assert equal(second.masks, uninterrupted.masks)
    assert equal(rest.state_dict(), whole.state_dict())
    assert second.itop_ratio() == uninterrupted.itop_ratio()
    assert second.density == uninterrupted.density
    assert first.pop_updates() + second.pop_updates() == uninterrupted.pop_updates()


def test_the_state_of_another_model_is_rejected_with_the_name_of_the_layer() -> None:
    state = sparse(Layers([(4, 5), (6, 4)])).state_dict()
    with pytest.raises(ValueError, match=r"^these masks are of another model: 1\.weight does not match$"):
        sparse(Layers([(4, 5), (7, 4)])).load_state_dict(state)
