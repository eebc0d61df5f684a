"""Gradual pruning follows the cubic schedule and ends at exact counts."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dst.sparsity import GradualPruning, MaskedModel, layer_densities
from tests.sparsity.networks import BIG, OPTIMIZERS, Layers


def pruned(
    scope: str = "local", steps: int = 100, **options: Any
) -> tuple[Layers, GradualPruning, list[dict[str, Any]]]:
    model = Layers(BIG)
    gradual = GradualPruning(
        model, OPTIMIZERS["momentum"](model.parameters()), total_steps=steps, scope=scope,
        **{"density": 0.2, "update_period": 5, **options},
    )  # fmt: skip
    for _ in range(steps):
        model.draw_gradients()
        gradual.step()
    return model, gradual, gradual.pop_updates()


@pytest.mark.parametrize("distribution", ["erk", "uniform"])
def test_it_ends_with_the_counts_of_drawn_masks(distribution: str) -> None:
    _, gradual, _ = pruned(distribution=distribution)
    other = Layers(BIG)
    drawn = MaskedModel(other, OPTIMIZERS["sgd"](other.parameters()), density=0.2, distribution=distribution)
    assert [layer.n_active for layer in gradual.layers] == [layer.n_active for layer in drawn.layers]
    assert [int(layer.mask.sum()) for layer in gradual.layers] == [layer.n_active for layer in gradual.layers]


def test_globally_it_ends_with_the_overall_count() -> None:
    model, gradual, _ = pruned("global", density=0.13)
    size = sum(layer.weight.numel() for layer in gradual.layers)
    assert sum(layer.n_active for layer in gradual.layers) == size - int(0.87 * size)
    assert sum(int((parameter != 0).sum()) for name, parameter in model.named_parameters() if "weight" in name) <= size


@pytest.mark.parametrize("scope", ["local", "global"])
def test_the_density_is_cubic_at_every_update(scope: str) -> None:
    _, gradual, updates = pruned(scope, start=0.2, stop=0.8)
    assert [update["step"] for update in updates] == list(range(20, 81, 5))
    sizes = {layer.name: layer.weight.numel() for layer in gradual.layers}
    shapes = [tuple(layer.weight.shape) for layer in gradual.layers]
    final = dict(zip(sizes, layer_densities(shapes, 0.2), strict=True))
    for update in updates:
        left = (1 - (update["step"] - 20) / 60) ** 3
        if scope == "local":
            for name, counts in update["layers"].items():
                assert counts["active"] == pytest.approx(
                    (final[name] + (1 - final[name]) * left) * sizes[name], abs=1.01
                )
        active = sum(counts["active"] for counts in update["layers"].values())
        assert active == pytest.approx((0.2 + 0.8 * left) * sum(sizes.values()), abs=3.01)


def test_nothing_is_ever_grown_and_pruned_weights_stay_zero() -> None:
    model = Layers(BIG)
    gradual = GradualPruning(
        model, OPTIMIZERS["adam"](model.parameters()), total_steps=40, update_period=3, density=0.1
    )
    before = {name: mask.clone() for name, mask in gradual.masks.items()}
    for _ in range(40):
        model.draw_gradients()
        gradual.step()
        for name, mask in gradual.masks.items():
            assert not bool((mask & ~before[name]).any())
            assert not bool(model.get_parameter(name)[~mask].any())
            before[name] = mask.clone()


def test_the_lowest_scores_go_first() -> None:
    model = Layers([(10, 10)])
    gradual = GradualPruning(model, OPTIMIZERS["sgd"](model.parameters()), total_steps=10, update_period=5, density=0.5,
                             start=0.4, stop=0.5)  # fmt: skip
    for _ in range(4):
        model.draw_gradients("zero")
        gradual.step()
    magnitudes = model.get_parameter("0.weight").detach().abs().flatten().clone()
    model.draw_gradients("zero")
    gradual.step()
    kept = gradual.masks["0.weight"].flatten()
    assert int(kept.sum()) == 50
    assert magnitudes[kept].min() >= magnitudes[~kept].max()


@pytest.mark.parametrize(("steps", "period", "stop"), [(10, 7, 1.0), (10, 20, 0.5), (10, 3, 0.55)])
def test_the_density_is_reached_whatever_the_period(steps: int, period: int, stop: float) -> None:
    _, gradual, updates = pruned(steps=steps, update_period=period, start=0.0, stop=stop)
    assert updates[-1]["step"] <= steps
    assert gradual.density == pytest.approx(0.2, abs=0.01)


def test_it_goes_on_from_its_state() -> None:
    whole, _, _ = pruned()
    model = Layers(BIG)
    optimizer = OPTIMIZERS["momentum"](model.parameters())
    options: dict[str, Any] = {"total_steps": 100, "density": 0.2, "update_period": 5}
    gradual = GradualPruning(model, optimizer, **options)
    for step in range(100):
        if step == 43:
            state = gradual.state_dict()
            state = {
                key: {n: m.clone() for n, m in v.items()} if isinstance(v, dict) else v for key, v in state.items()
            }
            gradual = GradualPruning(model, optimizer, **options)
            gradual.load_state_dict(state)
        model.draw_gradients()
        gradual.step()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), whole.parameters(), strict=True))


def test_a_layer_that_the_loss_does_not_depend_on_is_pruned_by_its_weights() -> None:
    model = Layers(BIG)
    gradual = GradualPruning(model, OPTIMIZERS["sgd"](model.parameters()), total_steps=4, update_period=2, density=0.2)
    for _ in range(4):
        model.draw_gradients()
        model[0].weight.grad = None
        gradual.step()
    assert gradual.layers[0].n_active < gradual.layers[0].weight.numel()
    assert gradual.density == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"density": 0.0}, "density=0.0"),
        ({"start": 0.6, "stop": 0.5}, "start=0.6: must be below stop=0.5"),
        ({"update_period": 0}, "update_period=0"),
        ({"scope": "layer"}, "scope='layer'"),
        ({"total_steps": 0}, "total_steps=0"),
    ],
)
def test_a_wrong_value_is_a_value_error(options: dict[str, Any], told: str) -> None:
    model = Layers(BIG)
    with pytest.raises(ValueError, match=told):
        GradualPruning(model, OPTIMIZERS["sgd"](model.parameters()), **{"total_steps": 10, **options})
