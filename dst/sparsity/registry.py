"""Criteria, growth rules and schedules by the names the config groups give them."""

from __future__ import annotations

from typing import Any, TypeVar

from dst.errors import UserError
from dst.sparsity.criteria import Criterion
from dst.sparsity.growth import Growth
from dst.sparsity.schedule import Schedule

T = TypeVar("T")


class UnknownChoice(UserError, ValueError):
    """A name or parameter there is not: the user's mistake in a command, a ValueError in anybody's own loop."""


def make_criterion(name: str, **params: Any) -> Criterion:
    """Returns the criterion ``name`` of the config group ``criterion``, e.g. ``make_criterion("mest", lam=0.1)``.

    Raises:
        UnknownChoice: a ValueError, for a name or parameter there is not; it says which there are.
    """
    criterion: Criterion = _make("criterion", name, params)
    return criterion


def make_growth(name: str, **params: Any) -> Growth:
    """Returns the growth rule ``name`` of the config group ``growth``; raises UnknownChoice for an unknown one."""
    growth: Growth = _make("growth", name, params)
    return growth


def make_schedule(name: str, **params: Any) -> Schedule:
    """Returns the schedule ``name`` of the group ``prune_fraction``; raises UnknownChoice for an unknown one."""
    schedule: Schedule = _make("prune_fraction", name, params)
    return schedule


def named_or_given(group: str, kind: type[T], value: T | str) -> T:
    """Returns ``value``, an object of ``kind``, or what ``value`` names in the config group.

    Raises:
        UnknownChoice: for an unknown name.
        TypeError: for anything else.
    """
    made = _make(group, value, {}) if isinstance(value, str) else value
    if not isinstance(made, kind):
        from dst.config.tree import options

        names = ", ".join(options(group))
        raise TypeError(f"{group}={value!r}: give a {kind.__name__} or the name of one: {names}")
    return made


def _make(group: str, name: str, params: dict[str, Any]) -> Any:
    from dst.config.components import build
    from dst.config.tree import component  # which read YAML; who names nothing needs no Hydra

    try:
        return build(group, component(group, name) | params)
    except UserError as error:
        raise UnknownChoice(str(error)) from error
