"""Jaccard indices of the weights that criteria remove and of the masks they end with."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import reduce
from operator import and_, or_
from typing import Any

import numpy as np
import pandas as pd

from dst.run.choices import config_key

from ..compare import ended_early, select_comparable, trained_alike
from ..style import legend_order
from .sets import Sets, jaccard, log_of, read_end, read_records

INIT = "init"
"""The row of :func:`end_matrices` of the masks at initialization."""


@dataclass(frozen=True)
class Matrix:
    """Mean Jaccard indices of one setup at one density.

    Attributes:
        setup: ``model/dataset``, followed by a further choice that varies.
        density: overall density.
        prune_fraction: the first one of the schedule.
        names: criteria, of the rows and columns.
        mean: over layers and seeds.
        std: see :func:`first_update_matrices` and :func:`end_matrices`; NaN with one seed.
        chance: what to compare with: the mean index of random sets; NaN if unknown.
        seeds: number of seeds.
    """

    setup: str
    density: float
    prune_fraction: float
    names: list[str]
    mean: np.ndarray
    std: np.ndarray
    chance: float
    seeds: int


def seeds_text(counts: Iterable[int]) -> str:
    """Returns numbers of seeds in words: ``one seed``, ``3 seeds``, ``2 to 3 seeds``."""
    least, most = min(counts := list(counts)), max(counts)
    return ("one seed" if most == 1 else f"{most} seeds") if least == most else f"{least} to {most} seeds"


def first_update_matrices(runs: pd.DataFrame) -> tuple[list[Matrix], list[str]]:
    """Compares what the criteria remove at the first topology update (Figures 6a, 17 and 20).

    Until then runs of one seed share their state, so that each run's own choice may be compared with the others'.
    ``mean`` is over seeds, then over layers; ``std`` is over the seeds of each layer, then its mean over layers.
    ``chance`` is that of the criterion ``random`` in runs of different seeds.

    Args:
        runs: of a collection; of a setup, those that ended at their first update are preferred.

    Returns:
        The matrices, and notes on runs left out.
    """
    ended = ended_early(runs)
    chosen = runs[ended | ~ended.groupby(runs["setup"]).transform("any")]
    return _matrices(trained_alike(chosen), _removed_first, _over_seeds_first, "random")


def end_matrices(runs: pd.DataFrame) -> tuple[list[Matrix], list[str]]:
    """Compares the masks at the end of training with each other and the initial ones (Figures 6b and 21).

    ``mean`` and ``std`` are those of the seeds' means over layers. ``chance`` is that of the initial masks of different
    seeds.

    Args:
        runs: of a collection; those that ended at their first update do not count.

    Returns:
        The matrices, and notes on runs left out.
    """
    return _matrices(runs[~ended_early(runs)], _masks_at_ends, _over_layers_first, INIT)


def end_notes(runs: pd.DataFrame) -> list[str]:
    """Returns the notes on runs that :func:`over_training` and :func:`shared_shares` leave out."""
    return _with_probe(runs[~ended_early(runs)])[1]


def over_training(runs: pd.DataFrame) -> pd.DataFrame:
    """Compares, along each run, what its criterion removes with what each other one would (Figure 18).

    Args:
        runs: of a collection.

    Returns:
        Columns ``setup density criterion other step mean std seeds``; the mean is over layers, then over seeds.
    """
    rows = []
    for run in _with_probe(runs[~ended_early(runs)])[0].itertuples():
        for step, sets in read_records(run.path):
            own = sets.pop("removed", {})
            for other in set(sets) - {"active", run.criterion} if own else ():
                value = jaccard(own, sets[other]).mean()
                rows.append((run.setup, run.density, run.line, other, step, run.seed, value))
    keys = ["setup", "density", "criterion", "other", "step"]
    found = pd.DataFrame(rows, columns=[*keys, "seed", "jaccard"])
    return found.groupby(keys, as_index=False)["jaccard"].agg(mean="mean", std="std", seeds="count")


def shared_shares(runs: pd.DataFrame) -> pd.DataFrame:
    """Counts the weights that every criterion keeps, and those that none does, at the end of training (Figure 19).

    Args:
        runs: of a collection.

    Returns:
        Columns ``setup density seed criteria kept removed``: shares of the active and of the inactive weights. Seeds
        without a run of some criterion are left out.
    """
    rows = []
    for (setup, density), here in _groups(_with_probe(runs[~ended_early(runs)])[0]):
        ends = {key: sets for key, sets in _by_seed(here, lambda run: {run.line: read_end(run.path)}).items() if sets}
        lines = legend_order(here["line"])
        for seed, sets in ends.items():
            if len(sets) < len(lines):
                continue
            masks = [*sets.values()]
            size = int(here["parameters_sparsifiable"].iloc[0])
            active = sum(mask.bit_count() for mask in masks[0].values())
            kept = sum(reduce(and_, (mask[layer] for mask in masks)).bit_count() for layer in masks[0])
            ever = sum(reduce(or_, (mask[layer] for mask in masks)).bit_count() for layer in masks[0])
            rows.append((setup, density, seed, len(lines), kept / active, (size - ever) / max(1, size - active)))
    return pd.DataFrame(rows, columns=["setup", "density", "seed", "criteria", "kept", "removed"])


def _with_probe(runs: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Returns the comparable runs that have the probe's log, and notes on those left out.

    They have a ``line``. Growth, update period and prune fraction become part of the setup where they vary within it:
    a run has sets of all criteria, which are those of its own choices.
    """
    dynamic = runs[(runs["method"] == "dst") & runs["path"].notna()]
    there = np.array([log_of(path).exists() for path in dynamic["path"]], dtype=bool)
    parts = [select_comparable(part) for _, part in dynamic[there].groupby("prune_fraction_initial")]
    if not parts:
        return dynamic[there].assign(line=None), []
    found = pd.concat([part.runs for part in parts], ignore_index=True)
    for name in ("growth", "update_period", "prune_fraction_initial"):
        varies = found.groupby("setup")[name].transform("nunique") > 1
        value = f", {config_key(name) or name}=" + found[name].astype("str")
        found = found.assign(setup=found["setup"].where(~varies, found["setup"] + value))
    return found, list(dict.fromkeys(note for part in parts for note in part.all_notes))


