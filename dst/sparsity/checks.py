"""Validates the arguments of :class:`~dst.sparsity.DynamicSparsity`; each error message is one line."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from numbers import Integral, Real

import torch
from torch import nn


def check_fraction(name: str, value: float, *, above_zero: bool = False) -> None:
    """Checks that ``value`` is a number in [0, 1].

    Args:
        name: of the argument, for the message.
        value: the argument.
        above_zero: exclude 0.

    Raises:
        ValueError: if it is not.
    """
    if not isinstance(value, Real) or not 0 <= value <= 1 or (above_zero and value == 0):
        raise ValueError(f"{name}={value!r}: must lie in {'(' if above_zero else '['}0, 1]")


def check_integer(name: str, value: int, minimum: int, valid: str) -> None:
    """Checks that ``value`` is an integer of at least ``minimum``.

    Args:
        name: of the argument, for the message.
        value: the argument.
        minimum: smallest valid value.
        valid: describes the valid values, such as ``1 step or more``.

    Raises:
        ValueError: if it is not.
    """
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise ValueError(f"{name}={value!r}: must be a whole number")
    if value < minimum:
        raise ValueError(f"{name}={value!r}: must be {valid}")


def check_choice(name: str, value: str, valid: Iterable[str]) -> None:
    """Checks that ``value`` is one of ``valid``.

    Args:
        name: of the argument, for the message.
        value: the argument.
        valid: all valid values.

    Raises:
        ValueError: if it is not.
    """
    if value not in valid:
        raise ValueError(f"{name}={value!r}: choose {' or '.join(valid)}")


def check_optimizer(optimizer: torch.optim.Optimizer, weights: Iterable[nn.Parameter]) -> None:
    """Checks that the optimizer updates the weights once per step.

    Args:
        optimizer: the argument of that name.
        weights: the parameters to make sparse; the optimizer must hold at least one.

    Raises:
        TypeError: if it is not an optimizer.
        ValueError: if it holds none of the weights or its step needs a closure (LBFGS).
    """
    if not hasattr(optimizer, "param_groups"):
        raise TypeError(f"optimizer={optimizer!r}: give a torch optimizer over the model's parameters")
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise ValueError(
            f"optimizer={type(optimizer).__name__}: moves the weights several times within a step, where no mask is "
            "applied; use one whose step needs no closure, such as SGD or AdamW"
        )
    optimized = {parameter for group in optimizer.param_groups for parameter in group["params"]}
    if optimized.isdisjoint(weights):
        raise ValueError(
            f"optimizer={type(optimizer).__name__}: holds none of the weights to be sparse; build it from "
            "model.parameters() of the same model"
        )
