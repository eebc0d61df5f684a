"""A plan: a sweep expanded and frozen in one file, so that later edits do not affect queued runs."""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from dst.errors import UserError, is_of_place
from dst.run.code import code_version
from dst.run.layout import run_dir, sweep_dir
from dst.run.plan import Frozen, PlannedRun, read_plan, write_plan

from .sweep import Point

log = logging.getLogger("dst")


@dataclass(frozen=True)
class Plan:
    """The distinct runs of a sweep, in the sweep's order.

    Attributes:
        name: name of the sweep.
        output_dir: where sweeps and runs are stored.
        runs: the runs, each once.
        code: version and, in a checkout, commit of the code that made the plan.
        cwd: directory in which it was made; relative paths in the runs' configs refer to it.
        command: command line that made it; empty if it was not made by the command line.
        where: expression that selected the runs; None if all runs of the plan are here.
    """

    name: str
    output_dir: Path
    runs: list[PlannedRun]
    code: str
    cwd: Path
    command: str = ""
    where: str | None = None

    @classmethod
    def make(cls, name: str, output_dir: Path, points: Sequence[Point], command: str = "") -> Plan:
        """Composes and checks each run and drops duplicates; parents come before their children.

        Args:
            name: name of the sweep.
            output_dir: where sweeps and runs are stored.
            points: overrides of each run.
            command: command line that makes the plan, for error messages.

        Raises:
            UserError: if a run is not valid, with its origin in the sweep file, or if there are no runs.
        """
        if not points:
            raise UserError(f"sweep {name}: has no runs; give each of its axes a value (range(1,6) is 1 to 5)")
        from .composition import RunMistake, compose_all  # takes seconds, and reading a plan does not need it
        from .parents import family, merged

        try:
            configs = compose_all([(*point.overrides, f"output_dir='{output_dir}'") for point in points])
        except RunMistake as mistake:
            raise points[mistake.number].with_origin(mistake) from mistake
        _check_models(points, configs)
        unique: dict[str, PlannedRun] = {}
        for point, config in zip(points, configs, strict=True):
            try:
                runs = family(point.overrides, config)
            except UserError as error:
                raise point.with_origin(error) from error
            for run in runs:
                unique[run.run_id] = merged(unique[run.run_id], run) if run.run_id in unique else run
        return cls(name, output_dir, list(unique.values()), code_version(), Path.cwd(), command)

    @classmethod
    def read(cls, name: str, output_dir: Path) -> Plan:
        """Reads the plan of a sweep.

        Args:
            name: name of the sweep.
            output_dir: where sweeps and runs are stored.

        Raises:
            UserError: if there is no such plan or its file is damaged.
        """
        frozen = read_plan(name, output_dir)
        return cls(name, output_dir, frozen.runs, frozen.code, frozen.cwd, frozen.command)

    def added_to(self, frozen: Plan) -> Plan:
        """Returns the plan of these runs, then of those that only a frozen plan of the sweep has.

        Raises:
            UserError: if the frozen plan was made in another directory, to which paths in its runs' configs may refer.
        """
        from .parents import merged

        runs = [merged(run, frozen.by_id[run.run_id]) if run.run_id in frozen.by_id else run for run in self.runs]
        kept = [run for run in frozen.runs if run.run_id not in self.by_id]
        if kept and frozen.cwd != self.cwd:
            raise UserError(
                f"sweep={self.name}: was planned in {frozen.cwd}, to which paths in its configs refer; plan it there, "
                "or give replace=true to drop the runs that are no longer asked for"
            )
        return replace(self, runs=[*runs, *kept])

    def select(self, where: str | None, *, with_parents: bool = False, state: Mapping[str, str] | None = None) -> Plan:
        """Returns the plan of those runs for which an expression is true.

        Args:
            where: see :func:`dst.run.where.row_mask`; its names are those of ``analysis`` and ``run_id``. None for all
                runs.
            with_parents: include the parents of selected runs, and theirs.
            state: of each run, by run id; then ``state`` is a name of the expression too.

        Raises:
            UserError: if the expression is not valid or selects nothing.
        """
        if where is None:
            return self
        import pandas as pd  # takes a moment, and training processes do without it

        from dst.run.choices import flatten
        from dst.run.where import describe_values, row_mask

        frame = pd.DataFrame({"run_id": run.run_id, **flatten(run.config)} for run in self.runs)
        if state is not None:
            frame["state"] = frame["run_id"].map(state)
        chosen = set(frame.loc[row_mask(frame, where), "run_id"])
        if not chosen:
            found = describe_values(frame, where)
            raise UserError(f"where={where}: selects none of {len(self.runs)} runs; there are {found}")
        for run in reversed(self.runs) if with_parents else ():  # parents come before their children
            if run.run_id in chosen and run.parent_id:
                chosen.add(run.parent_id)
        return replace(self, runs=[run for run in self.runs if run.run_id in chosen], where=where)

    def write(self) -> Path:
        """Writes the plan to its file and returns the path."""
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
        nodes = (node for run in self.runs for node in (*run.config.values(), *run.config.get("probes", {}).values()))
        targets = (node["_target_"] for node in nodes if isinstance(node, dict) and "_target_" in node)
        return sorted({target.partition(".")[0] for target in targets})

    def run_dir(self, run_id: str) -> Path:
        """Returns the directory of a run."""
        return run_dir(self.output_dir, run_id)


def _check_models(points: Sequence[Point], configs: Sequence[dict[str, Any]]) -> None:
    """Builds each distinct model once; raises UserError if it does not fit its data's shape or a density."""
    import torch

    from dst.models import build_model
    from dst.training.sparsify import check_density

    distinct: dict[str, dict[str, int]] = defaultdict(dict)
    for number, config in enumerate(configs):
        chosen = {key: config["sparsity"][key] for key in ("include", "exclude")}
        sparse = json.dumps([config["density"]["value"], config["distribution"]["name"], chosen])
        distinct[json.dumps([config["model"], config["dataset"], config["task"]])].setdefault(sparse, number)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # faster for a batch of one sample
    for densities in distinct.values():
        number = next(iter(densities.values()))
        node, dataset = configs[number]["model"], configs[number]["dataset"]
        shape, num_classes = dataset["shape"], dataset["num_classes"]
        if shape is None or num_classes is None:
            continue  # known only once the data is loaded
        try:
            model = build_model(
                node,
                input_shape=tuple(shape),
                num_classes=num_classes,
                seed=0,
                dataset=dataset["name"],
                task=configs[number]["task"],
            )
            for sparse, number in densities.items():  # noqa: B007 - used in the error below
                density, distribution, chosen = json.loads(sparse)
                if density:
                    check_density(node["name"], model, density, distribution, chosen)
        except UserError as error:
            if not is_of_place(error):
                raise points[number].with_origin(error) from error
            log.warning("%s is not checked: %s", node["name"], error)  # trained weights that are not there yet
    torch.set_num_threads(threads)
