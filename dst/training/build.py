"""From a config to a training: device, model, data, optimizer, sparsity."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import dst.data
from dst.config import Config
from dst.config.components import build
from dst.config.identity import groups_of
from dst.data import Data
from dst.errors import UserError
from dst.models import build_model
from dst.probes import Observer
from dst.seeds import generator, stream_seed
from dst.sparsity import (
    INITIAL_MASKS,
    DenseModel,
    DynamicSparsity,
    GradualPruning,
    MaskedModel,
    disconnected_layers,
    initial_masks,
    layer_densities,
    layer_scaled_init,
    sparsifiable_weights,
    sparsity_aware_init,
)
from dst.training.device import make_scaler, place, prepare_device
from dst.training.gradients import SCORED_EPOCH
from dst.training.growth_gradient import GrowthGradient, check_growth_sample, make_growth_gradient
from dst.training.loop import Sparsity, Training
from dst.training.metrics import training_loss
from dst.training.optimizer import make_optimizer
from dst.training.phase import Phase
from dst.training.recorded_step import RecordedStep
from dst.training.step_graph import CudaRecorder

log = logging.getLogger("dst")

Tensors = Mapping[str, Tensor]
"""By parameter name."""


@dataclass(frozen=True)
class Inherited:
    """What a training takes over from the one that its run's parent did.

    Attributes:
        weights: parameters and buffers by name; None: the model initialises itself.
        masks: the active weights, bool, by parameter name; None: chosen anew.
    """

    weights: Tensors | None = None
    masks: Tensors | None = None


NOTHING = Inherited()


def training_factory(config: Config) -> Callable[[Inherited | None], Training]:
    """Prepares the device, loads the data, and returns what makes the training of ``config`` at its first step.

    What it returns takes the last argument of :func:`build_training`.

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
    _check_steps(config, len(data.train))
    check_growth_sample(config, data.train.sizes[0])

    def make(inherited: Inherited | None) -> Training:
        return build_training(config, _model(config, data.shape, data.num_classes), data, device, inherited)

    return make


def check_same_shapes(config: Config, parent: Config) -> None:
    """Raises UserError if the model of a run's parent has other weights, as far as the configs tell.

    Args:
        config: of the run, checked.
        parent: of its parent, checked.
    """
    if (config.model, config.dataset) == (parent.model, parent.dataset):
        return
    found = []
    for one in (config, parent):
        if not one.dataset.shape or not one.dataset.num_classes:
            return
        model = _model(one, one.dataset.shape, one.dataset.num_classes)
        found.append({name: tensor.shape for name, tensor in model.state_dict().items()})
    if different := found[0].items() ^ found[1].items():
        raise _other_shapes(config, f"{min(str(name) for name, _ in different)} does not match")


def _check_steps(config: Config, per_epoch: int) -> None:
    """Raises UserError for choices that the training is too short for."""
    chosen, steps = config.initial_mask, per_epoch * sum(phase.epochs for phase in _phases(config))
    scored = chosen.name in ("snip", "grasp") and "initial_mask" in groups_of(config.method)
    if scored and chosen.batches > per_epoch:
        raise UserError(
            f"initial_mask.batches={chosen.batches}: dataset={config.dataset.name} has {per_epoch} training "
            f"batches of recipe.batch_size={config.recipe.batch_size}; give {per_epoch} or fewer"
        )
    if late := [step for step in config.checkpoint.snapshots if step > steps]:
        raise UserError(
            f"checkpoint.snapshots={config.checkpoint.snapshots}: the run has {steps} steps, none {late[0]}"
        )


def _phases(config: Config) -> list[Phase]:
    phases: list[Phase] = build("procedure", config.procedure).phases(config.recipe.epochs, config.density.value)
    return phases


