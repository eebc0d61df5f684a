"""``dst.sparsity`` in a plain training loop imports neither Hydra nor OmegaConf."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

LOOP = """
import sys
import torch
from dst.sparsity import Cosine, DynamicSparsity, GradientGrowth, MEST

model = torch.nn.Linear(8, 8)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
sparsity = DynamicSparsity(
    model, optimizer, criterion=MEST(0.1), growth=GradientGrowth(), prune_fraction=Cosine(0.3), update_period=1,
    total_steps=3, density=0.5,
)
model(torch.ones(2, 8)).sum().backward()
sparsity.step()
assert len(sparsity.pop_updates()) == 1
print(*sorted({name.partition(".")[0] for name in sys.modules} & {"hydra", "omegaconf", "yaml", "pandas", "wandb"}))
"""


def test_a_plain_training_loop_imports_neither_hydra_nor_omegaconf() -> None:
    loop = subprocess.run([sys.executable, "-c", LOOP], cwd=ROOT, capture_output=True, text=True, check=True)
    assert loop.stdout == "\n"
