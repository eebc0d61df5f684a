"""Chooses the epochs of runs so that their trainings take equally many floating-point operations.

``cost=0.5`` beside a run's overrides means: half of the operations of a dense training of ``recipe.epochs`` epochs of
the same model and data, counted as ``flops_training`` is (see :mod:`dst.training.flops`). Sparser networks train
longer.
"""

from __future__ import annotations

import bisect
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import pandas as pd

from dst.config.components import resolve
from dst.config.identity import method_of
from dst.config.tree import component, options
from dst.errors import UserError
from dst.procedures import planned_phases
from dst.training.phase import Phase

from .length import TrainSamples
from .sweep import Overrides, Point, merge_overrides

if TYPE_CHECKING:
    from dst.training.flops import ForwardFlops

KEY = "cost"
_MOST_EPOCHS = 1_000_000


@dataclass(frozen=True)
class Chosen:
    """The epochs that a cost leads to.

    Attributes:
        overrides: what one types for the run, with ``cost`` and without ``seed``.
        key: what holds the epochs: ``procedure.budget`` for a procedure that divides them, else ``recipe.epochs``.
        epochs: of the whole run.
        cost: of that many epochs, in dense trainings; at most the one asked for.
    """

    overrides: Overrides
    key: str
    epochs: int
    cost: float


def with_epochs(points: Sequence[Point]) -> tuple[list[Point], list[Chosen]]:
    """Replaces ``cost`` in the overrides of runs by the number of epochs that it pays for.

    Args:
        points: runs; those without ``cost`` stay as they are.

    Returns:
        the runs in the same order, and what was chosen, once for all seeds.

    Raises:
        UserError: for a cost that is no positive number, one that does not hold an epoch of each phase, or data of
            unknown size.
    """
    kinds: dict[Overrides, Point] = {}
    for point in points:
        if _value(point.overrides, KEY) is not None:
            kinds.setdefault(_without(point.overrides, "seed"), point)
    if not kinds:
        return list(points), []
    chosen = dict(zip(kinds, _choices(list(kinds), list(kinds.values())), strict=True))
    found = []
    for point in points:
        if choice := chosen.get(_without(point.overrides, "seed")):
            typed = merge_overrides(_without(point.overrides, KEY), [f"{choice.key}={choice.epochs}"])
            point = replace(point, overrides=typed)
        found.append(point)
    return found, list(chosen.values())


def cost_text(chosen: Sequence[Chosen]) -> str:
    """Returns the epochs of each kind of run as a table, a column for each cost and density."""
    shared = set.intersection(*(set(choice.overrides) for choice in chosen)) - {"density", KEY}
    columns = {KEY: "cost", "density": "density"}
    rows = []
    for choice in chosen:
        own = [override for override in choice.overrides if override not in shared or len(chosen) == 1]
        kind = " ".join(override for override in own if override.partition("=")[0] not in columns)
        at = {key: _value(choice.overrides, key) or "" for key in columns}
        rows.append({"epochs of": kind, **at, "epochs": str(choice.epochs)})
    table = pd.DataFrame(rows).set_index(["epochs of", *columns])["epochs"]
    table = table.unstack(list(columns), sort=False, fill_value="")
    least = min(choice.cost / float(_value(choice.overrides, KEY) or 1) for choice in chosen)
    return f"{table.to_string()}\na cost is in dense trainings of recipe.epochs; {least:.1%} of it or more is spent"


def _choices(kinds: Sequence[Overrides], points: Sequence[Point]) -> Iterator[Chosen]:
    from .composition import RunMistake, compose_all

    try:
        configs = compose_all([_with_budget(overrides) for overrides in kinds])
    except RunMistake as mistake:
        raise points[mistake.number].with_origin(mistake) from mistake
    samples = TrainSamples()
    for overrides, point, config in zip(kinds, points, configs, strict=True):
        try:
            yield _choice(overrides, config, samples(config))
        except UserError as error:
            raise point.with_origin(error) from error


def _choice(overrides: Overrides, config: Mapping[str, Any], samples: int | None) -> Chosen:
    given, dataset, length = _value(overrides, KEY), config["dataset"], config["recipe"]["epochs"]
    try:
        wanted = float(given or "")
    except ValueError:
        wanted = math.nan
    if not 0 < wanted < math.inf:
        raise UserError(f"{KEY}={given}: must be above 0, in dense trainings of recipe.epochs")
    if budget := _value(overrides, "procedure.budget"):
        raise UserError(f"{KEY}={given}: chooses procedure.budget; leave it out (procedure.budget={budget})")
    if not length:
        raise UserError(f"{KEY}={given}: is a multiple of recipe.epochs, which is 0")
    if config["procedure"].get("cycles") == "auto":
        raise UserError(f"{KEY}={given}: procedure.cycles=auto chooses the epochs itself; give a number of cycles")
    for missing in (key for key in ("shape", "num_classes") if not dataset[key]):
        raise UserError(f"{KEY}={given}: dataset.{missing} is not known before the data are read; give it")
    if samples is None:
        raise UserError(
            f"{KEY}={given}: dataset={dataset['name']} has no known size before it is prepared; prepare it with: "
            "python -m dst.data prepare, and the same overrides"
        )
    chosen = {key: config["sparsity"][key] for key in ("include", "exclude")}
    network = _network(json.dumps([config["model"], dataset, config["task"], chosen], sort_keys=True))
    dense = 3 * network.forward.total * samples * length
    group, key = ("procedure", "budget") if "budget" in config["procedure"] else ("recipe", "epochs")

    def cost(epochs: int) -> float:
        return _flops({**config, group: {**config[group], key: epochs}}, network, samples) / dense

    def enough(epochs: int) -> bool:
        try:
            return cost(epochs) > 0
        except ValueError:  # of the procedure, whose phases have no room
            return False

    fewest = bisect.bisect_left(range(_MOST_EPOCHS), True, lo=1, key=enough)
    most = bisect.bisect_right(range(_MOST_EPOCHS), wanted * (1 + 1e-9), lo=fewest, key=cost) - 1
    if most == _MOST_EPOCHS - 1:
        raise UserError(f"{KEY}={given}: pays for more than {_MOST_EPOCHS:,} epochs; give less")
    if most < fewest:
        raise UserError(
            f"{KEY}={given}: procedure={config['procedure']['name']} takes {fewest} epochs here, which cost "
            f"{cost(fewest):.3g} dense trainings of recipe.epochs={length}; raise either"
        )
    return Chosen(overrides, f"{group}.{key}", most, cost(most))


