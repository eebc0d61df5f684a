"""What a hyper-parameter search looks for, and where: described in ``conf/search/*.yaml`` or on the command line."""

from __future__ import annotations

import importlib.util
import itertools
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from dst.config.limits import check_limits, limited
from dst.errors import UserError, unknown
from dst.files.atomic import atomic_file
from dst.run.layout import SEARCH, sweep_dir

from ..sweep import Overrides, expand_overrides, merge_overrides, sweep_syntax
from .space import distribution, parse

METRICS = {
    "best_val_acc": ("val_acc", "maximize"),
    "val_acc": ("val_acc", "maximize"),
    "val_loss": ("val_loss", "minimize"),
    "train_loss": ("train_loss", "minimize"),
}
"""Keys of ``summary.json`` that can be searched for: the key of an epoch in ``metrics.jsonl``, and the direction."""

SAMPLERS = {"tpe": "TPESampler", "random": "RandomSampler", "cmaes": "CmaEsSampler", "grid": "RandomSampler"}
"""Optuna's classes; the points of a grid are enqueued, whatever the sampler."""
PRUNERS = {
    "none": "NopPruner",
    "median": "MedianPruner",
    "percentile": "PercentilePruner",
    "halving": "SuccessiveHalvingPruner",
    "hyperband": "HyperbandPruner",
    "threshold": "ThresholdPruner",
}
_POSITIVE = limited(lambda value: value > 0, "must be above 0")
_GROWS = ("trials", "parallel", "each")
"""What may change once a search has begun."""


def _explain_metric(name: str) -> str:
    if name.startswith("test_"):
        return f"the test set is no validation set; choose one of {', '.join(METRICS)}"
    return unknown(name, METRICS)


