"""Creates criteria, growth rules and schedules by their names in the config groups."""

from __future__ import annotations

from typing import Any, TypeVar

from dst.errors import UserError
from dst.sparsity.criteria import Criterion
from dst.sparsity.growth import Growth
from dst.sparsity.schedule import Schedule

T = TypeVar("T")


class UnknownChoice(UserError, ValueError):
    """An unknown name or parameter: a UserError on the command line, a ValueError in a user's own training loop."""


def make_criterion(name: str, **params: Any) -> Criterion:
    """Returns the criterion ``name`` of the config group ``criterion``, e.g. ``make_criterion("mest", lam=0.1)``.

    Args:
        name: file name in ``conf/criterion`` without ``.yaml``.
        params: parameters that replace those of the file.

    Raises:
        UnknownChoice: a ValueError, for an unknown name or parameter; the message lists the valid ones.
    """
    criterion: Criterion = _make("criterion", name, params)
    return criterion


def make_growth(name: str, **params: Any) -> Growth:
    """Returns the growth rule ``name`` of the config group ``growth``.

    Args:
        name: file name in ``conf/growth`` without ``.yaml``.
        params: parameters that replace those of the file.

    Raises:
        UnknownChoice: a ValueError, for an unknown name or parameter; the message lists the valid ones.
    """
    growth: Growth = _make("growth", name, params)
    return growth


def make_schedule(name: str, **params: Any) -> Schedule:
    """Returns the schedule ``name`` of the config group ``prune_fraction``.

    Args:
        name: file name in ``conf/prune_fraction`` without ``.yaml``.
        params: parameters that replace those of the file, such as ``initial``.

    Raises:
        UnknownChoice: a ValueError, for an unknown name or parameter; the message lists the valid ones.
    """
    schedule: Schedule = _make("prune_fraction", name, params)
    return schedule


def resolve(group: str, kind: type[T], value: T | str) -> T:
    """Returns ``value``, or the object that it names in a config group.

    Args:
        group: config group, ``criterion``, ``growth`` or ``prune_fraction``.
        kind: class that the object must be an instance of.
        value: an instance of ``kind``, or a name, which gives one with default parameters.

    Raises:
        UnknownChoice: for an unknown name.
        TypeError: if ``value`` is neither.
    """
    component = _make(group, value, {}) if isinstance(value, str) else value
    if not isinstance(component, kind):
        from dst.config.tree import options

        names = ", ".join(options(group))
        raise TypeError(f"{group}={value!r}: give a {kind.__name__} or the name of one: {names}")
    return component


def _make(group: str, name: str, params: dict[str, Any]) -> Any:
    from dst.config.components import build  # imported here: needs Hydra, which a loop without names does not
    from dst.config.tree import component

    try:
        return build(group, component(group, name) | params)
    except UserError as error:
        raise UnknownChoice(str(error)) from error
