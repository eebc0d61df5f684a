"""The recipe: optimizer and learning-rate schedule."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dst.config import RecipeConfig


class _Eager(Optimizer):
    """An optimizer's methods without the wrappers for torch.compile, which we do not use and whose import takes longer
    than the rest of a run's start.
    """

    add_param_group = inspect.unwrap(Optimizer.add_param_group)
    zero_grad = inspect.unwrap(Optimizer.zero_grad)
    state_dict = inspect.unwrap(Optimizer.state_dict)
    load_state_dict = inspect.unwrap(Optimizer.load_state_dict)


class _SGD(_Eager, torch.optim.SGD):
    step = torch.no_grad()(inspect.unwrap(torch.optim.SGD.step))


class _Adam(_Eager, torch.optim.Adam):
    step = torch.no_grad()(inspect.unwrap(torch.optim.Adam.step))


class _AdamW(_Eager, torch.optim.AdamW):
    step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))


def make_optimizer(model: nn.Module, recipe: RecipeConfig, device: torch.device) -> Optimizer:
    """Returns the recipe's optimizer, fused where torch can; its learning rate is then a tensor on the device.

    Args:
        model: on ``device``.
        recipe: names the optimizer and gives its parameters.
        device: of the model.
    """
    weights = _groups(model, decay_biases=recipe.decay_biases)
    fused = device.type in ("cpu", "cuda")
    lr = torch.tensor(recipe.lr, device=device) if fused else recipe.lr
    common: dict[str, Any] = {"lr": lr, "weight_decay": recipe.weight_decay, "fused": fused}
    if recipe.optimizer == "sgd":
        nesterov = recipe.nesterov and recipe.momentum > 0
        sgd = _SGD(weights, momentum=recipe.momentum, nesterov=nesterov, **common)
        if recipe.momentum > 0:  # allocated now: SGD allocates lazily, and a skipped fp16 step never does
            for weight in model.parameters():
                sgd.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
        return sgd
    if device.type == "cuda":
        common["capturable"] = True  # may be recorded as a CUDA graph
    kind = {"adam": _Adam, "adamw": _AdamW}[recipe.optimizer]
    return kind(weights, betas=(recipe.betas[0], recipe.betas[1]), eps=recipe.eps, **common)


def _groups(model: nn.Module, *, decay_biases: bool) -> list[dict[str, Any]]:
    """Returns the optimizer's parameter groups: those with the recipe's weight decay and, perhaps, those without."""
    if decay_biases:
        return [{"params": list(model.parameters())}]
    decayed = [weight for weight in model.parameters() if weight.dim() >= 2]
    others = [weight for weight in model.parameters() if weight.dim() < 2]
    return [{"params": decayed}, {"params": others, "weight_decay": 0.0}]


def load_optimizer_state(optimizer: Optimizer, state: dict[int, dict[str, Any]]) -> None:
    """Loads the state of an optimizer, in the memory format that the weights have here.

    Args:
        optimizer: over the same parameters.
        state: the entry ``state`` of ``optimizer.state_dict()``.
    """
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
    for weight, values in optimizer.state.items():
        for key, value in values.items():
            if isinstance(value, Tensor) and value.shape == weight.shape:
                values[key] = torch.empty_like(weight, dtype=value.dtype).copy_(value)
