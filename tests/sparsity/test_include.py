"""Which parameters become sparse, chosen by glob patterns of their names."""

from __future__ import annotations

import copy
import logging
import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models import vit_b_16

from dst.config.tree import options
from dst.sparsity import (
    DynamicSparsity,
    GradualPruning,
    MaskedModel,
    dense_weights,
    initial_masks,
    layer_scaled_init,
    sparsifiable_weights,
    sparsity_aware_init,
)
from dst.sparsity.weights import linear_weights
from tests.sparsity.networks import TinyGPT, TinyViT, assert_inactive_is_exactly_zero, sparse

BLOCK = "vit.encoder.layers.encoder_layer_0"


def names(model: nn.Module, **chosen: Any) -> list[str]:
    return list(sparsifiable_weights(model, **chosen))


@pytest.fixture(scope="module")
def vit() -> TinyViT:
    torch.manual_seed(0)
    model = TinyViT((1, 8, 8), 10)
    nn.init.normal_(model.vit.heads.head.weight)  # torchvision's is 0, and so are all other gradients at first
    return model


def test_exclude_takes_out_what_matches(vit: TinyViT) -> None:
    rest = [name for name in names(vit) if not name.startswith("vit.heads.")]
    assert len(rest) == len(names(vit)) - 1
    assert names(vit, exclude=["vit.heads.*"]) == names(vit, exclude="vit.heads.*") == rest
    assert names(vit, exclude=["*.mlp.?.weight", "vit.heads.*"]) == [name for name in rest if ".mlp." not in name]


def test_include_is_exactly_the_matrices_that_match_embeddings_too(vit: TinyViT) -> None:
    inside = [name for name in names(vit) if name.startswith("vit.encoder.")]
    assert names(vit, include=["vit.encoder.*"]) == ["vit.encoder.pos_embedding", *inside]
    assert names(vit, include=["vit.encoder.*"], exclude=["*.pos_embedding"]) == inside
    assert names(vit, include=["*.weight", "*.in_proj_weight"]) == names(vit)  # no bias and no norm
    assert names(vit, include=["*.class_token"]) == ["vit.class_token"]
    with pytest.raises(ValueError, match="include=VIT"):
        names(vit, include=["VIT.*"])


def test_a_shared_weight_matches_by_any_of_its_names_and_appears_once() -> None:
    model = TinyGPT()
    for pattern in ("wte.*", "lm_head.*", "*.weight"):
        found = names(model, include=[pattern, "c_proj.*"])
        assert found.count("wte.weight") == 1
        assert "lm_head.weight" not in found
    assert names(model, include=["*"], exclude=["lm_head.*"]) == ["wpe.weight", "c_attn.weight", "c_proj.weight"]
    assert names(model, exclude=["lm_head.*"], tied_embeddings=True) == ["c_attn.weight", "c_proj.weight"]


def test_a_frozen_weight_is_not_included(vit: TinyViT) -> None:
    model = copy.deepcopy(vit)
    model.vit.conv_proj.requires_grad_(False)
    assert "vit.conv_proj.weight" not in names(model, include=["*"])


@pytest.mark.parametrize("key", ["include", "exclude"])
@pytest.mark.parametrize("start", [DynamicSparsity, GradualPruning, MaskedModel])
def test_a_pattern_that_matches_nothing_is_told_with_the_closest_names(key: str, start: Any, vit: TinyViT) -> None:
    told = f"{key}=vit.head.weight: matches no parameter of two or more dimensions; the closest names are vit.heads."
    optimizer = torch.optim.SGD(vit.parameters(), lr=0.1)
    more = {} if start is MaskedModel else {"total_steps": 10}
    with pytest.raises(ValueError, match="matches no") as error:
        start(vit, optimizer, **more, **{key: ["*", "vit.head.weight"]})
    assert str(error.value).startswith(told)
    with pytest.raises(ValueError, match="matches no") as error:
        initial_masks("magnitude", vit, [], 0.1, **{key: "vit.head.weight"})
    assert str(error.value).startswith(told)


def test_patterns_that_leave_nothing_are_told(vit: TinyViT) -> None:
    with pytest.raises(ValueError, match=r"include=\['vit.heads.\*'\], exclude=\['\*'\]"):
        sparse(copy.deepcopy(vit), include=["vit.heads.*"], exclude=["*"])


