"""Glorot initialization, the default of Keras."""

from __future__ import annotations

from torch import nn


def glorot_uniform(model: nn.Module) -> None:
    """Draws the weights of linear layers and convolutions from U(−a, a), a = √(6 / (fan-in + fan-out)); biases are 0.

    Source: Glorot & Bengio (2010).
    """
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
