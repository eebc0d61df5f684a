"""Criteria, growth rules and schedules by the names the config groups give them."""

from __future__ import annotations

from typing import Any

from dst.components import build, component
from dst.sparsity.criteria import Criterion
from dst.sparsity.growth import Growth
from dst.sparsity.schedule import Schedule


def make_criterion(name: str, **params: Any) -> Criterion:
    """Returns the criterion ``name`` of the config group ``criterion``, e.g. ``make_criterion("mest", lam=0.1)``.

    Raises:
        UserError: for a name or parameter there is not; it says which there are.
    """
    criterion: Criterion = build("criterion", component("criterion", name) | params, Criterion)
    return criterion


def make_growth(name: str, **params: Any) -> Growth:
    """Returns the growth rule ``name`` of the config group ``growth``; raises UserError for an unknown one."""
    growth: Growth = build("growth", component("growth", name) | params, Growth)
    return growth


def make_schedule(name: str, **params: Any) -> Schedule:
    """Returns the schedule ``name`` of the group ``prune_fraction``; raises UserError for an unknown one.

    ``stop_at``, which the group has too, is not the schedule's but :class:`~dst.sparsity.DynamicSparsity`'s.
    """
    node = component("prune_fraction", name) | params
    node.pop("stop_at", None)
    schedule: Schedule = build("prune_fraction", node, Schedule)
    return schedule
