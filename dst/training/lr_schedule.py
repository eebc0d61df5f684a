"""The learning rate of an epoch."""

from __future__ import annotations

from torch import Tensor
from torch.optim import Optimizer

from dst.config import RecipeConfig


def set_learning_rate(optimizer: Optimizer, lr: float) -> None:
    """Makes ``lr`` the learning rate of all parameters."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr


def learning_rate(recipe: RecipeConfig, epoch: int) -> float:
    """Returns the learning rate of ``epoch`` (from 0): it decays once each milestone's share of the epochs is over."""
    passed = sum(epoch >= share * recipe.epochs for share in recipe.lr_milestones)
    return float(recipe.lr * recipe.lr_decay**passed)