@dataclass
class Search:
    """A search; ``docs/search.md`` explains each setting.

    Attributes:
        overrides: of all runs.
        space: for each searched key ``interval(a,b)``, ``tag(log,interval(a,b))``, ``int(interval(a,b))`` or choices.
        each: axes of which every combination is searched on its own.
        metric: key of ``summary.json``, one of :data:`METRICS`.
        trials: points to try for each combination.
        seeds: runs of a trial, with the seeds 1, 2, …; their mean counts.
        parallel: maximum number of trials at a time.
        sampler: one of :data:`SAMPLERS`, or a dict of its ``name`` and arguments.
        pruner: one of :data:`PRUNERS`, or a dict of its ``name`` and arguments.
        cwd: directory in which the search began, to which relative paths refer.
    """

    overrides: list[str] = field(default_factory=list)
    space: dict[str, Any] = field(default_factory=dict)
    each: dict[str, Any] = field(default_factory=dict)
    metric: str = field(default="best_val_acc", metadata=limited(METRICS.__contains__, _explain_metric))
    trials: int = field(default=20, metadata=_POSITIVE)
    seeds: int = field(default=1, metadata=_POSITIVE)
    parallel: int = field(default=8, metadata=_POSITIVE)
    sampler: Any = "tpe"
    pruner: Any = "none"
    cwd: str = ""

    @property
    def epoch_metric(self) -> str:
        """The key of ``metrics.jsonl`` that a pruner compares."""
        return METRICS[self.metric][0]

    @property
    def direction(self) -> str:
        """``maximize`` or ``minimize``."""
        return METRICS[self.metric][1]

    def combinations(self) -> dict[str, Overrides]:
        """Returns the overrides of each combination of ``each`` by its name, ``all`` if there is only one."""
        axes = [f"{key}={sweep_syntax(key, values)}" for key, values in self.each.items()]
        return {",".join(point) or "all": point for point in expand_overrides(axes)}

    def distributions(self) -> dict[str, Any]:
        """Returns Optuna's distribution of each searched key; raises UserError for one that is not valid."""
        return {key: distribution(parse(key, values)) for key, values in self.space.items()}

    def grid(self) -> list[dict[str, Any]]:
        """Returns the points of a grid; empty for the other samplers.

        Raises:
            UserError: for a key whose values are not finite in number.
        """
        if self.choice("sampler")["name"] != "grid":
            return []
        found = self.distributions()
        for key, values in found.items():
            if not hasattr(values, "choices"):
                raise UserError(
                    f"search.space.{key}={self.space[key]}: a grid needs values, such as 0.01,0.1 or range(1,6)"
                )
        return [
            dict(zip(found, point, strict=True))
            for point in itertools.product(*(values.choices for values in found.values()))
        ]

    def runs(self, combination: Overrides, params: Mapping[str, Any]) -> list[Overrides]:
        """Returns the overrides of a trial's runs, one for each seed; floats are rounded to four digits.

        Args:
            combination: overrides of the combination.
            params: value of each searched key.
        """
        point = self.point(combination, params)
        return [(*point, f"seed={seed}") for seed in range(1, self.seeds + 1)]

    def point(self, combination: Overrides, params: Mapping[str, Any]) -> Overrides:
        """Returns the overrides of a trial without a seed.

        Args:
            combination: overrides of the combination.
            params: value of each searched key.
        """
        values = (
            f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}" for key, value in params.items()
        )
        return merge_overrides(self.overrides, combination, values)

    def corners(self) -> list[dict[str, Any]]:
        """Returns points that together have both ends of each interval and each choice, to be checked beforehand."""
        axes = {
            key: list(getattr(found, "choices", None) or (found.low, found.high))
            for key, found in self.distributions().items()
        }
        longest = max(map(len, axes.values()))
        return [
            {key: values[min(number, len(values) - 1)] for key, values in axes.items()} for number in range(longest)
        ]

    def choice(self, kind: str) -> dict[str, Any]:
        """Returns name and arguments of the ``sampler`` or ``pruner``."""
        given = getattr(self, kind)
        return {"name": None, **given} if isinstance(given, dict) else {"name": given}

    def make(self, kind: str, **arguments: Any) -> Any:
        """Returns Optuna's sampler or pruner.

        Args:
            kind: ``sampler`` or ``pruner``.
            **arguments: defaults of its arguments.

        Raises:
            UserError: for an unknown name or argument, or one that Optuna refuses.
        """
        import optuna

        known = {"sampler": SAMPLERS, "pruner": PRUNERS}[kind]
        given = self.choice(kind)
        name = str(given.pop("name"))
        if name not in known:
            raise UserError(f"search.{kind}={name}: {unknown(name, known)}")
        if name == "cmaes" and not importlib.util.find_spec("cmaes"):
            raise UserError("search.sampler=cmaes: needs a package: pip install cmaes")
        if name == "tpe":
            arguments["constant_liar"] = True  # so that parallel trials are not near each other
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                return getattr(getattr(optuna, f"{kind}s"), known[name])(**(arguments | given))
        except (TypeError, ValueError) as error:
            raise UserError(f"search.{kind}: {name}: {' '.join(str(error).split())}") from error

    def check(self) -> None:
        """Raises UserError for settings that are not valid or contradict each other."""
        check_limits(self, "search")
        if not self.space:
            raise UserError("search.space: is empty; search a key, such as 'recipe.lr=tag(log,interval(1e-4,1e-1))'")
        keys = [*self.space, *self.each, *(override.partition("=")[0] for override in self.overrides)]
        if doubled := [key for key in keys if keys.count(key) > 1]:
            raise UserError(f"{doubled[0]}: is given twice, among overrides, space and each; give it once")
        if "seed" in keys:
            raise UserError("seed: a trial has the seeds 1, 2, …; give their number as search.seeds=3")
        self.distributions(), self.combinations(), self.grid(), self.make("sampler"), self.make("pruner")

    def changed(self, begun: Search) -> list[str]:
        """Returns the settings that differ from those of a search that has begun and may not change.

        Args:
            begun: the search that has begun.
        """
        ours, theirs = ({**vars(search), "overrides": sorted(search.overrides)} for search in (self, begun))
        return [key for key, value in ours.items() if key not in _GROWS and value != theirs[key]]

    def write(self, name: str, output_dir: Path) -> None:
        """Freezes the search, so that later edits do not affect its jobs.

        Args:
            name: of the search.
            output_dir: where searches and runs are stored.
        """
        path = sweep_dir(output_dir, name) / SEARCH
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as file:
            file.write(OmegaConf.to_yaml(OmegaConf.structured(self)).encode())
