"""The runs of a setup by the paper's methods, and the trained networks among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from dst.errors import UserError

from ..collect import Collection
from ..frames import runs_with_results
from ..models.states import NetworkState, select_states
from ..results_folder import ResultsFolder
from .methods import check_one_setting, paper_methods
from .published import Published, published


@dataclass(frozen=True)
class Study:
    """The finished and diverged runs of one setup that have a name in the paper.

    Attributes:
        setup: ``model/dataset``.
        runs: one row per run, with the column ``paper_method``.
        results: the folder of tables and figures, and the cache of what was computed of networks.
        given: ``device`` and ``data_dir`` to evaluate networks, each if given.
        reference: whether figures show the paper's curves too.
    """

    setup: str
    runs: pd.DataFrame
    results: ResultsFolder
    given: Mapping[str, str]
    reference: bool = False

    @property
    def finished(self) -> pd.DataFrame:
        """The runs that did not diverge."""
        return self.runs[self.runs["status"] == "finished"]

    @property
    def published(self) -> Published:
        """The paper's results of this setup, if the sparse runs have the paper's density."""
        return published(self.setup, set(self.runs.loc[self.runs["method"] != "dense", "density"]))

    @property
    def notes(self) -> list[str]:
        """A line if there are diverged runs."""
        diverged = len(self.runs) - len(self.finished)
        return [f"{diverged} runs diverged and are left out"] if diverged else []

    def of(self, method: str) -> pd.DataFrame:
        """Returns the finished runs of a method by seed."""
        return self.finished[self.finished["paper_method"] == method].sort_values("seed")

    def pruned(self) -> str:
        """Returns the id of the Prune run that most of the others start from.

        Raises:
            UserError: if none starts from a finished Prune run.
        """
        parents = self.finished["parent"]
        counts = parents[parents.isin(self.of("Prune")["run_id"])].value_counts()
        if counts.empty:
            raise UserError("it needs a finished Prune run, and finished Lottery or Scratch runs that start from it")
        return min(counts.index[counts == counts.max()])

    def children(self, method: str) -> pd.DataFrame:
        """Returns the finished runs of a method that start from :meth:`pruned`, by seed."""
        pruned, found = self.pruned(), self.of(method)
        return found[found["parent"] == pruned]

    def networks(self, runs: Sequence[str], line: str, point: str = "last") -> list[NetworkState]:
        """Returns networks of runs, in the order given.

        Args:
            runs: ids of finished runs.
            line: what the networks are called together.
            point: of :data:`analysis.models.states.POINTS`.

        Raises:
            UserError: if a run kept no checkpoint.
        """
        if not len(runs):
            return []
        states = select_states(self.finished, [f"{run_id}@{point}" for run_id in runs]).states
        return [replace(state, group=line) for state in states]


def studies(collection: Collection, given: Mapping[str, str], *, reference: bool = False) -> list[Study]:
    """Returns a study for each setup with runs that have a name in the paper.

    Args:
        collection: of the runs.
        given: ``device`` and ``data_dir``, each if given.
        reference: whether figures show the paper's curves too.

    Raises:
        UserError: if the runs of a method differ in more than their seeds and parents, or no run has a name.
    """
    runs = collection.runs if "parent" in collection.runs else collection.runs.assign(parent=None)
    named = runs_with_results(runs.assign(paper_method=paper_methods(runs)))
    named = named[named["paper_method"].notna()]
    if named.empty:
        raise UserError(
            f"none of {len(collection.runs)} runs is a finished one of a method of the gradient-flow paper; "
            "docs/papers.md names them, sweep gradient_flow_small trains small ones"
        )
    found = []
    for setup, here in named.groupby("setup"):
        check_one_setting(here)
        found.append(Study(str(setup), here, collection.results, given, reference))
    return found
