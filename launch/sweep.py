"""Sweeps: sets of runs, described as blocks of axes in ``conf/sweep/*.yaml``."""

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
from dst.config.overrides import quoted
from dst.config.tree import CONF_DIR, options
from dst.errors import UserError, unknown

Overrides = tuple[str, ...]
"""The command line of one run, in Hydra's syntax."""


@dataclass(frozen=True)
class Point:
    """A run of a sweep: its overrides and, for error messages, the sweep file and block it comes from."""

    overrides: Overrides
    origin: str = ""

    def with_origin(self, error: UserError) -> UserError:
        """Returns an error about the run that says where it comes from."""
        return UserError(f"{self.origin}: {error}") if self.origin else error


@dataclass
class Block:
    """A grid: every setup with every combination of the axes' values."""

    name: str = "runs"
    setups: list[str] = field(default_factory=list)
    """``model/dataset`` pairs; if empty, those of the sweep."""
    overrides: list[str] = field(default_factory=list)
    """Overrides of all runs of the block; they take precedence over the sweep's."""
    axes: dict[str, Any] = field(default_factory=dict)
    """For each key a list of values, or Hydra's sweep syntax such as ``range(1,6)``."""


@dataclass
class Sweep:
    """A set of runs: the union of its blocks and of the sweeps it includes."""

    include: list[str] = field(default_factory=list)
    setups: list[str] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)


def expand(name: str, max_runs: int | None = None) -> Iterator[Point]:
    """Yields the runs of a sweep, in order.

    Args:
        name: name of a file in ``conf/sweep``, or path of a YAML file.
        max_runs: maximum number of runs of a block and setup; None for no limit.

    Raises:
        UserError: if the file is not valid; the message names the file, the block and what is valid.
    """
    path, sweep = _load(name)
    for included in sweep.include:
        try:
            yield from expand(included, max_runs)
        except UserError as error:
            raise UserError(f"{path}, include: {error}") from error
    for block in sweep.blocks:
        origin = f"{path}, block {block.name}"
        try:
            yield from (Point(overrides, origin) for overrides in _expand_block(sweep, block, max_runs))
        except UserError as error:
            raise UserError(f"{origin}: {error}") from error


def expand_overrides(overrides: Sequence[str], max_runs: int | None = None) -> Iterator[Overrides]:
    """Yields every combination of overrides in Hydra's sweep syntax (``a=1,2``, ``seed=range(1,6)``).

    Args:
        overrides: overrides, with or without sweep syntax.
        max_runs: maximum number of combinations; None for no limit.

    Raises:
        UserError: for a syntax error, an override without values, or more than ``max_runs`` combinations.
    """
    try:
        parsed = OverridesParser.create().parse_overrides(list(map(quoted, overrides)))
        runs = math.prod(map(_count, parsed))
        if max_runs is not None and runs > max_runs:
            raise UserError(f"{runs:,} runs: give yes=true as well if you mean it, as for all above {max_runs:,}")
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
    """Returns the number of values of an override without creating those of a range."""
    values = override.value()
    if not isinstance(values, RangeSweep):
        return len(list(override.sweep_iterator())) if override.is_sweep_override() else 1
    span, step = (values.stop or 0) - (values.start or 0), values.step
    if not step or not math.isfinite(span / step):
        raise UserError(
            f"{override.input_line}: give range(start,stop,step) with finite numbers and a step other than 0"
        )
    return max(0, math.ceil(span / step))


def merge_overrides(*layers: Iterable[str]) -> Overrides:
    """Concatenates overrides; of several with the same key only the last is kept, at its position."""
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
    except Exception as error:  # the YAML parser's exceptions have no common base class
        raise UserError(f"{path}: {' '.join(str(error).split())}") from error
    assert isinstance(sweep, Sweep)
    if not sweep.include and not sweep.blocks:
        raise UserError(f"{path}: no runs; give blocks or include other sweeps")
    return path, sweep


def _expand_block(sweep: Sweep, block: Block, max_runs: int | None) -> Iterator[Overrides]:
    setups = block.setups or sweep.setups
    if not setups:
        raise UserError("setups is empty; name at least one as model/dataset")
    axes = [f"{key}={sweep_syntax(key, values)}" for key, values in block.axes.items()]
    for setup in setups:
        model, slash, dataset = setup.partition("/")
        if not slash:
            raise UserError(f"setups: {setup}: write model/dataset, such as large_mlp/cifar10")
        for point in expand_overrides(axes, max_runs):
            yield merge_overrides((f"model={model}", f"dataset={dataset}"), sweep.overrides, block.overrides, point)


def sweep_syntax(key: str, values: Any) -> str:
    """Returns the values of an axis in Hydra's sweep syntax.

    Args:
        key: of the axis, for the error.
        values: a list, or text that is in that syntax already.

    Raises:
        UserError: for an empty list.
    """
    if isinstance(values, (list, tuple)):
        if not values:
            raise UserError(f"axes.{key} has no values")
        return ",".join("null" if value is None else str(value) for value in values)
    return str(values)
