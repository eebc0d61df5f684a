"""From a config to a training: device, model, data, optimizer, sparsity."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

import dst.data
from dst.config import Config
from dst.config.components import build
from dst.data import Data
from dst.errors import UserError
from dst.models import build_model
from dst.seeds import stream_seed
from dst.sparsity import DenseModel, DynamicSparsity, GradualPruning, MaskedModel, layer_densities, sparsifiable_weights
from dst.training.device import make_scaler, place, prepare_device
from dst.training.loop import Sparsity, Training
from dst.training.optimizer import make_optimizer
from dst.training.phase import Phase
from dst.training.recorded_step import RecordedStep
from dst.training.step_graph import CudaRecorder


def training_factory(config: Config) -> Callable[[], Training]:
    """Prepares the device, loads the data, and returns what makes the training of ``config`` at its first step.

    Raises:
        UserError: for a model that cannot take the data's shape, before the data are touched where the config says the
            shape; for a precision, a density or data that cannot be.
        PlaceError: for a device or data that are not there.
    """
    device = prepare_device(config.device, config.precision, deterministic=config.deterministic)
    if config.dataset.shape and config.dataset.num_classes:
        _model(config, config.dataset.shape, config.dataset.num_classes)
    data = dst.data.load(
        config.dataset,
        Path(config.data_dir),
        device=device,
        batch_size=config.recipe.batch_size,
        seed=config.seed,
    )

    def make() -> Training:
        return build_training(config, _model(config, data.shape, data.num_classes), data, device)

    return make


def build_training(config: Config, model: nn.Module, data: Data, device: torch.device) -> Training:
    """Returns a training at its first step.

    Args:
        config: checked.
        model: on any device; moved to ``device``, where its weights become sparse.
        data: on ``device``.
        device: as :func:`~dst.training.device.prepare_device` returns it.

    Raises:
        UserError: for a density that the model cannot have.
    """
    model = place(model, device, config.precision)
    phases = build("procedure", config.procedure).phases(config.recipe.epochs)

    def make_parts(number: int) -> tuple[torch.optim.Optimizer, Sparsity]:
        optimizer = make_optimizer(model, config.recipe, device)
        steps = phases[number].epochs * len(data.train)
        return optimizer, build_sparsity(config, phases[number], model, optimizer, total_steps=steps)

    training = Training(
        model,
        data,
        phases,
        make_parts,
        recipe=config.recipe,
        lr_schedule=build("lr_schedule", config.lr_schedule),
        scaler=make_scaler(config.precision, device),
        precision=config.precision,
        device=device,
    )
    if config.cuda_graph and device.type == "cuda":
        training.recorded = RecordedStep(CudaRecorder(device), deterministic=config.deterministic)
    torch.manual_seed(stream_seed(config.seed, "dropout"))  # the one stream that has to be torch's global one
    return training


def build_sparsity(
    config: Config, phase: Phase, model: nn.Module, optimizer: torch.optim.Optimizer, *, total_steps: int
) -> Sparsity:
    """Returns what keeps the model sparse: nothing for a dense run, masks for a static one, updates besides for others.

    Args:
        config: checked.
        phase: that it is for.
        model: on its final device.
        optimizer: over the model's parameters.
        total_steps: of the phase.

    Raises:
        UserError: for a density that the model cannot have.
    """
    density = config.density.value
    if density is None:
        return DenseModel(optimizer)
    check_density(config.model["name"], model, density, config.distribution.name)
    shared: dict[str, Any] = {
        "density": 1.0 if phase.starts_dense and phase.updates != "gradual" else density,
        "distribution": config.distribution.name,
        "momentum": config.sparsity.momentum,
        "seed": config.seed,
    }
    try:
        if config.update_period.steps is None or phase.updates == "none":
            return MaskedModel(model, optimizer, **shared)
        updates: dict[str, Any] = {
            "criterion": build("criterion", config.criterion),
            "update_period": config.update_period.steps,
            "total_steps": total_steps or 1,  # recipe.epochs=0 takes no step
            "scope": config.sparsity.scope,
        }
        if phase.updates == "gradual":
            start, stop = phase.prune_span
            return GradualPruning(model, optimizer, **shared, **updates, start=start, stop=stop)
        growth, schedule = build("growth", config.growth), build("prune_fraction", config.prune_fraction)
        return DynamicSparsity(model, optimizer, **shared, **updates, growth=growth, prune_fraction=schedule)
    except ValueError as error:  # a model or a distribution that does not go with the density
        raise UserError(f"model={config.model['name']}, density.value={density}: {error}") from error


def check_density(name: str, model: nn.Module, density: float, distribution: str) -> None:
    """Raises UserError if the model, called ``name``, cannot have that density, spread in that way."""
    shapes = [weight.shape for weight in sparsifiable_weights(model).values()]
    weights = sum(map(math.prod, shapes))
    if weights and density * weights < 1:
        raise UserError(f"density.value={density}: leaves none of the model's weights; give 1/{weights} or more")
    try:
        layer_densities(shapes, density, distribution)
    except ValueError as error:
        raise UserError(f"model={name}, density.value={density}: {error}") from error


def _model(config: Config, shape: Any, num_classes: int) -> nn.Module:
    return build_model(
        config.model,
        input_shape=tuple(shape),
        num_classes=num_classes,
        seed=config.seed,
        dataset=config.dataset.name,
    )
