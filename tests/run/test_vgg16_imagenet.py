"""The VGG-16 and the recipe of the gradient-flow paper, trained on a small tree of images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dst.config import compose
from dst.run.layout import run_dir
from dst.train import run
from tests.data.raw import write_tree


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tree(tmp_path_factory.mktemp("images"), {"train": 64, "val": 20}, size=36, suffix="JPEG")


def masks_of(output_dir: Path, summary: dict[str, Any]) -> dict[str, Tensor]:
    masks: dict[str, Tensor] = torch.load(run_dir(output_dir, summary["run_id"]) / "masks.pt")
    return masks


def test_a_pruned_vgg16_has_a_fifth_of_every_layer_and_rigl_goes_on_from_its_masks(
    images: Path, tmp_path: Path
) -> None:
    output_dir = tmp_path / "outputs"
    place = ("device=cpu", "tracker=local", f"output_dir={output_dir}", f"dataset.root={images}", "dataset.workers=0")
    small = ("dataset.image_size=32", "dataset.num_classes=10", "model.width=0.125", "recipe.epochs=3")
    choices = ("model=vgg16_imagenet", "dataset=imagenet", "recipe.batch_size=16", "recipe.lr=0.02", "update_period=2")
    common = (*choices, *small, *place, "density=0.2", "distribution=uniform")
    pruned = run(compose([*common, "procedure=gradual", "seed=0"]))
    grown = run(
        compose(
            [
                *common,
                *("parent=[procedure=gradual,seed=0]", "initial_mask=parent", "weight_init=sparsity_aware"),
                *("growth=gradient", "growth.sample=20"),
            ]
        )
    )
    for summary in (pruned, grown):
        assert summary["status"] == "finished"
        for mask in masks_of(output_dir, summary).values():
            assert int(mask.sum()) == round(0.2 * mask.numel())
    assert grown["parent"] == pruned["run_id"]
    assert grown["topology_updates"] == 5
    assert any(
        not torch.equal(mask, other)
        for mask, other in zip(masks_of(output_dir, pruned).values(), masks_of(output_dir, grown).values(), strict=True)
    )