def _groups(runs: pd.DataFrame) -> Iterator[tuple[tuple[str, float], pd.DataFrame]]:
    groups: Any = runs.groupby(["setup", "density"], sort=False)
    return iter(groups)


def _by_seed(runs: pd.DataFrame, sets_of: Callable[[Any], dict[str, Sets]]) -> dict[int, dict[str, Sets]]:
    """Returns the sets of a group of runs by seed and name."""
    found: dict[int, dict[str, Sets]] = {}
    for run in runs.itertuples():
        sets = {name: layers for name, layers in sets_of(run).items() if layers}
        found.setdefault(int(run.seed), {}).update(sets)
    return found


def _matrices(
    runs: pd.DataFrame,
    sets_of: Callable[[Any], dict[str, Sets]],
    average: Callable[[np.ndarray], tuple[float, float]],
    reference: str,
) -> tuple[list[Matrix], list[str]]:
    chosen, notes = _with_probe(runs)
    found = []
    for (setup, density), here in _groups(chosen):
        sets = {seed: by_name for seed, by_name in _by_seed(here, sets_of).items() if by_name}
        named = {name for by_name in sets.values() for name in by_name}
        if not named:
            continue
        names = legend_order(named - {INIT}) + [INIT] * (INIT in named)
        mean, std = np.full((2, len(names), len(names)), np.nan)
        for i, j in itertools.combinations_with_replacement(range(len(names)), 2):
            both = [s for s in sets.values() if names[i] in s and names[j] in s]
            if both:
                values = np.stack([jaccard(s[names[i]], s[names[j]]) for s in both])
                mean[[i, j], [j, i]], std[[i, j], [j, i]] = average(values)
        random = [by_name[reference] for by_name in sets.values() if reference in by_name]
        indices = [jaccard(*pair) for pair in itertools.combinations(random, 2)]
        chance = float(np.mean(indices)) if indices else np.nan
        fraction = float(here["prune_fraction_initial"].iloc[0])
        found.append(Matrix(setup, density, fraction, names, mean, std, chance, len(sets)))
    return found, notes


def _over_seeds_first(values: np.ndarray) -> tuple[float, float]:
    """Returns mean and std of indices ``(seeds, layers)`` as Figures 6a and 20 have them."""
    return float(values.mean()), _mean_std(values)


def _over_layers_first(values: np.ndarray) -> tuple[float, float]:
    """Returns mean and std of indices ``(seeds, layers)`` as Figures 6b and 21 have them."""
    seeds = values.mean(axis=1, keepdims=True)
    return float(seeds.mean()), _mean_std(seeds)


def _mean_std(values: np.ndarray) -> float:
    return float(values.std(axis=0, ddof=1).mean()) if len(values) > 1 else np.nan


def _removed_first(run: Any) -> dict[str, Sets]:
    """Returns what each criterion removes at the first topology update, that of the run by its line."""
    for step, sets in read_records(run.path):
        if step == run.update_period:
            others = {name: layers for name, layers in sets.items() if name not in ("active", "removed")}
            return {**others, run.line: sets["removed"]} if "removed" in sets else {}
    return {}


def _masks_at_ends(run: Any) -> dict[str, Sets]:
    """Returns the mask at the end by the run's line, and the initial one."""
    initial = [sets["active"] for step, sets in read_records(run.path, last=1) if step == 1]
    return {run.line: read_end(run.path), INIT: initial[0] if initial else {}}
