"""The recipe: optimizer and learning-rate schedule."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from dst.config import RecipeConfig


def make_optimizer(model: nn.Module, recipe: RecipeConfig, device: torch.device) -> torch.optim.Optimizer:
    """Returns the recipe's optimizer, fused into one pass over the weights where torch can."""
    fused = device.type in ("cpu", "cuda")
    common: dict[str, Any] = {"lr": recipe.lr, "weight_decay": recipe.weight_decay, "fused": fused}
    if recipe.optimizer == "sgd":
        nesterov = recipe.nesterov and recipe.momentum > 0
        return torch.optim.SGD(model.parameters(), momentum=recipe.momentum, nesterov=nesterov, **common)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[recipe.optimizer]
    return kind(model.parameters(), **common)


def learning_rate(recipe: RecipeConfig, epoch: int) -> float:
    """Returns the learning rate of ``epoch`` (from 0): it decays once each milestone's share of the epochs is over."""
    passed = sum(epoch >= share * recipe.epochs for share in recipe.lr_milestones)
    return float(recipe.lr * recipe.lr_decay**passed)
