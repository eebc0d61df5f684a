"""criterion=grasp: topology updates prune by θ·Hg of other samples than the batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dst.config import checked, compose
from dst.errors import UserError
from dst.sparsity import DynamicSparsity, initial_masks
from dst.sparsity.hessian_gradient import hessian_gradient
from dst.train import run
from dst.training.beginning import NOTHING
from dst.training.build import training_factory
from tests.run.outcomes import outcomes, run_with_stops

Overrides = Callable[..., list[str]]


def small_network() -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)).double()
    return model, torch.randn(11, 5, dtype=torch.float64), torch.randint(3, (11,))


def test_the_product_is_the_slope_of_half_the_squared_gradient_norm() -> None:
    model, x, y = small_network()
    weights = {name: weight for name, weight in model.named_parameters() if weight.ndim > 1}
    product = hessian_gradient(model, weights, [(x, y)], F.cross_entropy, temperature=2.0)
    direction = {name: torch.randn_like(weight) for name, weight in weights.items()}

    def half_squared_norm(distance: float) -> float:
        for name, weight in weights.items():
            weight.data.add_(direction[name], alpha=distance)
        gradients = torch.autograd.grad(F.cross_entropy(model(x) / 2.0, y), list(weights.values()))
        for name, weight in weights.items():
            weight.data.sub_(direction[name], alpha=distance)
        return 0.5 * sum(float(gradient.square().sum()) for gradient in gradients)

    slope = (half_squared_norm(1e-5) - half_squared_norm(-1e-5)) / 2e-5
    assert slope == pytest.approx(sum(float((product[name] * direction[name]).sum()) for name in weights), rel=1e-6)


def test_a_global_update_of_a_dense_network_keeps_the_initial_mask_grasp() -> None:
    model, x, y = small_network()
    weights = {name: weight for name, weight in model.named_parameters() if weight.ndim > 1}
    chosen = initial_masks("grasp", model, [(x, y)], 0.5)
    sparsity = DynamicSparsity(
        model, torch.optim.SGD(model.parameters(), lr=0.1), density=1.0, distribution="uniform", criterion="grasp",
        hessian_gradient=lambda step, warmth: hessian_gradient(model, weights, [(x, y)], F.cross_entropy, warmth),
        prune_fraction=0.5, update_period=1, total_steps=10**6, scope="global", growth="random",
    )  # fmt: skip
    F.cross_entropy(model(x), y).backward()
    removed = sparsity.would_prune()
    assert all(torch.equal(~removed[name], mask) for name, mask in chosen.items())


def test_a_missing_product_is_told() -> None:
    model, _, _ = small_network()
    with pytest.raises(ValueError, match="criterion=GraSP: give hessian_gradient"):
        DynamicSparsity(model, torch.optim.SGD(model.parameters(), lr=0.1), criterion="grasp", total_steps=9)


@pytest.mark.parametrize("more", [["growth=gradient"], ["sparsity.update_batch_size=300", "model=small_cnn"]])
def test_an_update_changes_masks_alone(more: list[str], overrides: Overrides) -> None:
    training = training_factory(checked(compose(overrides("criterion=grasp", *more))))(NOTHING)
    sparsity: Any = training.sparsity
    state = {name: tensor.clone() for name, tensor in training.model.state_dict().items()}
    drawn = torch.get_rng_state()
    first, second = sparsity._hessian_gradient(25, 200.0), sparsity._hessian_gradient(50, 200.0)
    again = sparsity._hessian_gradient(25, 200.0)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(torch.equal(state[name], tensor) for name, tensor in training.model.state_dict().items())
    assert all(weight.grad is None for weight in training.model.parameters())


def test_a_stopped_run_ends_as_one_never_stopped(overrides: Overrides, tmp_path: Path) -> None:
    typed = ("criterion=grasp", "recipe.epochs=6", "probes=jaccard", "probes.jaccard.criteria=[snip]")
    whole = run(compose(overrides(*typed, f"output_dir={tmp_path / 'whole'}")))
    cfg = compose(overrides(*typed, f"output_dir={tmp_path / 'stopped'}"))
    run_with_stops(cfg, 13, 17)
    assert whole["topology_updates"] > 0
    assert outcomes(tmp_path / "stopped") == outcomes(tmp_path / "whole")


@pytest.mark.parametrize("procedure", ["imp", "sculpt"])
def test_levels_are_pruned_by_it(procedure: str, train: Callable[..., dict[str, Any]]) -> None:
    summary = train(
        "criterion=grasp", f"procedure={procedure}", "density=0.5", "update_period=never", "recipe.epochs=1"
    )
    assert summary["density_actual"] == pytest.approx(0.5, abs=1e-4)


def test_gradual_pruning_by_it_is_refused() -> None:
    with pytest.raises(UserError, match=r"^criterion=grasp: scores by second derivatives, procedure=gradual"):
        checked(compose(["criterion=grasp", "procedure=gradual", "dataset=digits", "model=small_mlp"]))
