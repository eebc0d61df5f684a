"""What keeps the model of a run sparse in a phase."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from dst.config import Config
from dst.config.components import build
from dst.errors import UserError
from dst.sparsity import (
    DenseModel,
    DynamicSparsity,
    GradualPruning,
    MaskedModel,
    layer_densities,
    sparsifiable_weights,
)
from dst.training.loop import Sparsity
from dst.training.phase import Phase


def build_sparsity(
    config: Config,
    phase: Phase,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    total_steps: int,
    masks: Mapping[str, Tensor] | None = None,
    gradients: Mapping[str, Any] = MappingProxyType({}),
) -> Sparsity:
    """Returns what keeps the model sparse: nothing for a dense run, masks for a static one, updates besides for others.

    Args:
        config: checked.
        phase: that it is for.
        model: on its final device.
        optimizer: over the model's parameters.
        total_steps: of the phase.
        masks: to begin with; None: drawn at random, or none where the phase starts dense.
        gradients: of :func:`~dst.training.update_gradient.update_gradients`.

    Raises:
        UserError: for a density that the model cannot have.
    """
    density = phase.density
    if density is None:
        return DenseModel(optimizer)
    layerwise = not masks and not (phase.updates == "gradual" and config.sparsity.scope == "global")
    check_density(config.model["name"], model, density, config.distribution.name if layerwise else "uniform")
    shared: dict[str, Any] = {
        "density": 1.0 if masks else density,
        "distribution": config.distribution.name,
        "momentum": config.sparsity.momentum,
        "seed": config.seed,
    }
    try:
        sparsity = _sparsity(config, phase, model, optimizer, total_steps, shared, gradients)
    except ValueError as error:  # a model or a distribution that does not go with the density
        raise UserError(f"model={config.model['name']}, density.value={density}: {error}") from error
    if masks:
        sparsity.load_state_dict({"steps": 0, "masks": masks, "explored": masks})
    return sparsity


def _sparsity(
    config: Config,
    phase: Phase,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    total_steps: int,
    shared: dict[str, Any],
    gradients: Mapping[str, Any],
) -> MaskedModel:
    if config.update_period.steps is None or phase.updates == "none":
        return MaskedModel(model, optimizer, **shared)
    updates: dict[str, Any] = {
        "criterion": build("criterion", config.criterion),
        "update_period": config.update_period.steps,
        "total_steps": total_steps or 1,  # recipe.epochs=0 takes no step
        "scope": config.sparsity.scope,
        "normalise": config.sparsity.normalise,
        "update_order": config.sparsity.update_order,
    }
    if phase.updates == "gradual":
        start, stop = phase.prune_span
        return GradualPruning(model, optimizer, **shared, **updates, start=start, stop=stop)
    growth, schedule = build("growth", config.growth), build("prune_fraction", config.prune_fraction)
    return DynamicSparsity(model, optimizer, **shared, **updates, **gradients, growth=growth, prune_fraction=schedule)


def check_density(name: str, model: nn.Module, density: float, distribution: str) -> None:
    """Checks that a model can have a density.

    Args:
        name: what the error calls the model.
        model: whose sparsifiable weights count.
        density: overall density D.
        distribution: see :func:`dst.sparsity.layer_densities`.

    Raises:
        UserError: if it cannot.
    """
    shapes = [weight.shape for weight in sparsifiable_weights(model).values()]
    weights = sum(map(math.prod, shapes))
    if weights and density * weights < 1:
        raise UserError(f"density.value={density}: leaves none of the model's weights; give 1/{weights} or more")
    try:
        layer_densities(shapes, density, distribution)
    except ValueError as error:
        raise UserError(f"model={name}, density.value={density}: {error}") from error
