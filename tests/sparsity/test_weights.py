"""Which weights can be sparse, by a registry of layer classes; other matrices stay dense and are logged."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from dst.config import compose
from dst.sparsity import layer_densities, register_linear, sparsifiable_weights, weights
from dst.train import run
from tests.sparsity.networks import TinyGPT, TinyViT, assert_inactive_is_exactly_zero, equal, sparse, states


@pytest.fixture
def registry() -> Iterator[None]:
    known = dict(weights._LINEAR)
    yield
    weights._LINEAR.clear()
    weights._LINEAR.update(known)


def shapes(model: nn.Module, **options: bool) -> dict[str, tuple[int, ...]]:
    return {name: tuple(weight.shape) for name, weight in sparsifiable_weights(model, **options).items()}


def attend(model: nn.MultiheadAttention, sparsity: Any, step: int) -> None:
    x = torch.randn(4, 5, model.embed_dim, generator=torch.Generator().manual_seed(step))
    k = x if model.kdim == model.embed_dim else x[..., : model.kdim]
    sparsity.optimizer.zero_grad()
    model(x, k, k, need_weights=False)[0].square().mean().backward()
    sparsity.step()


def test_query_key_and_value_of_attention_are_three_layers_packed_in_one_parameter() -> None:
    model = nn.MultiheadAttention(16, 2, batch_first=True, add_bias_kv=True)
    sparsity = sparse(model, density=0.3, update_period=2)
    names = ["in_proj_weight[q]", "in_proj_weight[k]", "in_proj_weight[v]", "out_proj.weight"]
    assert [layer.name for layer in sparsity.layers] == names
    assert {name: mask.shape for name, mask in sparsity.masks.items()} == {
        "in_proj_weight": (48, 16),
        "out_proj.weight": (16, 16),
    }
    for layer, density in zip(sparsity.layers, layer_densities([(16, 16)] * 4, 0.3), strict=True):
        assert layer.n_active == int(layer.mask.sum()) == round(density * 256)
    assert int((model.in_proj_weight != 0).sum()) == 3 * sparsity.layers[0].n_active


@pytest.mark.parametrize("scope", ["local", "global"])
@pytest.mark.parametrize("optimizer", ["momentum", "rmsprop"])
@pytest.mark.parametrize("kdim", [16, 8])
def test_attention_trains_with_exact_counts_and_zeros_at_inactive_positions(
    scope: str, optimizer: str, kdim: int
) -> None:
    model = nn.MultiheadAttention(16, 2, batch_first=True, kdim=kdim, vdim=kdim)
    sparsity = sparse(model, optimizer, scope=scope, growth="gradient", total_steps=20)
    first = {name: mask.clone() for name, mask in sparsity.masks.items()}
    active = sum(layer.n_active for layer in sparsity.layers)
    for step in range(1, 9):
        attend(model, sparsity, step)
        assert_inactive_is_exactly_zero(sparsity)
        for state, mask in states(sparsity):
            assert not state[~mask].any()
    assert not equal(first, sparsity.masks)
    assert sum(int(mask.sum()) for mask in sparsity.masks.values()) == active
    assert active / sum(layer.weight.numel() for layer in sparsity.layers) < sparsity.itop_ratio() < 1
    for update in sparsity.pop_updates():
        assert list(update["layers"]) == [layer.name for layer in sparsity.layers]


def test_attention_restored_from_a_state_ends_like_uninterrupted_training() -> None:
    def start(seed: int) -> tuple[nn.MultiheadAttention, Any]:
        torch.manual_seed(seed)
        model = nn.MultiheadAttention(16, 2, batch_first=True)
        return model, sparse(model, "momentum", growth="gradient", total_steps=20)

    whole, uninterrupted = start(0)
    for step in range(1, 5):
        attend(whole, uninterrupted, step)
    rest, continued = start(1)
    rest.load_state_dict(whole.state_dict())
    continued.optimizer.load_state_dict(copy.deepcopy(uninterrupted.optimizer.state_dict()))
    continued.load_state_dict(uninterrupted.state_dict())
    for step in range(5, 9):
        attend(whole, uninterrupted, step)
        attend(rest, continued, step)
    assert equal(rest.state_dict(), whole.state_dict())
    assert equal(continued.masks, uninterrupted.masks)
    assert [layer.n_active for layer in continued.layers] == [layer.n_active for layer in uninterrupted.layers]
    assert continued.itop_ratio() == uninterrupted.itop_ratio()


def test_a_vision_transformer_trained_at_density_0_1_has_that_density(
    overrides: Callable[..., list[str]], tmp_path: Path
) -> None:
    cfg = compose(overrides("recipe.epochs=3", "growth=gradient"))
    OmegaConf.update(cfg, "model", {"_target_": "tests.sparsity.networks.TinyViT", "name": "tiny_vit"}, merge=False)
    summary = run(cfg)
    folder = tmp_path / "outputs" / "runs" / summary["run_id"]
    model = TinyViT((1, 8, 8), 10)
    masks = torch.load(folder / "masks.pt", weights_only=True)
    matrices = {name for name, parameter in model.named_parameters() if parameter.dim() == 2}
    assert matrices <= set(masks)
    assert sum(int(mask.sum()) for mask in masks.values()) == summary["parameters_active"]
    assert summary["parameters_active"] / sum(mask.numel() for mask in masks.values()) == pytest.approx(0.1, abs=1e-3)
    assert summary["dense_parameters"] == model.vit.class_token.numel() + model.vit.encoder.pos_embedding.numel()
    updates = [json.loads(line) for line in (folder / "topology.jsonl").read_text().splitlines()]
    assert "vit.encoder.layers.encoder_layer_0.self_attention.in_proj_weight[k]" in updates[-1]["layers"]


def test_conv1d_of_gpt_2_is_sparse_and_its_tied_embedding_only_on_request() -> None:
    model = TinyGPT()
    assert shapes(model) == {"c_attn.weight": (8, 24), "c_proj.weight": (8, 8)}
    assert shapes(model, tied_embeddings=True) == {**shapes(model), "lm_head.weight": (20, 8)}

    sparsity = sparse(model, "adam", density=0.25, growth="gradient", tied_embeddings=True)
    tokens = torch.randint(20, (4, 6), generator=torch.Generator().manual_seed(0))
    for _ in range(4):
        sparsity.optimizer.zero_grad()
        nn.functional.cross_entropy(model(tokens).flatten(0, 1), tokens.flatten()).backward()
        sparsity.step()
    assert_inactive_is_exactly_zero(sparsity)
    assert sparsity.dense_parameters == model.wpe.weight.numel()


def test_transposed_convolutions_are_sparsifiable() -> None:
    kinds = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    model = nn.ModuleList(kind(2, 3, 4) for kind in kinds)
    assert list(shapes(model).values()) == [(2, 3, 4), (2, 3, 4, 4), (2, 3, 4, 4, 4)]


@pytest.mark.usefixtures("registry")
def test_custom_layers_can_be_registered_and_subclasses_exempted() -> None:
    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate_up = nn.Parameter(torch.randn(12, 4))
            self.down = nn.Parameter(torch.randn(4, 6))

    class Head(nn.Linear):
        pass

    model = nn.Sequential(Packed(), Head(4, 2), nn.Linear(2, 2))
    assert list(shapes(model)) == ["1.weight", "2.weight"]
    register_linear(Packed, {"gate_up": ("gate", "up"), "down": ()})
    register_linear(Head, {})
    assert list(shapes(model)) == ["0.gate_up", "0.down", "2.weight"]
    assert [layer.name for layer in sparse(model).layers] == ["0.gate_up[gate]", "0.gate_up[up]", "0.down", "2.weight"]

    register_linear(Packed, {"gate_up": tuple("abcde")})
    with pytest.raises(ValueError, match=r"^0\.gate_up: its 12 rows do not divide into a, b, c, d, e$"):
        sparse(model)


def test_dense_matrices_are_logged_in_one_line_with_their_share(caplog: pytest.LogCaptureFixture) -> None:
    model = nn.ModuleDict(
        {"tokens": nn.Embedding(10, 4), "lstm": nn.LSTM(4, 5), "pair": nn.Bilinear(2, 3, 4), "head": nn.Linear(5, 10)}
    )
    with caplog.at_level(logging.INFO, "dst"):
        sparsity = sparse(model, density=0.5)
    dense = 10 * 4 + 20 * 4 + 20 * 5 + 4 * 2 * 3
    (line,) = [record.getMessage() for record in caplog.records]
    names = "tokens.weight (embedding), lstm.weight_ih_l0, lstm.weight_hh_l0, pair.weight"
    assert line == f"{dense} of {dense + 50} weights (83.0%) stay dense, the density does not apply to them: {names}"
    assert sparsity.dense_parameters == dense
    assert sparsity.density == 0.5
    assert sparsity.model_density == (25 + dense) / (50 + dense)


def test_a_model_without_dense_matrices_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "dst"):
        assert sparse(nn.Linear(4, 4)).dense_parameters == 0
    assert not caplog.records
