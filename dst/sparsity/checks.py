"""Checks of the values that :class:`~dst.sparsity.DynamicSparsity` is given: one line each, before any work."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from numbers import Integral, Real

import torch
from torch import nn


def check_share(name: str, value: float, *, above_zero: bool = False) -> None:
    """Raises ValueError unless ``value`` is a number in [0, 1], or in (0, 1] if ``above_zero``."""
    if not isinstance(value, Real) or not 0 <= value <= 1 or (above_zero and value == 0):
        raise ValueError(f"{name}={value!r}: must lie in {'(' if above_zero else '['}0, 1]")


def check_whole(name: str, value: int, least: int, valid: str) -> None:
    """Raises ValueError unless ``value`` is an integer of ``least`` or more; ``valid`` says so."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise ValueError(f"{name}={value!r}: must be a whole number")
    if value < least:
        raise ValueError(f"{name}={value!r}: must be {valid}")


def check_choice(name: str, value: str, valid: Iterable[str]) -> None:
    """Raises ValueError unless ``value`` is one of ``valid``."""
    if value not in valid:
        raise ValueError(f"{name}={value!r}: choose {' or '.join(valid)}")


def check_optimizer(optimizer: torch.optim.Optimizer, weights: Iterable[nn.Parameter]) -> None:
    """Checks that the optimizer trains the ``weights``, a step at a time.

    Raises:
        TypeError: for what is no optimizer.
        ValueError: for an optimizer of another model, or one whose step needs a closure (LBFGS).
    """
    if not hasattr(optimizer, "param_groups"):
        raise TypeError(f"optimizer={optimizer!r}: give a torch optimizer over the model's parameters")
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise ValueError(
            f"optimizer={type(optimizer).__name__}: moves the weights several times within a step, where no mask is "
            "applied; use one whose step needs no closure, such as SGD or AdamW"
        )
    held = {parameter for group in optimizer.param_groups for parameter in group["params"]}
    if held.isdisjoint(weights):
        raise ValueError(
            f"optimizer={type(optimizer).__name__}: holds none of the weights to be sparse; build it from "
            "model.parameters() of the same model"
        )
