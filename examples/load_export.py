"""Loads an exported network in plain PyTorch.

.venv/bin/python -m dst.train dataset=digits model=small_mlp update_period=dt25 tracker=local
.venv/bin/python -m analysis export run=RUN_ID
.venv/bin/python examples/load_export.py results/export/RUN_ID
"""

from __future__ import annotations

import sys
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn


def load(folder: Path) -> tuple[nn.Module, dict[str, Tensor]]:
    """Returns the model ``small_mlp`` of the digits with its trained weights, and its masks by parameter name."""
    hidden = [nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU()]
    network = nn.Sequential(nn.Flatten(), *hidden, nn.Linear(256, 10))
    weights = load_file(folder / "model.safetensors")
    network.load_state_dict({name.removeprefix("layers."): weight for name, weight in weights.items()})
    return network, load_file(folder / "masks.safetensors")


if __name__ == "__main__":
    _, masks = load(Path(sys.argv[1]))
    for name, mask in masks.items():
        print(f"{name}: {int(mask.sum()):,} of {mask.numel():,} weights active")
