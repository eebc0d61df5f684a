"""Thousands of configs in seconds: what Hydra would compose for each run, from a few compositions of their parts.

Hydra takes 0.1 s to compose a config. The overrides of a run fall into parts: its setup (model, dataset, recipe) and
one part for every other group or value. What all runs share is composed into a base. Every other distinct part is
composed upon that base once, several parts of different kinds at a time, and a run is the base with the top-level nodes
that its parts change. Where parts meet in one node Hydra composes the whole run. So many runs of each plan that every
distinct part is in one of them are composed by Hydra outright and compared; of whole numbers, such as seeds, only the
ends count as distinct.
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

from dst.config import checked, compose
from dst.errors import UserError
from launch.sweep import Overrides

Resolved = dict[str, Any]
Part = tuple[str, Overrides]
"""A kind and the overrides of that kind, in the order given."""


class RunMistake(UserError):
    """A mistake in one of many runs, which ``number`` tells."""

    def __init__(self, number: int, error: UserError) -> None:
        super().__init__(str(error))
        self.number = number


_SETUP = "setup"
_SETUP_NODES = ("model", "dataset", "recipe")
_NUMBER = re.compile(r"\w+=(0|[1-9]\d*)")


def compose_all(runs: Sequence[Overrides]) -> list[Resolved]:
    """Returns each run's resolved and checked config as plain containers, equal to :func:`compose_one` of each.

    Configs share nodes: they are not to be changed.

    Raises:
        RunMistake: for a mistake, with the first run that has it.
    """
    parts = [_parts(overrides) for overrides in runs]
    shared = [part for part in parts[0] if all(part in given for given in parts)] if parts else []
    try:
        base = compose_one(_overrides(shared))
    except UserError:  # a mistake, or right only together with the rest of a run
        return [_outright(runs, number) for number in range(len(runs))]
    unchanged: dict[Part, Resolved] = {part: {} for part in shared}
    changes = unchanged | _changes(shared, dict.fromkeys(itertools.chain.from_iterable(parts)))
    configs = [
        _assembled(base, [changes.get(part) for part in given]) or _outright(runs, number)
        for number, given in enumerate(parts)
    ]
    if any(_text(configs[number]) != _text(compose_one(runs[number])) for number in _cover(runs, parts, base)):
        return [_outright(runs, number) for number in range(len(runs))]  # parts that depend on each other: the slow way
    return configs


def _cover(runs: Sequence[Overrides], parts: Sequence[tuple[Part, ...]], base: Resolved) -> list[int]:
    """Returns numbers of few runs that have every distinct part between them, the same ones for the same plan.

    Of runs that bring equally many new parts the first is taken, in an order drawn by a hash of the plan: so the parts
    meet in other pairs in every plan.
    """
    by_kind: dict[str, list[Part]] = defaultdict(list)
    for part in dict.fromkeys(itertools.chain.from_iterable(parts)):
        by_kind[part[0]].append(part)
    missing = {
        part
        for kind, found in by_kind.items()
        for part in (_ends(found)[0] if isinstance(base.get(kind), int) else found)
    }
    order = list(range(len(runs)))
    random.Random(hashlib.sha256(_text(runs).encode()).digest()).shuffle(order)
    useful = {number: found for number in order if (found := missing.intersection(parts[number]))}
    chosen = []
    while missing:
        best = max(useful, key=lambda number: len(useful[number] & missing))
        chosen.append(best)
        missing -= useful[best]
    return chosen


@cache
def compose_one(overrides: Overrides) -> Resolved:
    """Returns what Hydra composes, resolved and checked, as plain containers; raises UserError for a mistake."""
    return asdict(checked(compose(overrides)))


def _outright(runs: Sequence[Overrides], number: int) -> Resolved:
    try:
        return compose_one(runs[number])
    except UserError as error:
        raise RunMistake(number, error) from error


def _parts(overrides: Overrides) -> tuple[Part, ...]:
    """Groups overrides by the first word of their key, those of the setup together."""
    parts: dict[str, Overrides] = {}
    for override in overrides:
        top = re.split(r"[./@=]", override.lstrip("+~"))[0]
        kind = _SETUP if top in _SETUP_NODES else top
        parts[kind] = (*parts.get(kind, ()), override)
    return tuple(parts.items())


def _overrides(parts: Sequence[Part]) -> Overrides:
    return tuple(itertools.chain.from_iterable(overrides for _, overrides in parts))


def _changes(shared: Sequence[Part], parts: Iterable[Part]) -> dict[Part, Resolved]:
    """Returns the top-level nodes that each part changes; leaves out parts that cannot be composed on their own."""
    by_kind: dict[str, list[Part]] = defaultdict(list)
    for part in parts:
        if part not in shared:
            by_kind[part[0]].append(part)
    changes: dict[Part, Resolved] = {}
    base = compose_one(_overrides(shared))
    for kind, found in by_kind.items():
        if isinstance(base.get(kind), int):
            by_kind[kind], between = _ends(found)
            changes |= between
    for bundle in itertools.zip_longest(*by_kind.values()):
        changes |= _changes_of(shared, [part for part in bundle if part is not None])
    return changes


def _ends(parts: list[Part]) -> tuple[list[Part], dict[Part, Resolved]]:
    """Of many whole numbers for one key, such as seeds, picks the ends to be composed; the rest is plain."""
    numbers = {part: int(part[1][0].partition("=")[2]) for part in parts if _NUMBER.fullmatch(part[1][0])}
    if len(numbers) < len(parts) or any(len(overrides) > 1 for _, overrides in parts) or len(parts) < 3:
        return parts, {}
    ordered = sorted(parts, key=numbers.__getitem__)
    return [ordered[0], ordered[-1]], {part: {part[0]: numbers[part]} for part in ordered[1:-1]}


def _changes_of(shared: Sequence[Part], bundle: Sequence[Part]) -> dict[Part, Resolved]:
    """Returns what each part of a bundle changes; one by one if that cannot be told from all of them at a time."""
    owners = {node: part for part in bundle for node in (_SETUP_NODES if part[0] == _SETUP else (part[0],))}
    base = compose_one(_overrides(shared))
    try:
        config = compose_one(_overrides((*shared, *bundle)))
    except UserError:
        changed = None
    else:
        changed = {node: value for node, value in config.items() if _text(value) != _text(base.get(node))}
        if changed.keys() <= owners.keys():
            return {part: {node: changed[node] for node in changed if owners[node] == part} for part in bundle}
    if len(bundle) == 1:
        return {} if changed is None else {bundle[0]: changed}
    return {part: nodes for part in bundle for nodes in _changes_of(shared, [part]).values()}


def _assembled(base: Resolved, changes: Sequence[Resolved | None]) -> Resolved | None:
    """Returns the base with the changes of a run's parts; None if two of them meet or one is not known."""
    config = dict(base)
    touched: set[str] = set()
    for nodes in changes:
        if nodes is None or touched & nodes.keys():
            return None
        touched |= nodes.keys()
        config |= nodes
    return config


def _text(node: Any) -> str:
    return json.dumps(node, sort_keys=True)
