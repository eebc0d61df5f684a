"""The sweep of the gradient-flow paper on ImageNet, planned and costed without data."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from dst.config import checked, compose
from dst.models import PlainVGG16, from_torchvision
from dst.sparsity import layer_densities, sparsifiable_weights
from dst.training.lr_schedule import Span, Step
from launch.length import without_updates
from launch.plan import Plan
from launch.sweep import Point, expand
from launch.timing import Timing


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    points = [  # small images, for which the models are checked quickly
        Point((*point.overrides, "dataset.image_size=32"), point.origin) for point in expand("gradient_flow_imagenet")
    ]
    return Plan.make("gradient_flow_imagenet", tmp_path_factory.mktemp("outputs"), points)


def method_of(config: dict[str, Any]) -> str:
    if config["density"]["value"] is None:
        return "dense" if config["model"].get("width", 1.0) == 1.0 else "small dense"
    if config["procedure"]["name"] == "gradual":
        return "prune"
    weights = config["weight_init"]["name"].replace("sparsity_aware", "+").replace("default", "")
    if config["update_period"]["steps"] is None:
        return f"lottery {config['weight_init']['step']}" if weights == "parent" else f"scratch{weights}"
    return config["growth"]["name"] + weights


def test_each_method_has_its_seeds(imagenet: Plan) -> None:
    counts = Counter((run.config["model"]["name"], method_of(run.config)) for run in imagenet.runs)
    shared = {
        **dict.fromkeys(["dense", "prune", "scratch+", "random", "gradient", "gradient+", "gradient_inverted"], 3),
    }
    resnet = {**shared, "lottery 25000": 5, "scratch": 5}
    vgg = {**shared, "small dense": 3, "lottery 0": 3, "lottery 25000": 3, "scratch": 3}
    assert {method: count for (model, method), count in counts.items() if model == "resnet50"} == resnet
    assert {method: count for (model, method), count in counts.items() if model == "vgg16_imagenet"} == vgg


def test_every_sparse_run_starts_from_one_pruned_network_that_keeps_the_weights_to_rewind_to(imagenet: Plan) -> None:
    for model in ("resnet50", "vgg16_imagenet"):
        runs = [run for run in imagenet.runs if run.config["model"]["name"] == model]
        (parent,) = {run.parent_id for run in runs if run.parent_id}
        assert parent
        assert method_of(imagenet.by_id[parent].config) == "prune"
        assert imagenet.by_id[parent].config["seed"] == 0
        assert 25000 in imagenet.by_id[parent].config["checkpoint"]["snapshots"]
        children = [run for run in runs if run.parent_id]
        assert len(children) == sum(not method_of(run.config).endswith(("dense", "prune")) for run in runs)


def test_the_plan_is_costed_and_every_dynamic_run_has_updates(imagenet: Plan, tmp_path: Path) -> None:
    timing = Timing.read(tmp_path)
    seconds = [timing.seconds(run) for run in imagenet.runs]
    assert all(seconds)
    assert {run.config["recipe"]["epochs"] for run in imagenet.runs} == {102}
    assert not without_updates(imagenet.runs)


def sizes_and_densities(model: torch.nn.Module, distribution: str) -> tuple[list[int], Sequence[float]]:
    shapes = [weight.shape for weight in sparsifiable_weights(model).values()]
    return [math.prod(shape) for shape in shapes], layer_densities(shapes, 0.2, distribution)


def test_a_fifth_of_all_weights_is_active_and_the_first_convolution_of_resnet50_dense() -> None:
    with torch.device("meta"):
        resnet = from_torchvision(name="resnet50", input_shape=(3, 224, 224), outputs=1000)
        vgg = PlainVGG16(input_shape=(3, 224, 224), outputs=1000)
    sizes, densities = sizes_and_densities(resnet, "uniform_plus")
    assert sum(size * density for size, density in zip(sizes, densities, strict=True)) == pytest.approx(
        0.2 * sum(sizes)
    )
    assert (densities[0], densities[-1]) == (1.0, 0.2)
    assert densities[1:-1] == [pytest.approx(0.1997, abs=1e-4)] * 52
    assert set(sizes_and_densities(vgg, "uniform")[1]) == {0.2}


@pytest.mark.parametrize(
    ("chosen", "batch", "lr"),
    [(("model=resnet50", "recipe=resnet50_gradient_flow"), 4096, 1.6), (("model=vgg16_imagenet",), 1024, 0.4)],
)
def test_the_recipes_decay_after_epochs_30_70_and_90(chosen: tuple[str, ...], batch: int, lr: float) -> None:
    recipe = checked(compose([*chosen, "dataset=imagenet"])).recipe
    assert (recipe.batch_size, recipe.lr, recipe.label_smoothing) == (batch, lr, 0.1)
    assert recipe.lr == pytest.approx(0.1 * recipe.batch_size / 256)
    per_epoch = math.ceil(1_281_167 / recipe.batch_size)
    span = Span(recipe.epochs * per_epoch, per_epoch)
    factors = [Step()(epoch * per_epoch, span, recipe) / lr for epoch in range(recipe.epochs)]
    assert [factors.index(pytest.approx(0.1**number)) for number in range(4)] == [0, 30, 70, 90]