def build_training(
    config: Config, model: nn.Module, data: Data, device: torch.device, inherited: Inherited | None = NOTHING
) -> Training:
    """Returns a training at its first step.

    Args:
        config: checked.
        model: on any device; moved to ``device``, where its weights become sparse.
        data: on ``device``.
        device: as :func:`~dst.training.device.prepare_device` returns it.
        inherited: what it takes over from its run's parent; None: a checkpoint is about to replace weights and masks,
            so they are not chosen with care.

    Raises:
        UserError: for a density that the model cannot have, a parent whose model has other shapes, or a probe that the
            data do not allow.
    """
    model = place(model, device, config.precision)
    phases = _phases(config)
    if later := [phase.density for phase in phases[1:] if phase.density]:
        check_density(config.model["name"], model, min(later), "uniform")  # now, not when the phase begins
    first_masks = None if inherited is None else _first_masks(config, phases[0], model, data, inherited)

    def make_parts(number: int, masks: Tensors | None) -> tuple[torch.optim.Optimizer, Sparsity]:
        masks = masks or first_masks
        optimizer = make_optimizer(model, config.recipe, device)
        steps = phases[number].epochs * len(data.train)
        growth = make_growth_gradient(config, model, optimizer, data.train)
        phase = phases[number]
        return optimizer, build_sparsity(
            config, phase, model, optimizer, total_steps=steps, masks=masks, growth_gradient=growth
        )

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
        criterion=build("criterion", config.criterion),
    )
    if config.cuda_graph and device.type == "cuda":
        training.recorded = RecordedStep(CudaRecorder(device), deterministic=config.deterministic)
    if inherited is not None:
        _initialise_weights(config, model, training.sparsity.masks)
        training.keep_weights()
    if first_masks:
        training.dead_layers = disconnected_layers(model, first_masks, data.shape)
        if training.dead_layers:
            log.warning(
                "initial_mask=%s: no active weight of %s lies on a path from input to output",
                *(config.initial_mask.name, ", ".join(training.dead_layers)),
            )
    if config.probes:
        probes = [build(f"probes.{name}", node) for name, node in config.probes.items()]
        training.observer = Observer(probes, training, training.loss_of, seed=config.seed)
    torch.manual_seed(stream_seed(config.seed, "dropout"))  # the one stream that has to be torch's global one
    return training


def _first_masks(config: Config, phase: Phase, model: nn.Module, data: Data, inherited: Inherited) -> Tensors | None:
    """Gives the model its parent's weights and returns the masks to begin with; None where they are drawn or none."""
    if inherited.weights is not None:
        try:
            model.load_state_dict(dict(inherited.weights))
        except RuntimeError as error:
            raise _other_shapes(config, str(error).splitlines()[-1]) from error
    if phase.starts_dense:
        return None
    if inherited.masks is None:
        return scored_masks(config, phase, model, data)
    ours = {name: weight.shape for name, weight in sparsifiable_weights(model).items()}
    if different := ours.items() ^ {name: mask.shape for name, mask in inherited.masks.items()}.items():
        raise _other_shapes(config, f"{min(name for name, _ in different)} does not match")
    return inherited.masks


def _other_shapes(config: Config, reason: str) -> UserError:
    given = f"parent=[{','.join(config.parent or ())}]"
    return UserError(f"{given}: its {config.model['name']} has weights of other shapes ({reason.strip()})")


def _initialise_weights(config: Config, model: nn.Module, masks: Tensors) -> None:
    chosen = config.weight_init
    if chosen.name == "sparsity_aware":
        sparsity_aware_init(
            model,
            masks,
            scale=chosen.scale,
            mode=chosen.mode,
            distribution=chosen.distribution,
            generator=generator(config.seed, "weights", "sparsity_aware"),
        )
    elif chosen.name == "layer_scaled":
        layer_scaled_init(model, masks)


def build_sparsity(
    config: Config,
    phase: Phase,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    total_steps: int,
    masks: Mapping[str, Tensor] | None = None,
    growth_gradient: GrowthGradient | None = None,
) -> Sparsity:
    """Returns what keeps the model sparse: nothing for a dense run, masks for a static one, updates besides for others.

    Args:
        config: checked.
        phase: that it is for.
        model: on its final device.
        optimizer: over the model's parameters.
        total_steps: of the phase.
        masks: to begin with; None: drawn at random, or none where the phase starts dense.
        growth_gradient: that weights are grown by; None: the batch's.

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
        sparsity = _sparsity(config, phase, model, optimizer, total_steps, shared, growth_gradient)
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
    growth_gradient: GrowthGradient | None,
) -> MaskedModel:
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
    growing = {"growth": growth, "growth_gradient": growth_gradient}
    return DynamicSparsity(model, optimizer, **shared, **updates, **growing, prune_fraction=schedule)


def scored_masks(config: Config, phase: Phase, model: nn.Module, data: Data) -> dict[str, Tensor] | None:
    """Returns the masks that ``initial_mask`` chooses by a score; None for a dense run or where they are drawn.

    Args:
        config: checked.
        phase: the first one.
        model: on its final device, at its first step.
        data: whose training split gives the batches, from a random stream of their own.
    """
    chosen = config.initial_mask
    if chosen.name not in INITIAL_MASKS or phase.density is None:
        return None
    batches = itertools.islice(data.train.epoch(SCORED_EPOCH), chosen.batches)
    return initial_masks(chosen.name, model, batches, phase.density, training_loss(config.recipe))


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


def _model(config: Config, shape: Any, num_classes: int) -> nn.Module:
    return build_model(
        config.model,
        input_shape=tuple(shape),
        num_classes=num_classes,
        seed=config.seed,
        dataset=config.dataset.name,
    )
