"""A plan: a sweep expanded and frozen in one file, so that what is queued cannot change any more."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import Any

from dst.atomic import atomic_file
from dst.code import code_version
from dst.errors import UserError
from launch.sweep import Overrides, Point


@dataclass(frozen=True)
class PlannedRun:
    """A run to be done: its id, how one would type it, and its resolved config."""

    run_id: str
    overrides: Overrides
    config: dict[str, Any] = field(repr=False)

    @property
    def setup(self) -> str:
        """``model/dataset``."""
        return f"{self.config['model']['name']}/{self.config['dataset']['name']}"

    @property
    def command(self) -> str:
        """What trains this run alone."""
        return " ".join(["python -m dst.train", *self.overrides])


@dataclass(frozen=True)
class Plan:
    """The runs of a sweep, each once, in order of the sweep.

    Attributes:
        name: of the sweep.
        output_dir: where sweeps and runs are kept.
        runs: what is to be done.
        code: version and, in a checkout, commit of the code that made the plan.
        cwd: where it was made, from where relative paths in the runs' configs count.
    """

    name: str
    output_dir: Path
    runs: list[PlannedRun]
    code: str
    cwd: Path

    @classmethod
    def make(cls, name: str, output_dir: Path, points: Sequence[Point]) -> Plan:
        """Composes and checks each run and drops those that come twice.

        Raises:
            UserError: for a mistake in one, with where it was asked for.
        """
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
        return cls(name, output_dir, list(unique.values()), code_version(), Path.cwd())

    @classmethod
    def read(cls, name: str, output_dir: Path) -> Plan:
        """Reads the plan of sweep ``name``; raises UserError if there is none or its file is damaged."""
        path = sweep_dir(name, output_dir) / "plan.jsonl"
        try:
            header, *lines = map(json.loads, path.read_text().splitlines())
            runs = [PlannedRun(line["run_id"], tuple(line["overrides"]), line["config"]) for line in lines]
            return cls(name, output_dir, runs, header["code"], Path(header["cwd"]))
        except FileNotFoundError as error:
            others = ", ".join(planned(output_dir)) or "none yet"
            raise UserError(
                f"sweep={name}: not planned in {output_dir} (there: {others}); plan it with: python -m launch plan "
                f"sweep={name}"
            ) from error
        except (ValueError, KeyError) as error:
            raise UserError(f"{path}: is damaged; plan the sweep again") from error

    def write(self) -> Path:
        """Freezes the plan in its file, which it returns: a header line, then a line a run."""
        path = self.directory / "plan.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        made = datetime.now(timezone.utc).isoformat(timespec="seconds")
        header = {"sweep": self.name, "runs": len(self.runs), "code": self.code, "cwd": str(self.cwd), "made": made}
        with atomic_file(path) as file:
            for line in (header, *self._lines()):
                file.write(json.dumps(line).encode() + b"\n")
        return path

    def _lines(self) -> Iterator[dict[str, Any]]:
        for run in self.runs:
            yield {"run_id": run.run_id, "overrides": run.overrides, "config": run.config}

    @property
    def directory(self) -> Path:
        """``<output_dir>/sweeps/<name>``."""
        return sweep_dir(self.name, self.output_dir)

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
        return self.output_dir / "runs" / run_id


def sweep_dir(name: str, output_dir: Path) -> Path:
    """Returns where everything about a sweep but its runs is kept."""
    return output_dir / "sweeps" / name


def planned(output_dir: Path) -> list[str]:
    """Returns the names of the sweeps planned in ``output_dir``."""
    return sorted(path.parent.name for path in output_dir.glob("sweeps/*/plan.jsonl"))


def _check_models(points: Sequence[Point], configs: Sequence[dict[str, Any]]) -> None:
    """Builds each distinct model once to see that it takes its data's shape."""
    import torch

    from dst.models import build_model

    distinct: dict[str, int] = {}
    for number, config in enumerate(configs):
        distinct.setdefault(json.dumps([config["model"], config["dataset"]]), number)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # faster for one sample than waking the others
    for number in distinct.values():
        model, dataset = configs[number]["model"], configs[number]["dataset"]
        shape, num_classes = dataset["shape"], dataset["num_classes"]
        if shape is None or num_classes is None:
            continue  # only the data will tell
        try:
            build_model(model, input_shape=tuple(shape), num_classes=num_classes, seed=0, dataset=dataset["name"])
        except UserError as error:
            raise _told(points[number], error) from error
    torch.set_num_threads(threads)


def _told(point: Point, error: UserError) -> UserError:
    return UserError(f"{point.origin}: {error}") if point.origin else error
