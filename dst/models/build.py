"""From a config node to a network that fits the data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from dst.components import build
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
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, "weights"))
        try:
            model: nn.Module = build("model", node, input_shape=input_shape, outputs=outputs)
            _try(model, input_shape)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(
                f"model={node.get('name')}: cannot be built for {dataset}'s {shape} inputs ({reason})"
            ) from error
    return model


@torch.no_grad()
def _try(model: nn.Module, input_shape: tuple[int, ...]) -> None:
    """One forward pass of one blank sample, which fails if the network cannot take the shape."""
    training = model.training
    model.eval()(torch.zeros(1, *input_shape))
    model.train(training)
