"""timm's classifiers: built for the data, sparse in their linear layers, convolutions and attention, and trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from dst.config import compose
from dst.config.tree import component
from dst.errors import UserError
from dst.models import build_model
from dst.sparsity import DynamicSparsity, sparsifiable_weights
from dst.train import run
from tests.run.outcomes import outcomes, run_with_stops

timm = pytest.importorskip("timm")

Overrides = Callable[..., list[str]]
TINY = {"patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2}


def built(name: str, shape: tuple[int, ...] = (1, 8, 8), **more: object) -> nn.Module:
    node = {key: value for key, value in component("model", "timm").items() if key != "defaults"}
    node |= {"name": name, **more}
    return build_model(node, input_shape=shape, num_classes=10, seed=0)


def test_a_vision_transformer_takes_the_datas_size_and_channels() -> None:
    model = built("vit_tiny_patch16_224", **TINY)
    assert model(torch.zeros(3, 1, 8, 8)).shape == (3, 10)
    names = set(sparsifiable_weights(model))
    expected = {"patch_embed.proj.weight", "blocks.1.attn.qkv.weight", "blocks.0.mlp.fc1.weight", "head.weight"}
    assert expected <= names
    assert not {name for name in names if "pos_embed" in name or "cls_token" in name or "norm" in name}


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("vit_tiny_patch16_224", TINY),
        ("mixer_s32_224", {}),
        ("convnext_atto", {"depths": [1, 1, 1, 1], "dims": [8, 8, 16, 16]}),
        ("efficientnet_lite0", {}),
    ],
)
def test_a_network_of_timm_has_the_density_asked_for(name: str, more: dict[str, object]) -> None:
    model = built(name, (3, 32, 32), **more)
    sparsity = DynamicSparsity(model, torch.optim.SGD(model.parameters(), lr=0.1), density=0.1, total_steps=9)
    weights = sum(weight.numel() for weight in sparsifiable_weights(model).values())
    assert abs(sum(int(mask.sum()) for mask in sparsity.masks.values()) - 0.1 * weights) <= len(sparsity.masks)


def test_a_stopped_training_ends_as_one_never_stopped(overrides: Overrides, tmp_path: Path) -> None:
    chosen = ["model=timm", *(f"+model.{key}={value}" for key, value in TINY.items()), "recipe.epochs=2"]
    chosen += ["update_period=4", "criterion=snip", "growth=gradient", "lr_schedule=step"]
    given = [item for item in overrides(*chosen) if item != "model=small_mlp"]
    summary = run(compose([*given, f"output_dir={tmp_path / 'whole'}"]))
    cfg = compose([*given, f"output_dir={tmp_path / 'stopped'}"])
    run_with_stops(cfg, 5)
    assert summary["topology_updates"] > 0
    assert outcomes(tmp_path / "stopped") == outcomes(tmp_path / "whole")


@pytest.mark.parametrize(
    ("name", "more", "told"),
    [
        ("vit_tini_patch16_224", {}, "did you mean vit_tiny_patch16_224"),
        ("vit_tiny_patch16_224.nobody", {}, "no weights of vit_tiny_patch16_224 are called nobody"),
        ("resnet18", {"num_classes": 3}, "comes from the dataset"),
        ("resnet18", {"weights": "cifar"}, "weights=cifar: unknown"),
        ("resnet18", {"weights": "imagenet"}, "set HF_HOME to a cache that has it"),
    ],
)
def test_what_timm_does_not_have_is_one_line(
    name: str, more: dict[str, object], told: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError) as error:
        built(name, **more)
    assert told in str(error.value)
    assert "\n" not in str(error.value)
