"""What the phases of the runs of a setup led to and cost: the data of all figures and tables of this package."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from dst.errors import UserError

from ..collect import Collection
from ..compare import name_what_varies
from ..frames import runs_with_results
from ..phase_files import phase_frame
from ..results_folder import ResultsFolder
from .families import families

METRICS = {"test_acc": "test accuracy", "val_acc": "validation accuracy"}
"""The accuracies that phases have."""

_LENGTH = ["recipe_epochs", "procedure_budget", "procedure_cycles", "procedure_max_cycles"]
"""Choices that decide how long a run trains: they tell its cost, not its family."""

_NOISE = "dataset_label_noise"

_RESULT_AT_EACH_PHASE = ("lrr", "wr", "imp")
"""Procedures each phase of which ends with what a run to that density would have ended with."""


@dataclass(frozen=True)
class Study:
    """The finished runs of one setup.

    Attributes:
        setup: ``model/dataset``; with wrong labels ``model/dataset, dataset.label_noise=0.15``.
        points: a row for each phase of a run that ended with a result of its method: ``run_id path family line seed
            phase density epoch step accuracy cost seconds final``. ``epoch`` and ``step`` are those of the run up to
            its end; so are ``cost`` (in :attr:`unit`) and ``seconds``, with all of its parents' added. ``line`` is the
            family and, where its runs differ in length, how long they train. ``final`` is false for a cycle that
            others of the run follow.
        dense_epochs: of the dense training that costs 1, the shortest there is; None: there is none.
        metric: of ``accuracy``, of :data:`METRICS`.
        results: the folder of tables and figures, and the cache of what was computed of networks.
        given: ``device`` and ``data_dir`` to evaluate networks, each if given.
        notes: a line for each reason to leave out runs.
    """

    setup: str
    points: pd.DataFrame
    dense_epochs: int | None
    metric: str
    results: ResultsFolder
    given: Mapping[str, str]
    notes: list[str]

    @property
    def unit(self) -> str:
        """The unit of ``cost``."""
        return "dense trainings" if self.dense_epochs else "FLOPs"

    @property
    def dense_accuracy(self) -> float:
        """Mean accuracy of the dense trainings that cost 1; NaN without any."""
        unit = (self.points["family"] == "dense") & (self.points["epoch"] == self.dense_epochs)
        return float(self.points.loc[unit, "accuracy"].mean())

    @property
    def file(self) -> str:
        """The setup as a part of a file name."""
        return re.sub(r"[^\w.=]+", "_", self.setup)


def studies(collection: Collection, given: Mapping[str, str], metric: str = "test_acc") -> list[Study]:
    """Returns a study of each setup with finished runs.

    Args:
        collection: of the runs.
        given: ``device`` and ``data_dir``, each if given.
        metric: of :data:`METRICS`.

    Raises:
        UserError: if no run has finished.
    """
    runs = _apart_by_label_noise(runs_with_results(collection.runs))
    if (finished := runs[runs["status"] == "finished"]).empty:
        raise UserError(f"none of {len(collection.runs)} runs has finished")
    finished = finished.assign(family=families(finished))
    points = with_parents(phase_results(finished, collection.epochs, metric), finished)
    found = []
    for setup, here in finished.groupby("setup"):
        family = name_what_varies(here, "family", [*_LENGTH, "parent"])
        named = points.merge(here[["run_id", "seed", *_lengths(here)]].assign(family=family), on="run_id")
        diverged = int((runs["setup"] == setup).sum()) - len(here)
        notes = [f"{diverged} runs diverged and are left out"] if diverged else []
        named, dense_epochs = _in_dense_trainings(named)
        named = named.assign(line=_with_length(named)).drop(columns=_lengths(here))
        distinct = named.drop_duplicates(["family", "line", "seed", "density", "epoch"])
        found.append(Study(str(setup), distinct, dense_epochs, metric, collection.results, given, notes))
    return found


def _apart_by_label_noise(runs: pd.DataFrame) -> pd.DataFrame:
    """Appends the share of wrong labels to the setup: what is learned from them is compared with nothing else."""
    if _NOISE not in runs:
        return runs
    suffix = runs[_NOISE].map(", dataset.label_noise={:g}".format).where(runs[_NOISE] > 0, "")
    return runs.assign(setup=runs["setup"] + suffix)


def phase_results(runs: pd.DataFrame, epochs: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Returns a row for each phase that ended with a result of its run's method.

    These are each level of iterative pruning, each cycle of cyclic training and the last phase of other procedures.
    Of runs without ``phases.jsonl``, and for costs that it does not say, the summary is used.

    Args:
        runs: finished ones, one row per run.
        epochs: one row per run and epoch.
        metric: of :data:`METRICS`.

    Returns:
        Columns ``run_id path phase density epoch step accuracy flops seconds final``.
    """
    phases = phase_frame({run.run_id: Path(run.path) for run in runs.itertuples()})
    without = runs[~runs["run_id"].isin(phases["run_id"])].assign(phase=1, epoch=runs["epochs"])
    columns = ["run_id", "phase", "epoch", "density", metric, "flops_training"]
    summarised = without.assign(density=without["density_actual"])[columns]
    parts = [part for part in (phases, summarised) if len(part)]
    facts = runs.assign(of_run=runs["flops_training"])[["run_id", "path", "procedure", "of_run"]]
    found = pd.concat(parts, ignore_index=True).reindex(columns=[*columns, "step"]).merge(facts, on="run_id")
    last = found["phase"] == found.groupby("run_id")["phase"].transform("max")
    final = last | found["procedure"].isin(_RESULT_AT_EACH_PHASE)
    took = epochs[["run_id", "epoch", "epoch_s"]].sort_values("epoch")
    seconds = took.assign(seconds=took.groupby("run_id")["epoch_s"].cumsum())[["run_id", "epoch", "seconds"]]
    flops = pd.to_numeric(found["flops_training"]).fillna(pd.to_numeric(found["of_run"]).where(last))
    found = found.assign(final=final, flops=flops, accuracy=pd.to_numeric(found[metric]))
    found = found[final | (found["procedure"] == "cyclic")].merge(seconds, on=["run_id", "epoch"], how="left")
    density = pd.to_numeric(found["density"]).map(
        lambda value: float(f"{value:.3g}")
    )  # exact counts differ by a weight
    return found.assign(density=density)[
        ["run_id", "path", "phase", "density", "epoch", "step", "accuracy", "flops", "seconds", "final"]
    ]