def test_an_included_embedding_trains_with_exact_zeros_and_the_rest_is_named(caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)
    model = TinyGPT()
    chosen: dict[str, Any] = {"include": ["wte.*", "c_*"], "exclude": ["c_proj.*"]}
    with caplog.at_level(logging.INFO, "dst"):
        sparsity = sparse(model, "adam", density=0.25, growth="gradient", **chosen)
    dense = model.wpe.weight.numel() + model.c_proj.weight.numel()
    total = dense + model.wte.weight.numel() + model.c_attn.weight.numel()
    (line,) = caplog.messages
    assert line.startswith(f"{dense} of {total} weights ({dense / total:.1%}) stay dense")
    assert line.endswith("wpe.weight (embedding), c_proj.weight")
    assert set(dense_weights(model, **chosen)) == {"wpe.weight", "c_proj.weight"}
    tokens = torch.randint(20, (4, 6), generator=torch.Generator().manual_seed(0))
    for _ in range(4):
        sparsity.optimizer.zero_grad()
        F.cross_entropy(model(tokens).flatten(0, 1), tokens.flatten()).backward()
        sparsity.step()
    assert_inactive_is_exactly_zero(sparsity)
    assert set(sparsity.masks) == {"wte.weight", "c_attn.weight"}
    assert sparsity.density == pytest.approx(0.25, abs=1e-2)
    assert model.c_proj.weight.all()


def test_of_vit_b_16_all_but_class_token_and_positions_is_sparse() -> None:
    with torch.device("meta"):
        model = vit_b_16()
    assert set(dense_weights(model)) == {"class_token", "encoder.pos_embedding"}
    packed = [[weight.name for weight in several] for _, _, several in linear_weights(model) if several]
    assert packed == [["q", "k", "v"]] * 12


@pytest.mark.parametrize("growth", options("growth"))
@pytest.mark.parametrize("criterion", options("criterion"))
def test_every_pair_trains_a_vision_transformer_at_density_0_1(criterion: str, growth: str, vit: TinyViT) -> None:
    model = copy.deepcopy(vit)
    momentum = "dense" if growth == "momentum" else "masked"
    sparsity = sparse(model, density=0.1, update_period=1, criterion=criterion, growth=growth, momentum=momentum)
    before = {name: mask.clone() for name, mask in sparsity.masks.items()}
    x = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    for _ in range(2):  # momentum is there from the second step on
        sparsity.optimizer.zero_grad()
        F.cross_entropy(model(x), torch.arange(4)).backward()
        sparsity.step()
    matrices = {name for name, weight in model.named_parameters() if weight.dim() == 2}
    assert matrices < set(sparsity.masks)
    weights = [model.get_parameter(name) for name in sparsity.masks]
    nonzero, size = (sum(map(count, weights)) for count in (torch.count_nonzero, torch.numel))
    active = sum(int(mask.sum()) for mask in sparsity.masks.values())
    assert active / int(size) == pytest.approx(0.1, abs=1e-3)
    assert int(nonzero) <= active
    assert_inactive_is_exactly_zero(sparsity)
    assert all(not torch.equal(before[name], mask) for name, mask in sparsity.masks.items())


@pytest.mark.parametrize("method", ["magnitude", "snip", "grasp", "synflow"])
def test_initial_masks_rank_the_chosen_weights_alone(method: str, vit: TinyViT) -> None:
    batch = (torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(8))
    masks = initial_masks(method, vit, [batch], 0.2, include=[f"{BLOCK}.*"], exclude=["*.in_proj_weight"])
    assert set(masks) == {f"{BLOCK}.{name}.weight" for name in ("self_attention.out_proj", "mlp.0", "mlp.3")}
    size = sum(mask.numel() for mask in masks.values())
    assert sum(int(mask.sum()) for mask in masks.values()) == size - math.floor(0.8 * size)


def test_initial_weights_are_drawn_for_the_chosen_weights_alone(vit: TinyViT) -> None:
    for draw in (layer_scaled_init, sparsity_aware_init):
        model = copy.deepcopy(vit)
        masks = initial_masks("magnitude", model, [], 0.2, include=[f"{BLOCK}.mlp.*"])
        draw(model, masks, **({"include": list(masks)} if draw is sparsity_aware_init else {}))
        changed = {
            name for name, weight in model.named_parameters() if not torch.equal(weight, vit.get_parameter(name))
        }
        assert changed == set(masks)
