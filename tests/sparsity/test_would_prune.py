"""What an update would prune is what it prunes, and asking changes nothing."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from dst.sparsity import Criterion, dynamic, make_criterion, prune_mask
from tests.sparsity.networks import Layers, sparse

SHAPES = [(12, 10), (10, 12), (6, 12)]  # two of one size, which are chosen together
CRITERIA = ("magnitude", "set", "mest", "snip", "rsensitivity", "random")


def prepared(criterion: str, scope: str) -> tuple[Layers, Any]:
    torch.manual_seed(3)
    model = Layers(SHAPES)
    sparsity = sparse(model, density=0.5, criterion=criterion, growth="random", scope=scope, update_period=5)
    model.draw_gradients()
    sparsity.steps = 4
    return model, sparsity


@pytest.mark.parametrize("scope", ["local", "global"])
@pytest.mark.parametrize("criterion", CRITERIA)
def test_the_next_update_prunes_what_it_would_prune(
    criterion: str, scope: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, sparsity = prepared(criterion, scope)
    expected = sparsity.would_prune()
    kept: list[Tensor] = []
    prune = dynamic.prune_scored

    def noted(criterion: Criterion, scores: Tensor, weight: Tensor, mask: Tensor, n: Any) -> Tensor:
        after = prune(criterion, scores, weight, mask, n)
        kept.append((mask & ~after).flatten())
        return after

    monkeypatch.setattr(dynamic, "prune_scored", noted)
    sparsity.step()
    assert torch.equal(torch.cat(kept), torch.cat([mask.flatten() for mask in expected.values()]))
    (update,) = sparsity.pop_updates()
    counts = {name: int(mask.sum()) for name, mask in expected.items()}
    assert counts == {name: row["pruned"] for name, row in update["layers"].items()}
    assert min(counts.values()) > 5


@pytest.mark.parametrize("scope", ["local", "global"])
def test_asking_for_every_criterion_changes_no_later_step(scope: str) -> None:
    (model, sparsity), (other, asked) = prepared("random", scope), prepared("random", scope)
    state, grads = copy.deepcopy(asked.state_dict()), [weight.grad.clone() for weight in other.parameters()]
    for name in CRITERIA:
        asked.would_prune(make_criterion(name))
    asked.would_prune()
    assert asked.state_dict().keys() == state.keys()
    assert all(torch.equal(mask, state["masks"][name]) for name, mask in asked.masks.items())
    assert all(torch.equal(weight.grad, grad) for weight, grad in zip(other.parameters(), grads, strict=True))
    for each in (sparsity, asked):
        each.step()
    assert all(torch.equal(mask, sparsity.masks[name]) for name, mask in asked.masks.items())
    assert all(torch.equal(*pair) for pair in zip(model.parameters(), other.parameters(), strict=True))
    assert asked.pop_updates() == sparsity.pop_updates()


def test_another_criterion_chooses_from_the_same_masks_weights_and_gradients() -> None:
    model, sparsity = prepared("magnitude", "local")
    weights = dict(model.named_parameters())
    for name in ("set", "mest", "snip", "rsensitivity"):
        for layer, pruned in sparsity.would_prune(make_criterion(name)).items():
            weight, mask = weights[layer], sparsity.masks[layer]
            kept = prune_mask(name, weight.detach(), weight.grad, mask, int(pruned.sum()))
            assert torch.equal(pruned, mask & ~kept)
    first, second = (sparsity.would_prune(make_criterion("random")) for _ in range(2))
    assert all(torch.equal(first[layer], second[layer]) for layer in first)