def with_parents(points: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Returns the points with ``flops`` and ``seconds`` of all their run's ancestors added, NaN if one is not there.

    Args:
        points: from :func:`phase_results`.
        runs: with the id of their ``parent``.
    """
    parents = dict(zip(runs["run_id"], runs.get("parent", pd.Series(None, index=runs.index)), strict=True))
    own = points.sort_values("phase").groupby("run_id")[["flops", "seconds"]].last()

    def inherited(run_id: str) -> pd.Series:
        parent = parents[run_id]
        if pd.isna(parent):
            return pd.Series(0.0, index=own.columns)
        return own.loc[parent] + inherited(parent) if parent in own.index else pd.Series(float("nan"), own.columns)

    before = pd.DataFrame({run_id: inherited(run_id) for run_id in points["run_id"].unique()}).T
    added = before.reindex(points["run_id"]).set_index(points.index)
    return points.assign(**{name: points[name] + added[name] for name in own.columns})


def over_seeds(points: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Returns mean, sample standard deviation and number of the accuracies, and mean costs, over seeds.

    Args:
        points: of a study.
        by: columns whose values tell the means apart.
    """
    groups = points.groupby(by, sort=False)
    means = groups[["accuracy", "cost", "seconds", "epoch"]].mean()
    return means.assign(std=groups["accuracy"].std(ddof=1), count=groups["accuracy"].count()).reset_index()


def _lengths(runs: pd.DataFrame) -> list[str]:
    return [name for name in _LENGTH if name in runs]


def _in_dense_trainings(points: pd.DataFrame) -> tuple[pd.DataFrame, int | None]:
    """Returns the points with their cost in trainings of the shortest dense run, if there is one, and its epochs."""
    dense = points[points["family"].str.match("dense(,|$)")].dropna(subset=["flops"])
    if dense.empty:
        return points.rename(columns={"flops": "cost"}), None
    shortest = dense.loc[dense["flops"].idxmin()]
    return points.assign(cost=points["flops"] / shortest["flops"]).drop(columns="flops"), int(shortest["epoch"])


def _with_length(points: pd.DataFrame) -> pd.Series:
    """Returns the family of each point with the length of its run, where runs of one density differ in it."""
    keys = _lengths(points)
    length = points[keys].astype(object).where(points[keys].notna(), "").astype(str).agg("/".join, axis=1)
    total = points.groupby("run_id")["epoch"].transform("max")
    lines = points["family"].copy()
    for _, here in points[points["final"]].assign(length=length, total=total).groupby("family"):
        if here.groupby("density")["length"].nunique().max() < 2:
            continue
        same = here["length"].nunique() == here.groupby("density")["length"].nunique().max()
        rank = here.groupby("density")["total"].rank(method="dense").astype(int)
        suffix = here["total"].map(", {} epochs".format) if same else rank.map(", length {}".format)
        by_run = dict(zip(here["run_id"], suffix, strict=True))
        lines = lines + points["run_id"].where(points["family"] == here["family"].iloc[0]).map(by_run).fillna("")
    return lines
