"""Composes thousands of configs in seconds, equal to what Hydra composes for each run.

Hydra takes 0.1 s per config. So the overrides of each run are split into groups: one for the setup (model, dataset,
recipe, learning-rate schedule) and one for each other top-level key. The groups that all runs share give the base
config. Each other distinct group is composed once on top of the base, several groups with different keys in one
composition; a run's config is the base with the top-level nodes that its groups change. If two groups change the same
node, Hydra composes the run.

As a check, enough runs are composed by Hydra and compared that each distinct group occurs in one of them. Of integer
values, such as seeds, only the smallest and the largest count as distinct.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import cache
from typing import Any

from dst.config import compose
from dst.config.checks import checked_alone
from dst.errors import UserError

from .sweep import Overrides

Resolved = dict[str, Any]
GroupOverrides = tuple[str, Overrides]
"""A kind (``setup`` or a top-level key) and the overrides of that kind, in the order given."""


class RunMistake(UserError):
    """A mistake in one of many runs, whose index is ``number``."""

    def __init__(self, number: int, error: UserError) -> None:
        super().__init__(str(error))
        self.number = number


_SETUP = "setup"
_SETUP_NODES = ("model", "dataset", "recipe", "lr_schedule")
"""Models choose a recipe and recipes a learning-rate schedule by their defaults lists."""

_NUMBER = re.compile(r"\w+=(0|[1-9]\d*)")


def compose_all(runs: Sequence[Overrides]) -> list[Resolved]:
    """Returns each run's resolved and checked config as plain containers, equal to :func:`compose_one` of each.

    The configs share nodes and must not be modified.

    Raises:
        RunMistake: for the first run that is not valid.
    """
    groups = [_group_overrides(overrides) for overrides in runs]
    shared = [group for group in groups[0] if all(group in given for given in groups)] if groups else []
    try:
        base = compose_one(_flatten(shared))
    except UserError:  # a mistake, or valid only together with other overrides of a run
        return [_compose_directly(runs, number) for number in range(len(runs))]
    unchanged: dict[GroupOverrides, Resolved] = {group: {} for group in shared}
    changes = unchanged | _changes(shared, dict.fromkeys(itertools.chain.from_iterable(groups)))
    configs = [
        _assemble(base, [changes.get(group) for group in given]) or _compose_directly(runs, number)
        for number, given in enumerate(groups)
    ]
    if any(
        _canonical_json(configs[number]) != _canonical_json(compose_one(runs[number]))
        for number in _covering_runs(runs, groups, base)
    ):
        return [_compose_directly(runs, number) for number in range(len(runs))]  # groups interact
    return configs


def _covering_runs(
    runs: Sequence[Overrides], groups: Sequence[tuple[GroupOverrides, ...]], base: Resolved
) -> list[int]:
    """Returns indices of few runs that together contain every distinct group; deterministic for a plan.

    Greedy set cover. Ties are broken in an order seeded by a hash of the plan, so that each plan checks other pairs of
    groups.
    """
    by_kind: dict[str, list[GroupOverrides]] = defaultdict(list)
    for group in dict.fromkeys(itertools.chain.from_iterable(groups)):
        by_kind[group[0]].append(group)
    uncovered = {
        group
        for kind, found in by_kind.items()
        for group in (_endpoints(found)[0] if isinstance(base.get(kind), int) else found)
    }
    order = list(range(len(runs)))
    random.Random(hashlib.sha256(_canonical_json(runs).encode()).digest()).shuffle(order)
    useful = {number: found for number in order if (found := uncovered.intersection(groups[number]))}
    chosen = []
    while uncovered:
        best = max(useful, key=lambda number: len(useful[number] & uncovered))
        chosen.append(best)
        uncovered -= useful[best]
    return chosen


@cache
def compose_one(overrides: Overrides) -> Resolved:
    """Returns the config that Hydra composes, resolved and checked, as plain containers; raises UserError.

    A parent is not looked at: ``parent_id`` is None.
    """
    return asdict(checked_alone(compose(overrides)))


def _compose_directly(runs: Sequence[Overrides], number: int) -> Resolved:
    try:
        return compose_one(runs[number])
    except UserError as error:
        raise RunMistake(number, error) from error


def _group_overrides(overrides: Overrides) -> tuple[GroupOverrides, ...]:
    """Groups overrides by top-level key; those of the setup form one group."""
    groups: dict[str, Overrides] = {}
    for override in overrides:
        top = re.split(r"[./@=]", override.lstrip("+~"))[0]
        kind = _SETUP if top in _SETUP_NODES else top
        groups[kind] = (*groups.get(kind, ()), override)
    return tuple(groups.items())


def _flatten(groups: Sequence[GroupOverrides]) -> Overrides:
    return tuple(itertools.chain.from_iterable(overrides for _, overrides in groups))


def _changes(shared: Sequence[GroupOverrides], groups: Iterable[GroupOverrides]) -> dict[GroupOverrides, Resolved]:
    """Returns the top-level nodes that each group changes; omits groups that cannot be composed on their own."""
    by_kind: dict[str, list[GroupOverrides]] = defaultdict(list)
    for group in groups:
        if group not in shared:
            by_kind[group[0]].append(group)
    changes: dict[GroupOverrides, Resolved] = {}
    base = compose_one(_flatten(shared))
    for kind, found in by_kind.items():
        if isinstance(base.get(kind), int):
            by_kind[kind], between = _endpoints(found)
            changes |= between
    for bundle in itertools.zip_longest(*by_kind.values()):
        changes |= _changes_of(shared, [group for group in bundle if group is not None])
    return changes


def _endpoints(groups: list[GroupOverrides]) -> tuple[list[GroupOverrides], dict[GroupOverrides, Resolved]]:
    """Splits integer values of one key, such as seeds, into the two ends, to be composed, and the nodes of the rest."""
    numbers = {group: int(group[1][0].partition("=")[2]) for group in groups if _NUMBER.fullmatch(group[1][0])}
    if len(numbers) < len(groups) or any(len(overrides) > 1 for _, overrides in groups) or len(groups) < 3:
        return groups, {}
    ordered = sorted(groups, key=numbers.__getitem__)
    return [ordered[0], ordered[-1]], {group: {group[0]: numbers[group]} for group in ordered[1:-1]}


def _changes_of(shared: Sequence[GroupOverrides], bundle: Sequence[GroupOverrides]) -> dict[GroupOverrides, Resolved]:
    """Returns the nodes that each group of a bundle changes; composes them one by one if they interact."""
    owners = {node: group for group in bundle for node in (_SETUP_NODES if group[0] == _SETUP else (group[0],))}
    base = compose_one(_flatten(shared))
    try:
        config = compose_one(_flatten((*shared, *bundle)))
    except UserError:
        changed = None
    else:
        changed = {
            node: value for node, value in config.items() if _canonical_json(value) != _canonical_json(base.get(node))
        }
        if changed.keys() <= owners.keys():
            return {group: {node: changed[node] for node in changed if owners[node] == group} for group in bundle}
    if len(bundle) == 1:
        return {} if changed is None else {bundle[0]: changed}
    return {group: nodes for group in bundle for nodes in _changes_of(shared, [group]).values()}


def _assemble(base: Resolved, changes: Sequence[Resolved | None]) -> Resolved | None:
    """Returns the base with the changes of a run's groups; None if two change the same node or one is unknown."""
    config = dict(base)
    touched: set[str] = set()
    for nodes in changes:
        if nodes is None or touched & nodes.keys():
            return None
        touched |= nodes.keys()
        config |= nodes
    return config


def _canonical_json(node: Any) -> str:
    return json.dumps(node, sort_keys=True)
