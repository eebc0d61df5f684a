"""A plan: a sweep expanded and frozen in one file, so that what is queued cannot change any more."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from dst.errors import UserError
from dst.run.code import code_version
from dst.run.layout import run_dir, sweep_dir
from dst.run.plan import Frozen, PlannedRun, read_plan, write_plan
from launch.sweep import Point


@dataclass(frozen=True)
class Plan:
    """The runs of a sweep, each once, in order of the sweep.

    Attributes:
        name: of the sweep.
        output_dir: where sweeps and runs are kept.
        runs: what is to be done.
        code: version and, in a checkout, commit of the code that made the plan.
        cwd: where it was made, from where relative paths in the runs' configs count.
        command: what made it, as one types it; empty if not by the command line.
    """

    name: str
    output_dir: Path
    runs: list[PlannedRun]
    code: str
    cwd: Path
    command: str = ""

    @classmethod
    def make(cls, name: str, output_dir: Path, points: Sequence[Point], command: str = "") -> Plan:
        """Composes and checks each run and drops those that come twice.

        Raises:
            UserError: for a mistake in one, with where it was asked for, or if there are none.
        """
        if not points:
            raise UserError(f"sweep {name}: has no runs; give each of its axes a value (range(1,6) is 1 to 5)")
        from dst.config import run_id  # torch comes with it, in seconds, which whoever reads a plan need not wait for
        from launch.composition import RunMistake, compose_all

        try:
            configs = compose_all([(*point.overrides, f"output_dir='{output_dir}'") for point in points])
        except RunMistake as mistake:
            raise _told(points[mistake.number], mistake) from mistake
        _check_models(points, configs)
        unique: dict[str, PlannedRun] = {}
        for point, config in zip(points, configs, strict=True):
            name_of_run = run_id(config)
            unique.setdefault(name_of_run, PlannedRun(name_of_run, point.overrides, config))
        return cls(name, output_dir, list(unique.values()), code_version(), Path.cwd(), command)

    @classmethod
    def read(cls, name: str, output_dir: Path) -> Plan:
        """Reads the plan of sweep ``name``; raises UserError if there is none or its file is damaged."""
        frozen = read_plan(name, output_dir)
        return cls(name, output_dir, frozen.runs, frozen.code, frozen.cwd, frozen.command)

    def write(self) -> Path:
        """Freezes the plan in its file, which it returns."""
        return write_plan(self.name, self.output_dir, Frozen(self.runs, self.code, self.cwd, self.command))

    @property
    def directory(self) -> Path:
        """``<output_dir>/sweeps/<name>``."""
        return sweep_dir(self.output_dir, self.name)

    @cached_property
    def by_id(self) -> dict[str, PlannedRun]:
        """The runs by their ids."""
        return {run.run_id: run for run in self.runs}

    @property
    def modules(self) -> list[str]:
        """The top-level modules that the runs' components are imported from."""
        nodes = (node for run in self.runs for node in run.config.values() if isinstance(node, dict))
        return sorted({node["_target_"].partition(".")[0] for node in nodes if "_target_" in node})

    def run_dir(self, run_id: str) -> Path:
        """The directory of one of the runs."""
        return run_dir(self.output_dir, run_id)


def _check_models(points: Sequence[Point], configs: Sequence[dict[str, Any]]) -> None:
    """Builds each distinct model once to see that it takes its data's shape and can have the densities asked for."""
    import torch

    from dst.models import build_model
    from dst.training.build import check_density

    distinct: dict[str, dict[tuple[float | None, str], int]] = defaultdict(dict)
    for number, config in enumerate(configs):
        density = (config["density"]["value"], config["distribution"]["name"])
        distinct[json.dumps([config["model"], config["dataset"]])].setdefault(density, number)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # faster for one sample than waking the others
    for densities in distinct.values():
        number = next(iter(densities.values()))
        node, dataset = configs[number]["model"], configs[number]["dataset"]
        shape, num_classes = dataset["shape"], dataset["num_classes"]
        if shape is None or num_classes is None:
            continue  # only the data will tell
        try:
            model = build_model(
                node, input_shape=tuple(shape), num_classes=num_classes, seed=0, dataset=dataset["name"]
            )
            for (density_value, distribution), number in densities.items():  # noqa: B007 - told below
                if density_value:
                    check_density(node["name"], model, density_value, distribution)
        except UserError as error:
            raise _told(points[number], error) from error
    torch.set_num_threads(threads)


def _told(point: Point, error: UserError) -> UserError:
    return UserError(f"{point.origin}: {error}") if point.origin else error
