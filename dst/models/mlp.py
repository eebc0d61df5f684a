"""Multi-layer perceptrons."""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor, nn

from dst.models.glorot import glorot_uniform


class MLP(nn.Module):
    """Linear layers with ReLU between them, on the flattened input (Table 2; LeNet-300-100: LeCun et al., 1998).

    Args:
        input_shape: of one sample.
        outputs: number of logits.
        hidden: widths of the hidden layers.
        dropout: probability after each hidden layer (Fig. 4 uses 0.05).
        input_dropout: probability on the input.
        init: of the weights: ``torch``, the default of its linear layers, or ``glorot``, see
            :func:`~dst.models.glorot.glorot_uniform`.

    Raises:
        ValueError: for another ``init``.
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        outputs: int,
        hidden: list[int],
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        init: str = "torch",
    ) -> None:
        super().__init__()
        if init not in ("torch", "glorot"):
            raise ValueError(f"init={init}: choose torch or glorot")
        widths = [math.prod(input_shape), *hidden]
        layers: list[nn.Module] = [nn.Flatten()]
        if input_dropout:
            layers.append(nn.Dropout(input_dropout))
        for fan_in, fan_out in pairwise(widths):
            layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
            if dropout:
                layers.append(nn.Dropout(dropout))
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], outputs))
        if init == "glorot":
            glorot_uniform(self)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(batch, *input_shape)`` to logits ``(batch, outputs)``."""
        logits: Tensor = self.layers(x)
        return logits
