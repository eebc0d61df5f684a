"""Sweeps: which runs a study needs, written down as blocks of axes in ``conf/sweep/*.yaml``."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, RangeSweep
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dst.config.mistakes import explain
from dst.config.tree import CONF_DIR, options
from dst.errors import UserError, unknown

Overrides = tuple[str, ...]
"""The command line of one run, in Hydra's syntax."""


@dataclass(frozen=True)
class Point:
    """A run of a sweep: what one would type and, for a mistake to be found, where it was asked for."""

    overrides: Overrides
    origin: str = ""


@dataclass
class Block:
    """A product of axes: every setup with every combination of their values."""

    name: str = "runs"
    setups: list[str] = field(default_factory=list)
    """``model/dataset`` pairs; those of the sweep if empty."""
    overrides: list[str] = field(default_factory=list)
    """What all runs of the block share; wins over the sweep's."""
    axes: dict[str, Any] = field(default_factory=dict)
    """A list of values, or Hydra's sweep syntax such as ``range(1,6)``, for each key."""


@dataclass
class Sweep:
    """A set of runs: the union of its blocks and of the sweeps it includes."""

    include: list[str] = field(default_factory=list)
    setups: list[str] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)


def expand(name: str, most: int | None = None) -> Iterator[Point]:
    """Yields each run of ``conf/sweep/<name>.yaml``, in order; a path to a YAML file is taken too.

    Raises:
        UserError: for a mistake in the file; the line names the file, the block and what is valid.
    """
    path, sweep = _load(name)
    for included in sweep.include:
        try:
            yield from expand(included, most)
        except UserError as error:
            raise UserError(f"{path}, include: {error}") from error
    for block in sweep.blocks:
        origin = f"{path}, block {block.name}"
        try:
            yield from (Point(overrides, origin) for overrides in _expand_block(sweep, block, most))
        except UserError as error:
            raise UserError(f"{origin}: {error}") from error


def expand_overrides(overrides: Sequence[str], most: int | None = None) -> Iterator[Overrides]:
    """Yields the product of overrides in which Hydra's sweep syntax may occur (``a=1,2``, ``seed=range(1,6)``).

    Raises:
        UserError: for a mistake, an override that gives no value at all, or more than ``most`` runs.
    """
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
        runs = math.prod(map(_count, parsed))
        if most is not None and runs > most:
            raise UserError(f"{runs:,} runs: give yes=true as well if you mean it, as for all above {most:,}")
        axes = [
            [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
            if override.is_sweep_override()
            else [override.input_line]
            for override in parsed
        ]
    except HydraException as error:
        raise UserError(" ".join(str(error).split())) from error
    for override, axis in zip(parsed, axes, strict=True):
        if not axis:
            raise UserError(f"{override.input_line}: gives no value, so there is nothing to run; ends are exclusive")
    yield from itertools.product(*axes)


def _count(override: Override) -> int:
    """Returns how many values an override gives, without making them."""
    values = override.value()
    if not isinstance(values, RangeSweep):
        return len(list(override.sweep_iterator())) if override.is_sweep_override() else 1
    span, step = (values.stop or 0) - (values.start or 0), values.step
    if not step or not math.isfinite(span / step):
        raise UserError(
            f"{override.input_line}: give range(start,stop,step) with finite numbers and a step other than 0"
        )
    return max(0, math.ceil(span / step))


def merged(*layers: Iterable[str]) -> Overrides:
    """Returns the layers' overrides as one; of two with one key the later wins, in its place."""
    last: dict[str, str] = {}
    for override in itertools.chain(*layers):
        key = override.partition("=")[0]
        last.pop(key, None)
        last[key] = override
    return tuple(last.values())


def _load(name: str) -> tuple[Path, Sweep]:
    path = Path(name) if name.endswith((".yaml", ".yml")) else CONF_DIR / "sweep" / f"{name}.yaml"
    if not path.exists():
        raise UserError(f"sweep={name}: {unknown(name, options('sweep'))}, or the path of a YAML file")
    try:
        sweep = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Sweep), OmegaConf.load(path)))
    except OmegaConfBaseException as error:
        raise UserError(f"{path}: {explain(error)}") from error
    except Exception as error:  # the YAML parser's own, which have no common base that says so
        raise UserError(f"{path}: {' '.join(str(error).split())}") from error
    assert isinstance(sweep, Sweep)
    if not sweep.include and not sweep.blocks:
        raise UserError(f"{path}: no runs; give blocks or include other sweeps")
    return path, sweep


def _expand_block(sweep: Sweep, block: Block, most: int | None) -> Iterator[Overrides]:
    setups = block.setups or sweep.setups
    if not setups:
        raise UserError("setups is empty; name at least one as model/dataset")
    axes = [f"{key}={_sweep_syntax(key, values)}" for key, values in block.axes.items()]
    for setup in setups:
        model, slash, dataset = setup.partition("/")
        if not slash:
            raise UserError(f"setups: {setup}: write model/dataset, such as large_mlp/cifar10")
        for point in expand_overrides(axes, most):
            yield merged((f"model={model}", f"dataset={dataset}"), sweep.overrides, block.overrides, point)


def _sweep_syntax(key: str, values: Any) -> str:
    if isinstance(values, (list, tuple)):
        if not values:
            raise UserError(f"axes.{key} has no values")
        return ",".join("null" if value is None else str(value) for value in values)
    return str(values)
