"""Masks and weights that a training begins with: its parent's, or by ``initial_mask`` and ``weight_init``."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dst.config import Config
from dst.data import Data
from dst.errors import UserError
from dst.models import model_of
from dst.seeds import generator
from dst.sparsity import (
    INITIAL_MASKS,
    initial_masks,
    layer_scaled_init,
    sparsifiable_weights,
    sparsity_aware_init,
)
from dst.tasks import training_loss
from dst.training.gradients import SCORED_EPOCH
from dst.training.phase import Phase

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
        model = model_of(one, one.dataset.shape, one.dataset.num_classes)
        found.append({name: tensor.shape for name, tensor in model.state_dict().items()})
    if different := found[0].items() ^ found[1].items():
        raise _other_shapes(config, f"{min(str(name) for name, _ in different)} does not match")


def first_masks(config: Config, phase: Phase, model: nn.Module, data: Data, inherited: Inherited) -> Tensors | None:
    """Gives the model its parent's weights and returns the masks to begin with; None where they are drawn or none.

    Args:
        config: checked.
        phase: the first one.
        model: on its final device, at its first step.
        data: whose training split gives the batches that score weights.
        inherited: what the run takes over from its parent.

    Raises:
        UserError: for a parent whose model has other shapes.
    """
    if inherited.weights is not None:
        try:
            model.load_state_dict(_first_weights(config, model, inherited.weights))
        except RuntimeError as error:
            raise _other_shapes(config, str(error).splitlines()[-1]) from error
    if phase.starts_dense:
        return None
    if inherited.masks is None:
        return _scored_masks(config, phase, model, data)
    ours = {name: weight.shape for name, weight in sparsifiable_weights(model, **config.chosen_weights).items()}
    if different := ours.items() ^ {name: mask.shape for name, mask in inherited.masks.items()}.items():
        raise _other_shapes(config, f"{min(name for name, _ in different)} does not match")
    return inherited.masks


def _first_weights(config: Config, model: nn.Module, parent: Tensors) -> dict[str, Tensor]:
    """Returns parameters and buffers by name: the parent's, or the model's own with its signs or magnitudes."""
    if config.weight_init.name == "parent":
        return dict(parent)
    own = model.state_dict()
    if different := {(name, weight.shape) for name, weight in own.items()} ^ {
        (name, weight.shape) for name, weight in parent.items()
    }:
        raise RuntimeError(f"{min(name for name, _ in different)} does not match")
    for name in sparsifiable_weights(model, **config.chosen_weights):
        theirs = parent[name].to(own[name].device)
        magnitudes, signs = (own[name], theirs) if config.weight_init.name == "parent_signs" else (theirs, own[name])
        own[name] = magnitudes.abs() * torch.where(signs < 0, -1.0, 1.0)
    return own


def _other_shapes(config: Config, reason: str) -> UserError:
    given = f"parent=[{','.join(config.parent or ())}]"
    return UserError(f"{given}: its {config.model['name']} has weights of other shapes ({reason.strip()})")


def initialise_weights(config: Config, model: nn.Module, masks: Tensors) -> None:
    """Draws or scales the weights as ``weight_init`` says.

    Args:
        config: checked.
        model: with its own initial weights, or its parent's.
        masks: that it begins with; empty for a dense run.
    """
    chosen = config.weight_init
    if chosen.name == "sparsity_aware":
        sparsity_aware_init(
            model,
            masks,
            scale=chosen.scale,
            mode=chosen.mode,
            distribution=chosen.distribution,
            generator=generator(config.seed, "weights", "sparsity_aware"),
            **config.chosen_weights,
        )
    elif chosen.name == "layer_scaled":
        layer_scaled_init(model, masks)


def _scored_masks(config: Config, phase: Phase, model: nn.Module, data: Data) -> dict[str, Tensor] | None:
    """Returns the masks that ``initial_mask`` chooses by a score; None for a dense run or where they are drawn."""
    chosen = config.initial_mask
    if chosen.name not in INITIAL_MASKS or phase.density is None:
        return None
    batches = itertools.islice(data.train.epoch(SCORED_EPOCH), chosen.batches)
    loss = training_loss(config)
    return initial_masks(chosen.name, model, batches, phase.density, loss, **config.chosen_weights)
