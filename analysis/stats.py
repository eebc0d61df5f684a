"""Average ranks of the criteria, the Friedman test and the Nemenyi test (Demšar, 2006)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import scikit_posthocs
from scipy import stats

from .compare import aggregate_seeds

ALPHA = 0.05
MIN_BLOCKS = 11
"""Blocks needed for a test: its distribution holds for N > 10, a rule of thumb (Demšar 2006, Section 3.2.2)."""

BLOCK_COLUMNS = ["setup", "growth", "density"]
"""The criteria are ranked within runs with equal values in these columns (Section 5.2 of the paper)."""

REGIMES: Mapping[str, tuple[float, float]] = {
    "all densities": (0.0, 1.0),
    "densities ≤ 0.2": (0.0, 0.2),
    "densities > 0.2": (0.2, 1.0),
}
"""The ranges of density in Figure 3: above the first number, up to and including the second."""


@dataclass(frozen=True)
class Ranking:
    """The ranking of criteria over many blocks.

    Attributes:
        average: rank of each criterion, averaged over the blocks, best (lowest) first.
        blocks: the number of blocks in which every criterion has results.
        dropped: the number of blocks left out because some criterion has no result there.
        missing_blocks: for each criterion, the number of dropped blocks without a result of it.
        chi2: Friedman's statistic, without correction for ties, and its p-value.
        f: Iman and Davenport's less conservative statistic F_F, and its p-value.
        cd: Nemenyi's critical distance at :data:`ALPHA`: average ranks further apart differ significantly.
        p_values: of Nemenyi's test, criteria × criteria.
    """

    average: pd.Series
    blocks: int
    dropped: int
    missing_blocks: dict[str, int]
    chi2: tuple[float, float]
    f: tuple[float, float]
    cd: float
    p_values: pd.DataFrame

    @property
    def significant(self) -> bool:
        """Whether Friedman's test finds a difference among the criteria; if not, no pair counts as different."""
        return self.tested and self.f[1] < ALPHA

    @property
    def tested(self) -> bool:
        """Whether there are :data:`MIN_BLOCKS`; if not, the ranks only describe the runs and no test is valid."""
        return self.blocks >= MIN_BLOCKS

    @property
    def groups(self) -> list[list[str]]:
        """The maximal sets of two or more criteria whose average ranks are within ``cd``, best first."""
        names, ranks = list(self.average.index), self.average.to_numpy()
        ends = [int(np.searchsorted(ranks, rank + self.cd + 1e-12, side="right")) for rank in ranks]
        spans = [(start, end) for start, end in enumerate(ends) if end - start > 1]
        return [names[a:b] for a, b in spans if not any(c < a and b <= d for c, d in spans)]


def rankings(runs: pd.DataFrame, metric: str = "test_acc") -> dict[str, Ranking | None]:
    """Ranks the criteria in each of :data:`REGIMES`; skips a range of density that has all of the runs or none.

    Args:
        runs: of a :class:`analysis.compare.ComparableRuns`.
        metric: the accuracy to rank by; more is better.

    Returns:
        Rankings by regime; None where there are too few results (:func:`rank_criteria`).
    """
    densities = runs.loc[runs["method"] == "dst", "density"]
    whole, *parts = REGIMES
    some = [part for part in parts if 0 < densities.between(*REGIMES[part], inclusive="right").mean() < 1]
    return {regime: rank_criteria(runs, metric, regime) for regime in (whole, *some)}


def rank_criteria(runs: pd.DataFrame, metric: str = "test_acc", regime: str = "all densities") -> Ranking | None:
    """Ranks the criteria by their means over seeds within each :data:`BLOCK_COLUMNS`.

    Args:
        runs: of a :class:`analysis.compare.ComparableRuns`; dense and static ones are ignored.
        metric: the accuracy to rank by; more is better.
        regime: the range of density, one of :data:`REGIMES`.

    Returns:
        The ranking; None with fewer than two criteria or two complete blocks.
    """
    low, high = REGIMES[regime]
    dynamic = runs[(runs["method"] == "dst") & (runs["density"] > low) & (runs["density"] <= high)]
    if dynamic.empty:
        return None
    return rank(
        aggregate_seeds(dynamic, [metric]).pivot_table(index=BLOCK_COLUMNS, columns="line", values=metric, dropna=False)
    )


def rank(scores: pd.DataFrame) -> Ranking | None:
    """Ranks the columns of ``scores``, blocks × criteria (more is better), in each row; drops rows with a NaN."""
    scores = scores.dropna(how="all")
    complete = scores.dropna()
    blocks, count = complete.shape
    if blocks < 2 or count < 2:
        return None
    incomplete = scores[scores.isna().any(axis=1)]
    missing_blocks = {str(name): int(number) for name, number in incomplete.isna().sum().items() if number}
    average = complete.rank(axis=1, ascending=False, method="average").mean()
    return Ranking(
        average.sort_values(kind="stable"),
        blocks,
        len(incomplete),
        missing_blocks,
        *friedman(average.to_numpy(), blocks),
        critical_distance(count, blocks),
        scikit_posthocs.posthoc_nemenyi_friedman(complete.reset_index(drop=True)),
    )


def friedman(average_ranks: np.ndarray, blocks: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """Returns (χ²_F, p-value) and (F_F, p-value) of the Friedman test (Demšar 2006, Section 3.2.2).

    Args:
        average_ranks: the average rank of each criterion.
        blocks: the number of blocks they are averaged over.
    """
    count = len(average_ranks)
    chi2 = 12 * blocks / (count * (count + 1)) * (float(np.sum(average_ranks**2)) - count * (count + 1) ** 2 / 4)
    freedom = count - 1
    rest = blocks * freedom - chi2
    f = (blocks - 1) * chi2 / rest if rest > 1e-9 else float("inf")
    least = float(math.factorial(count)) ** (
        1 - blocks
    )  # the exact probability of equal ranks in all blocks bounds p from below
    return (
        (chi2, float(stats.chi2.sf(chi2, freedom))),
        (f, max(least, float(stats.f.sf(f, freedom, freedom * (blocks - 1))))),
    )


def critical_distance(count: int, blocks: int, alpha: float = ALPHA) -> float:
    """Returns the difference of average ranks above which two methods differ significantly (Nemenyi).

    Args:
        count: the number of methods.
        blocks: the number of blocks they are ranked in.
        alpha: the level of significance.
    """
    q = float(stats.studentized_range.ppf(1 - alpha, count, np.inf)) / np.sqrt(2)
    return float(q * np.sqrt(count * (count + 1) / (6 * blocks)))
