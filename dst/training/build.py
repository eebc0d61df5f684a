"""From a config to a training: device, model, data, optimizer, sparsity."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

import dst.data
from dst import ranks
from dst.config import Config
from dst.config.components import build
from dst.config.identity import groups_of, stopping_probes
from dst.data import Data
from dst.errors import UserError
from dst.models import model_of
from dst.probes import Observer
from dst.seeds import stream_seed
from dst.sparsity import DynamicSparsity, disconnected_layers
from dst.tasks import task_of
from dst.training.beginning import NOTHING, Inherited, Tensors, first_masks, initialise_weights
from dst.training.device import make_scaler, place, prepare_device
from dst.training.growth_gradient import check_growth_sample
from dst.training.loop import Sparsity, Training
from dst.training.optimizer import make_optimizer
from dst.training.phase import Phase
from dst.training.recorded_step import RecordedStep
from dst.training.sparsify import build_sparsity, check_density
from dst.training.step_graph import CudaRecorder
from dst.training.sync_batch_norm import synchronised
from dst.training.update_gradient import check_update_batch, update_gradients

log = logging.getLogger("dst")


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
        model_of(config, config.dataset.shape, config.dataset.num_classes)
    data = load_data(config, device)
    _check_steps(config, len(data.train), data.train.sizes[0])
    check_growth_sample(config, data.train.sizes[0])
    check_update_batch(config, data.train.sizes[0])

    def make(inherited: Inherited | None) -> Training:
        return build_training(config, model_of(config, data.shape, data.num_classes), data, device, inherited)

    return make


def load_data(config: Config, device: torch.device) -> Data:
    """Returns the data of a run on a device, see :func:`dst.data.load`.

    Args:
        config: checked.
        device: as :func:`~dst.training.device.prepare_device` returns it.
    """
    return dst.data.load(
        config.dataset,
        Path(config.data_dir),
        device=device,
        batch_size=config.recipe.batch_size,
        seed=config.seed,
    )


def _check_steps(config: Config, per_epoch: int, samples: int) -> None:
    """Raises UserError for choices that the training is too short for."""
    _check_shares(config, samples)
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


def _check_shares(config: Config, samples: int) -> None:
    """Raises UserError for batches that do not go round the processes of the run."""
    processes, batch_size = ranks.size(), config.recipe.batch_size
    if batch_size % processes:
        raise UserError(
            f"recipe.batch_size={batch_size}: {processes} processes train this run, each on an equal share; give a "
            f"multiple of {processes}"
        )
    if 0 < (last := samples % batch_size) < processes:
        raise UserError(
            f"recipe.batch_size={batch_size}: the last batch of {samples} training samples has {last}, too few for "
            f"{processes} processes; give another multiple of {processes}"
        )


def _phases(config: Config) -> list[Phase]:
    phases: list[Phase] = build("procedure", config.procedure).phases(config.recipe.epochs, config.density.value)
    return phases


def _last_step(config: Config, training: Training) -> int | None:
    """Returns the step of the first topology update where a probe ends the run with it, else None."""
    stopping = stopping_probes({"probes": config.probes})
    if not stopping:
        return None
    step = getattr(training.sparsity, "update_period", None)
    if not isinstance(training.sparsity, DynamicSparsity) or not step or step >= (training.sparsity.stop_step or 0):
        raise UserError(
            f"probes.{stopping[0]}.stop=true: the run has no topology update to end with; give an update_period "
            f"shorter than its training, or probes.{stopping[0]}.stop=false"
        )
    return step


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
    if config.recipe.sync_batch_norm:
        model = synchronised(model, device)
    model = place(model, device, config.precision)
    phases = _phases(config)
    if densities := [phase.density for phase in phases if phase.density]:  # now, not when the phase begins
        check_density(config.model["name"], model, min(densities), "uniform", config.chosen_weights)
    masks_at_first = None if inherited is None else first_masks(config, phases[0], model, data, inherited)

    def make_parts(number: int, masks: Tensors | None) -> tuple[torch.optim.Optimizer, Sparsity]:
        masks = masks or masks_at_first
        optimizer = make_optimizer(model, config.recipe, device)
        steps = phases[number].epochs * len(data.train)
        gradients = update_gradients(config, model, optimizer, data.train)
        phase = phases[number]
        return optimizer, build_sparsity(
            config, phase, model, optimizer, total_steps=steps, masks=masks, gradients=gradients
        )

    training = Training(
        model,
        data,
        phases,
        make_parts,
        task=task_of(vars(config)),
        recipe=config.recipe,
        lr_schedule=build("lr_schedule", config.lr_schedule),
        scaler=make_scaler(config.precision, device),
        precision=config.precision,
        device=device,
        criterion=build("criterion", config.criterion),
    )
    if config.cuda_graph and device.type == "cuda" and ranks.size() == 1:
        training.recorded = RecordedStep(CudaRecorder(device), deterministic=config.deterministic)
    if inherited is not None:
        initialise_weights(config, model, training.sparsity.masks)
        training.keep_weights()
    if masks_at_first:
        training.dead_layers = disconnected_layers(model, masks_at_first, data.shape)
        if training.dead_layers:
            log.warning(
                "initial_mask=%s: no active weight of %s lies on a path from input to output",
                *(config.initial_mask.name, ", ".join(training.dead_layers)),
            )
    if config.probes:
        probes = [build(f"probes.{name}", node) for name, node in config.probes.items()]
        training.observer = Observer(probes, training, training.loss_of, seed=config.seed)
    training.last_step = _last_step(config, training)
    ours = ("dropout", ranks.rank()) if ranks.rank() else ("dropout",)
    torch.manual_seed(stream_seed(config.seed, *ours))  # the one stream that has to be torch's global one
    return training
