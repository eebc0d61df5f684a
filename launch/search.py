"""What a hyper-parameter search looks for, and where: described in ``conf/search/*.yaml`` or on the command line."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dst.config.limits import check_limits, limited
from dst.config.mistakes import explain
from dst.config.overrides import quoted
from dst.config.tree import CONF_DIR, options
from dst.errors import UserError, unknown
from dst.files.atomic import atomic_file
from dst.run.layout import SEARCH, sweep_dir

from .sweep import Overrides, expand_overrides, merge_overrides, sweep_syntax

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
        sampler: name and arguments of one of :data:`SAMPLERS`.
        pruner: name and arguments of one of :data:`PRUNERS`.
        cwd: directory in which the search began, to which relative paths refer.
    """

    overrides: list[str] = field(default_factory=list)
    space: dict[str, Any] = field(default_factory=dict)
    each: dict[str, Any] = field(default_factory=dict)
    metric: str = field(default="best_val_acc", metadata=limited(METRICS.__contains__, _explain_metric))
    trials: int = field(default=20, metadata=_POSITIVE)
    seeds: int = field(default=1, metadata=_POSITIVE)
    parallel: int = field(default=8, metadata=_POSITIVE)
    sampler: dict[str, Any] = field(default_factory=lambda: {"name": "tpe"})
    pruner: dict[str, Any] = field(default_factory=lambda: {"name": "none"})
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
        return {key: _distribution(_parse(key, values)) for key, values in self.space.items()}

    def grid(self) -> list[dict[str, Any]]:
        """Returns the points of a grid; empty for the other samplers.

        Raises:
            UserError: for a key whose values are not finite in number.
        """
        if self.sampler["name"] != "grid":
            return []
        found = self.distributions()
        for key, distribution in found.items():
            if not hasattr(distribution, "choices"):
                raise UserError(
                    f"search.space.{key}={self.space[key]}: a grid needs values, such as 0.01,0.1 or range(1,6)"
                )
        return [
            dict(zip(found, point, strict=True))
            for point in itertools.product(*(distribution.choices for distribution in found.values()))
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
        given = dict(getattr(self, kind))
        name = str(given.pop("name"))
        if name not in known:
            raise UserError(f"search.{kind}.name={name}: {unknown(name, known)}")
        if name == "cmaes" and not importlib.util.find_spec("cmaes"):
            raise UserError("search.sampler.name=cmaes: needs a package: pip install cmaes")
        if name == "tpe":
            arguments["constant_liar"] = True  # so that parallel trials are not near each other
        try:
            return getattr(getattr(optuna, f"{kind}s"), known[name])(**(arguments | given))
        except (TypeError, ValueError) as error:
            raise UserError(f"search.{kind}: {name}: {' '.join(str(error).split())}") from error

    def check(self) -> None:
        """Raises UserError for settings that are not valid or contradict each other."""
        check_limits(self, "search")
        if importlib.util.find_spec("optuna") is None:
            raise UserError("search: needs Optuna: pip install 'fantastic-weights[search]'")
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
            begun: as :func:`read` returns it.
        """
        return [key for key, value in vars(self).items() if key not in _GROWS and value != getattr(begun, key)]

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


def is_begun(name: str, output_dir: Path) -> bool:
    """Whether there is a search of that name.

    Args:
        name: of the search.
        output_dir: where searches and runs are stored.
    """
    return (sweep_dir(output_dir, name) / SEARCH).exists()


def read(name: str, output_dir: Path) -> Search:
    """Returns a search that has begun.

    Args:
        name: of the search.
        output_dir: where searches and runs are stored.

    Raises:
        UserError: if there is none, or its file is damaged.
    """
    if not is_begun(name, output_dir):
        begun = [path.parent.name for path in sorted(sweep_dir(output_dir, "").glob(f"*/{SEARCH}"))]
        raise UserError(f"search={name}: {unknown(name, begun)}; begin it with: python -m launch search search={name}")
    return _load(sweep_dir(output_dir, name) / SEARCH)


def describe(file: str | None, settings: Sequence[str], overrides: Sequence[str]) -> Search:
    """Returns the search that a command line describes; not checked yet.

    Args:
        file: name of a file in ``conf/search``, or path of a YAML file; None for none.
        settings: ``key=value`` of the search itself, such as ``trials=50``.
        overrides: of the runs; those in Hydra's sweep syntax are searched, the others take precedence over the file's.

    Raises:
        UserError: for a mistake in any of them.
    """
    search = _load(_path(file)) if file else Search()
    try:
        given: Any = OmegaConf.to_container(OmegaConf.from_dotlist(list(settings)))
        if "each" in given:
            given["each"] = {**search.each, **_with_dots(given["each"])}
        search = _typed(OmegaConf.merge(OmegaConf.structured(search), given))
    except OmegaConfBaseException as error:
        raise UserError(f"search: {explain(error)}") from error
    for override in overrides:
        key, _, value = override.partition("=")
        search.space.pop(key, None)
        search.each.pop(key, None)
        if _parse(key, value).is_sweep_override():
            search.overrides = [line for line in search.overrides if line.partition("=")[0] != key]
            search.space[key] = value
        else:
            search.overrides.append(override)
    search.overrides = list(merge_overrides(search.overrides))
    search.cwd = search.cwd or str(Path.cwd())
    return search


def _path(name: str) -> Path:
    path = Path(name) if name.endswith((".yaml", ".yml")) else CONF_DIR / "search" / f"{name}.yaml"
    if not path.exists():
        raise UserError(f"search={name}: {unknown(name, options('search'))}, or the path of a YAML file")
    return path


def _load(path: Path) -> Search:
    try:
        return _typed(OmegaConf.merge(OmegaConf.structured(Search), OmegaConf.load(path)))
    except OmegaConfBaseException as error:
        raise UserError(f"{path}: {explain(error)}") from error
    except Exception as error:  # the YAML parser's exceptions have no common base class
        raise UserError(f"{path}: {' '.join(str(error).split())}") from error


def _typed(config: Any) -> Search:
    search = OmegaConf.to_object(config)
    assert isinstance(search, Search)
    return search


def _with_dots(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Flattens a tree of settings into ``recipe.lr`` and the like."""
    if not isinstance(tree, dict):
        return {prefix: tree}
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= _with_dots(value, f"{prefix}.{key}" if prefix else key)
    return found


def _parse(key: str, values: Any) -> Override:
    try:
        return OverridesParser.create().parse_override(quoted(f"{key}={sweep_syntax(key, values)}"))
    except HydraException as error:
        raise UserError(f"search.space.{key}={values}: {' '.join(str(error).split())}") from error


def _distribution(override: Override) -> Any:
    from optuna import distributions

    key, values = override.get_key_element(), override.value()
    if not override.is_sweep_override():
        return distributions.CategoricalDistribution([str(override.get_value_element_as_str())])
    if not isinstance(values, IntervalSweep):
        return distributions.CategoricalDistribution(list(override.sweep_string_iterator()))
    if wrong := values.tags - {"log"}:
        raise UserError(f"search.space.{key}: {unknown(sorted(wrong)[0], ['log'])} as a tag")
    whole = isinstance(values.start, int) and isinstance(values.end, int)
    kind = distributions.IntDistribution if whole else distributions.FloatDistribution
    try:
        return kind(values.start, values.end, log="log" in values.tags)
    except ValueError as error:
        raise UserError(f"{override.input_line}: {' '.join(str(error).split())}") from error
