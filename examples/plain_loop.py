"""Dynamic sparse training in a plain PyTorch loop: one line differs from dense training.

    .venv/bin/python examples/plain_loop.py

Trains a small network on handwritten digits at 10 % density with RigL and prints its test accuracy.
"""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from dst.sparsity import DynamicSparsity

EPOCHS = 20


def main() -> float:
    """Trains, prints and returns the test accuracy, a fraction of 1."""
    torch.manual_seed(0)
    digits = load_digits()
    images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
    train = DataLoader(TensorDataset(images[:1500], labels[:1500]), batch_size=50, shuffle=True)

    model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    sparsity = DynamicSparsity(
        model,
        optimizer,
        density=0.1,
        criterion="magnitude",
        growth="gradient",
        update_period=50,
        total_steps=EPOCHS * len(train),
    )
    for _ in range(EPOCHS):
        for x, y in train:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            sparsity.step()  # in place of optimizer.step()

    with torch.no_grad():
        accuracy = (model(images[1500:]).argmax(dim=1) == labels[1500:]).float().mean().item()
    print(f"density {sparsity.density:.3f}, {sparsity.itop_ratio():.0%} of the weights tried so far")
    print(f"test accuracy {accuracy:.3f}")
    return accuracy


if __name__ == "__main__":
    main()
