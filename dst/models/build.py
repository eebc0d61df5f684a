"""Builds the network of a config node for the shape of the data."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dst.config import Config
from dst.config.components import build, told_by
from dst.errors import UserError
from dst.seeds import stream_seed
from dst.tasks import task_of


def build_model(
    node: Mapping[str, Any],
    *,
    input_shape: tuple[int, ...],
    num_classes: int,
    seed: int,
    dataset: str = "the data",
    task: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Builds the network of a config node on the CPU.

    Args:
        node: the config group ``model``: ``_target_``, ``name`` and the network's own parameters.
        input_shape: of one sample, without the batch dimension.
        num_classes: of the data.
        seed: of the run; the initial weights come from its stream ``weights``.
        dataset: name for the error message.
        task: the config group ``task``, which says what the network's inputs and outputs are; None: classification.

    Raises:
        UserError: if the node is invalid, the network does not accept ``input_shape``, or the data are of another task.
    """
    learned = task_of({"task": task})
    try:
        shape_of_input, outputs = learned.model_shapes(input_shape, num_classes)
    except ValueError as error:
        raise UserError(f"task={(task or {}).get('name')}: dataset={dataset} does not go with it: {error}") from error
    shape = "×".join(map(str, input_shape))
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Initializing zero-element tensors")  # rejected below
        torch.manual_seed(stream_seed(seed, "weights"))
        try:
            model: nn.Module = build("model", node, nn.Module, input_shape=shape_of_input, outputs=outputs)
            _check_forward(model, shape_of_input, outputs)
            learned.adapt(model, input_shape)
        except Exception as error:  # a user's network may raise anything
            line = f"model={node.get('name')}: cannot be built for {dataset}'s {shape} inputs"
            raise UserError(told_by(error, line)) from error
    return model


def model_of(config: Config, shape: Iterable[int], num_classes: int) -> nn.Module:
    """Builds the network of a run on the CPU, see :func:`build_model`.

    Args:
        config: checked.
        shape: of one sample.
        num_classes: of the data.
    """
    return build_model(
        config.model,
        input_shape=tuple(shape),
        num_classes=num_classes,
        seed=config.seed,
        dataset=config.dataset.name,
        task=config.task,
    )


@torch.no_grad()
def _check_forward(model: nn.Module, input_shape: tuple[int, ...], outputs: int) -> None:
    """Runs a forward pass of one all-zero sample and checks the shape of the logits."""
    sizes = [parameter.numel() for parameter in model.parameters()]
    if not sizes or 0 in sizes:
        raise ValueError("a layer has no weights" if sizes else "it has no parameters")
    training = model.training
    logits = model.eval()(torch.zeros(1, *input_shape))
    model.train(training)
    if not isinstance(logits, Tensor) or logits.shape != (1, outputs):
        given = f"a tensor of {tuple(logits.shape)}" if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
        raise ValueError(f"gives {given} for one sample, not one of {(1, outputs)}")
