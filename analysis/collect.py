"""Reads run directories into data frames; only what changed since the last call is read again."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from tqdm import tqdm

from dst.errors import UserError
from dst.run.outcome import DONE
from dst.run.plan import PlannedRun
from dst.run.where import describe_values, row_mask

from .frames import runs_frame
from .metrics_files import concat_tables, read_epochs
from .phase_files import phase_frame
from .plan import missing_runs, read_planned_runs
from .probe_files import probe_frame
from .results_folder import CachedRuns, ResultsFolder
from .run_files import file_signature, read_run
from .source import Source


@dataclass
class Collection:
    """The data frames of a set of runs.

    Attributes:
        runs: one row per run (:func:`analysis.frames.runs_frame`).
        missing: one row per planned run without results; empty without a plan.
        results: the folder of the frames, tables, figures and the report.
        origin: where the runs come from, as text.
        planned: the number of planned runs, None without a plan.
    """

    runs: pd.DataFrame
    missing: pd.DataFrame
    results: ResultsFolder
    origin: str
    planned: int | None = None
    _epochs: pd.DataFrame | None = None

    @property
    def epochs(self) -> pd.DataFrame:
        """One row per run and epoch: ``run_id`` and the columns of ``metrics.jsonl``; read on first access."""
        if self._epochs is None:
            self._epochs = self.results.epochs().to_pandas()
        return self._epochs


def collect(source: Source) -> Collection:
    """Updates the results folder from the runs and returns them; raises UserError if there are none."""
    results = ResultsFolder(source.results)
    memory = results.load_cache()
    if source.source == "wandb":
        from .wandb_runs import read_project

        plan = _plan(source)
        runs, epochs = read_project(source.entity, source.project, plan)
        memory = CachedRuns(runs, {}, {"source": "wandb", "from": f"{source.entity or ''}/{source.project}".strip("/")})
        results.save_cache(memory, epochs)
    elif memory.origin.get("source") == "wandb" and not source.location_given:
        plan = _plan(source)
    else:
        plan = _plan(source)
        memory, epochs = _read_changed(source, memory, results, plan)
        if memory.runs.empty and plan is None:
            raise UserError(f"no runs in {source.runs_dir}; say where they are with output_dir=… or dir=…")
        if epochs is not None:
            results.save_cache(memory, epochs)
    missing = missing_runs(plan or {}, memory.runs)
    if plan is not None:
        results.write_csv("missing.csv", missing)
    results.write_text("collect.log", "".join(f"{line}\n" for line in problem_lines(memory.runs)))
    kind = "W&B project" if memory.origin.get("source") == "wandb" else "folder"
    origin = f"{kind} {memory.origin.get('from', source.runs_dir)}"
    collection = Collection(memory.runs, missing, results, origin, None if plan is None else len(plan))
    return _where(collection, source.where)


def load_runs(
    output_dir: str | Path = "outputs", sweep: str | None = None, results_dir: str | Path = "results"
) -> pd.DataFrame:
    """Returns one row per run of ``<output_dir>/runs``: its choices, the values of its summary, its status.

    Writes nothing. Reuses the cache of an earlier ``python -m analysis collect``.

    Args:
        output_dir: the ``output_dir`` of the runs.
        sweep: only the runs of this sweep's plan; None: all runs.
        results_dir: the ``results_dir`` given to ``collect``.
    """
    source = Source(sweep=sweep, output_dir=Path(output_dir), results_dir=Path(results_dir))
    results = ResultsFolder(source.results)
    return _read_changed(source, results.load_cache(), results, _plan(source), with_epochs=False)[0].runs


def load_phases(output_dir: str | Path = "outputs", sweep: str | None = None) -> pd.DataFrame:
    """Returns what the phases of the runs of ``<output_dir>/runs`` led to, for merging with :func:`load_runs`.

    One row per run and finished phase, such as a cycle or a level: ``run_id phase name epochs epoch density test_acc
    val_acc step flops_training``. ``phase`` counts from 1, ``epochs`` are those of the phase; ``epoch``, ``step`` and
    ``flops_training`` those of the run up to its end.

    Args:
        output_dir: the ``output_dir`` of the runs.
        sweep: only the runs of this sweep's plan; None: all runs.
    """
    source = Source(sweep=sweep, output_dir=Path(output_dir))
    return phase_frame(_run_directories(source.runs_dir, _plan(source)))


def load_probes(name: str, output_dir: str | Path = "outputs", sweep: str | None = None) -> pd.DataFrame:
    """Returns what a probe measured in the runs of ``<output_dir>/runs``, for merging with :func:`load_runs`.

    One row per run, step and layer: ``run_id step epoch layer``, then a column for each measure. ``layer`` is the name
    of a weight, or the empty string for the whole network.

    Args:
        name: of the probe, such as ``gradient_flow``.
        output_dir: the ``output_dir`` of the runs.
        sweep: only the runs of this sweep's plan; None: all runs.

    Raises:
        UserError: if no run has the probe; names those that there are.
    """
    source = Source(sweep=sweep, output_dir=Path(output_dir))
    return probe_frame(name, _run_directories(source.runs_dir, _plan(source)))


def problem_lines(runs: pd.DataFrame) -> list[str]:
    """Returns one line per run directory with a problem: path, status, reason."""
    wrong = runs[runs["reason"].notna()]
    return (wrong["path"] + ": " + wrong["status"] + ": " + wrong["reason"]).tolist()


def _plan(source: Source) -> dict[str, PlannedRun] | None:
    return None if source.sweep is None else read_planned_runs(source.output_dir, source.sweep)


def _read_changed(
    source: Source,
    memory: CachedRuns,
    results: ResultsFolder,
    plan: Mapping[str, PlannedRun] | None,
    with_epochs: bool = True,
) -> tuple[CachedRuns, pa.Table | None]:
    """Returns the current runs, and their learning curves if the results folder must be written again."""
    origin = {"source": "runs", "from": str(source.runs_dir.absolute())}
    if memory.origin != origin:
        memory = CachedRuns()
    directories = _run_directories(source.runs_dir, plan)
    signatures = {run_id: file_signature(str(path)) for run_id, path in directories.items()}
    known = set(memory.runs.loc[memory.runs["status"].isin(DONE), "run_id"])
    unread = {name for name, now in signatures.items() if memory.signatures.get(name) != now}
    gone = set(memory.signatures) - set(signatures)
    again = [
        name for name in signatures if name in unread or name not in known
    ]  # a run that starts or stops changes none of these files
    before = dict(zip(memory.runs["run_id"], memory.runs["status"], strict=True))
    rows = [
        row
        for name in tqdm(again, desc="runs", unit="run", disable=None, leave=False)
        for row in [read_run(directories[name], plan[name].config if plan and name in plan else None)]
        if name in unread or row["status"] != before.get(name)
    ]
    if not rows and not gone and memory.origin:
        return memory, None
    old = memory.runs[~memory.runs["run_id"].isin({*(row["run_id"] for row in rows), *gone})]
    epochs = None
    if with_epochs:
        fresh, unreadable = read_epochs({name: directories[name] for name in signatures if name in unread})
        rows = [row | {"reason": row["reason"] or unreadable.get(row["run_id"])} for row in rows]
        epochs = fresh if not memory.origin else concat_tables([_drop_runs(results.epochs(), {*unread, *gone}), fresh])
    runs = runs_frame(rows) if old.empty else runs_frame(pd.concat([old, runs_frame(rows)], ignore_index=True))
    return CachedRuns(runs, signatures, origin), epochs


def _run_directories(folder: Path, plan: Iterable[str] | None) -> dict[str, Path]:
    """Returns the run directories by run id; with a plan, only those of its runs."""
    wanted = set(plan or ())
    try:
        with os.scandir(folder) as entries:
            there = [entry for entry in entries if not entry.name.startswith(".")]
            names = sorted(entry.name for entry in there if _may_be_run(entry) or entry.name in wanted)
    except (FileNotFoundError, NotADirectoryError):
        names = []
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror})") from error
    return {name: folder / name for name in names if plan is None or name in wanted}


def _may_be_run(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # such as a link to itself: its row gives the reason
        return True


def _drop_runs(epochs: pa.Table, run_ids: set[str]) -> pa.Table:
    if not run_ids:
        return epochs
    return epochs.filter(pc.invert(pc.is_in(epochs["run_id"], pa.array(sorted(run_ids), pa.string()))))


def _where(collection: Collection, expression: str | None) -> Collection:
    if expression is None:
        return collection
    runs = collection.runs[row_mask(collection.runs, expression)]
    missing = collection.missing.reindex(columns=collection.missing.columns.union(collection.runs.columns, sort=False))
    kept = collection.missing[row_mask(missing, expression)]
    if runs.empty and kept.empty and len(collection.runs):
        found = describe_values(collection.runs, expression)
        raise UserError(f"where={expression}: keeps none of {len(collection.runs)} runs; there are {found}")
    return replace(collection, runs=runs, missing=kept)
