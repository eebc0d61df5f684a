"""From a config node to a network that fits the data."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dst.config.components import build, told_by
from dst.errors import UserError
from dst.seeds import stream_seed


def build_model(
    node: Mapping[str, Any], *, input_shape: tuple[int, ...], num_classes: int, seed: int, dataset: str = "the data"
) -> nn.Module:
    """Returns the network of the config node ``model`` on the CPU, its weights drawn from the stream ``weights``.

    Two classes make one logit (for the binary cross-entropy), more make as many.

    Raises:
        UserError: if the node is wrong or the network cannot take ``input_shape``; found before any work is done.
    """
    outputs = 1 if num_classes == 2 else num_classes
    shape = "×".join(map(str, input_shape))
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Initializing zero-element tensors")  # refused below
        torch.manual_seed(stream_seed(seed, "weights"))
        try:
            model: nn.Module = build("model", node, nn.Module, input_shape=input_shape, outputs=outputs)
            _try(model, input_shape, outputs)
        except Exception as error:  # what a user's network may do
            line = f"model={node.get('name')}: cannot be built for {dataset}'s {shape} inputs"
            raise UserError(told_by(error, line)) from error
    return model


@torch.no_grad()
def _try(model: nn.Module, input_shape: tuple[int, ...], outputs: int) -> None:
    """One forward pass of one blank sample, which fails if the network cannot take the shape."""
    sizes = [parameter.numel() for parameter in model.parameters()]
    if not sizes or 0 in sizes:
        raise ValueError("a layer has no weights" if sizes else "it has no parameters")
    training = model.training
    logits = model.eval()(torch.zeros(1, *input_shape))
    model.train(training)
    if not isinstance(logits, Tensor) or logits.shape != (1, outputs):
        given = f"a tensor of {tuple(logits.shape)}" if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
        raise ValueError(f"gives {given} for one sample, not one of {(1, outputs)}")