def _with_budget(overrides: Overrides) -> Overrides:
    """Returns the overrides with any budget in place of the cost, so that what needs one can be composed."""
    name, cycles = _value(overrides, "procedure") or "dst", _value(overrides, "procedure.cycles")
    divides = name in options("procedure") and "budget" in component("procedure", name) and cycles != "auto"
    return (*_without(overrides, KEY), *([f"procedure.budget={_MOST_EPOCHS}"] if divides else []))


@dataclass(frozen=True)
class _Network:
    """The operations of a model's forward pass and the shapes of its sparsifiable weights, by parameter name."""

    forward: ForwardFlops
    shapes: Mapping[str, Sequence[int]]


@cache
def _network(key: str) -> _Network:
    from dst.models import build_model
    from dst.sparsity import sparsifiable_weights
    from dst.training.flops import count_forward

    node, dataset, task, chosen = json.loads(key)
    shape, name = tuple(dataset["shape"]), dataset["name"]
    model = build_model(node, input_shape=shape, num_classes=dataset["num_classes"], seed=0, dataset=name, task=task)
    shapes = {name: tuple(weight.shape) for name, weight in sparsifiable_weights(model, **chosen).items()}
    return _Network(count_forward(model, shape), shapes)


def _flops(config: Mapping[str, Any], network: _Network, samples: int) -> float:
    """Returns the operations of a planned training, as :func:`dst.training.flops.training_flops` will count them.

    Masks chosen by a score or pruned across all layers are taken to have the same density in every layer.
    """
    method = method_of(config)
    drawn = config["initial_mask"]["name"] == "random" and method != "iterative"
    total = 0.0
    for number, phase in enumerate(planned_phases(config)):
        distribution = config["distribution"]["name"] if drawn and not (number and method == "sculpt") else "uniform"
        densities = _mean_densities(phase, network, distribution) if phase.density else {}
        sparse = network.forward.at(densities)
        total += 3 * sparse * samples * phase.epochs
        if method == "dst":
            total += _of_inactive_weights(config, phase, network.forward.total, sparse, samples)
    return total


def _mean_densities(phase: Phase, network: _Network, distribution: str) -> dict[str, float]:
    """Returns the mean density of each sparse weight over a phase's steps."""
    from dst.sparsity import layer_densities

    assert phase.density is not None
    found = layer_densities(list(network.shapes.values()), phase.density, distribution)
    if phase.updates == "gradual":
        start, stop = phase.prune_span  # between them (1 − τ)³ has the mean 1/4
        found = [start + (stop - start) * (1 + 3 * density) / 4 + (1 - stop) * density for density in found]
    return dict(zip(network.shapes, found, strict=True))


def _of_inactive_weights(config: Mapping[str, Any], phase: Phase, dense: float, sparse: float, samples: int) -> float:
    """Returns the operations of gradients that a phase with topology updates takes beyond a static network's."""
    batch, held = config["recipe"]["batch_size"], config["growth"].get("sample") or 0
    drawn = config["sparsity"]["update_batch_size"] or 0
    if config["sparsity"]["momentum"] == "dense":
        return (dense - sparse) * samples * phase.epochs
    by_batch = getattr(resolve("growth", config["growth"]), "signal", None) == "gradient" and not held
    criterion = resolve("criterion", config["criterion"])
    second = getattr(criterion, "signal", None) == "hessian_gradient"
    scored = not second and getattr(criterion, "uses_gradient", True)
    stop_step = config["prune_fraction"]["stop_at"] * math.ceil(samples / batch) * phase.epochs
    updates = max(0, math.ceil(round(stop_step / config["update_period"]["steps"], 6)) - 1)
    by_hessian = updates * (2 * sparse + dense) * 4 * (drawn or batch) if second else 0
    if by_batch:
        return by_hessian + updates * ((2 * sparse + dense) * drawn if drawn else (dense - sparse) * batch)
    return by_hessian + updates * ((2 * sparse + dense) * held + (3 * sparse * drawn if scored else 0))


def _value(overrides: Overrides, key: str) -> str | None:
    return next((value for name, _, value in (item.partition("=") for item in overrides) if name == key), None)


def _without(overrides: Overrides, key: str) -> Overrides:
    return tuple(override for override in overrides if override.partition("=")[0] != key)
