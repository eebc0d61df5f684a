"""Signal propagation at initialisation: how far apart a sparse network's outputs for random inputs are."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import pandas as pd
import torch
from torch import Tensor, nn
from tqdm import tqdm

from dst.config import compose
from dst.errors import UserError
from dst.models import build_model
from dst.seeds import generator
from dst.sparsity import layer_scaled_init, sparsifiable_weights, sparsity_aware_init

from .figures import save
from .figures.canvas import STYLE
from .figures.signal_propagation import signal_figure
from .results_folder import ResultsFolder

SPARSITIES = tuple(round(0.07 * index, 2) for index in range(15))
"""0 to 0.98 (Evci et al., 2022)."""

BASES = ("he", "model")
"""The dense weights that are masked or scaled: He's normal initialisation by fan-in, or the model's own."""

INITS = ("default", "layer_scaled", "sparsity_aware")
"""Values of ``weight_init``."""

_CLASSES = 10


@dataclass(frozen=True)
class Setting:
    """What is measured.

    Attributes:
        model: a choice of the config group.
        shape: of one input.
        base: one of :data:`BASES`.
        batch: number of inputs, drawn from N(0, 1).
        repeats: number of draws of weights, masks and inputs.
    """

    model: str = "lenet5"
    shape: tuple[int, ...] = (3, 28, 28)
    base: str = "he"
    batch: int = 500
    repeats: int = 3


def measure_signal(setting: Setting) -> pd.DataFrame:
    """Measures the logits of networks at initialisation, in evaluation mode.

    Returns:
        Columns ``init sparsity repeat std std_all``: the standard deviation of each logit over the inputs, averaged
        over the logits, and that of all logits together.

    Raises:
        UserError: for a model that is unknown or does not accept the shape.
    """
    node = compose([f"model={setting.model}", "dataset=mnist"]).model
    rows = []
    for repeat in tqdm(range(setting.repeats), desc="signal", unit="repeat", disable=None, leave=False):
        model = build_model(node, input_shape=setting.shape, num_classes=_CLASSES, seed=repeat).eval()
        x = torch.randn(setting.batch, *setting.shape, generator=generator(repeat, "inputs"))
        for init, sparsity, logits in _logits(model, x, setting.base, repeat):
            rows.append((init, sparsity, repeat + 1, float(logits.std(dim=0).mean()), float(logits.std())))
    return pd.DataFrame(rows, columns=["init", "sparsity", "repeat", "std", "std_all"])


@torch.no_grad()
def _logits(model: nn.Module, x: Tensor, base: str, seed: int) -> Iterator[tuple[str, float, Tensor]]:
    """Yields the logits by initialisation and sparsity; for all of them the random numbers are the same."""
    if base == "he":
        sparsity_aware_init(model, {}, generator=generator(seed, "weights"))
    weights = sparsifiable_weights(model)
    dense = {name: weight.clone() for name, weight in weights.items()}
    for sparsity in SPARSITIES:
        random = generator(seed, "masks")
        masks = {name: uneven_mask(weight.shape, sparsity, random) for name, weight in weights.items()}
        for init in INITS:
            for name, weight in weights.items():
                weight.copy_(dense[name] * masks[name])
            if init == "layer_scaled":
                layer_scaled_init(model, masks)
            elif init == "sparsity_aware":
                sparsity_aware_init(model, masks, generator=generator(seed, "weights"))
            yield init, sparsity, model(x)


def uneven_mask(shape: Sequence[int], sparsity: float, random: torch.Generator) -> Tensor:
    """Returns a mask that is sparser for the earlier outputs: bool, with ``⌊sparsity · size⌋`` weights inactive.

    They are the lowest of values drawn from U(0, c) for output c, counted from 1 (Evci et al., 2022).

    Args:
        shape: of the weight, outputs first.
        sparsity: from 0 to 1.
        random: CPU random stream.
    """
    outputs = torch.arange(1, shape[0] + 1).view(-1, *[1] * (len(shape) - 1))
    drawn = (torch.rand(*shape, generator=random) * outputs).flatten()
    mask = torch.ones(len(drawn), dtype=torch.bool)
    mask[drawn.argsort()[: math.floor(sparsity * len(drawn))]] = False
    return mask.view(*shape)


def parse_shape(text: str) -> tuple[int, ...]:
    """Returns the shape of ``3,28,28`` or ``[3,28,28]``; raises UserError for anything else."""
    if not re.fullmatch(r"\[?[1-9]\d{0,5}(,[1-9]\d{0,5})*\]?", text):
        raise UserError(f"shape={text}: give the shape of one input, such as 3,28,28")
    return tuple(map(int, text.strip("[]").split(",")))


def report_signal(setting: Setting, name: str, results: ResultsFolder) -> str:
    """Measures, writes the table and the figure, and returns the text to print.

    Args:
        setting: of the measurement.
        name: of the files, without suffix.
        results: where they go.
    """
    found = measure_signal(setting)
    about = (
        f"{setting.model}, {setting.batch} inputs from N(0, 1), mean of {setting.repeats} repeats; uneven masks; dense "
        f"weights: {setting.base}."
    )
    with matplotlib.rc_context(STYLE):
        drawn = save(signal_figure(found, about), name, results)
    table: Any = found.pivot_table(index="sparsity", columns="init", values="std")[list(INITS)]
    text = table.rename_axis(columns=None).to_string(float_format=lambda value: f"{value:.3g}")
    paths = [results.write_csv(f"{name}.csv", found), *drawn]
    return "\n".join(["standard deviation of the logits", text, "", about, f"written to {', '.join(map(str, paths))}"])
