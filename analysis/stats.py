"""Are the criteria different? Average ranks, the Friedman test and the Nemenyi test, as Demšar (2006) puts them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import scikit_posthocs
from scipy import stats

from analysis.compare import aggregate_seeds

ALPHA = 0.05
MIN_BLOCKS = 11
"""Blocks that a test needs: its distribution holds for N > 10 of them (Demšar 2006, Section 3.2.2, a rule of thumb)."""

BLOCK_COLUMNS = ["setup", "growth", "density"]
"""What the criteria are ranked within (Section 5.2 of the paper)."""

REGIMES: Mapping[str, tuple[float, float]] = {
    "all densities": (0.0, 1.0),
    "densities ≤ 0.2": (0.0, 0.2),
    "densities > 0.2": (0.2, 1.0),
}
"""The parts of Figure 3: densities above the first number, up to the second."""


@dataclass(frozen=True)
class Ranking:
    """How criteria rank over many blocks.

    Attributes:
        average: rank of each criterion, averaged over the blocks, best (lowest) first.
        blocks: the number of blocks in which every criterion has results.
        dropped: the number of blocks left out because some criterion has none there.
        missing_blocks: for each criterion, how many of the dropped blocks lack it.
        chi2: Friedman's statistic, without correction for ties, and its p-value.
        f: Iman and Davenport's less conservative form of it, and its p-value.
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
        """Friedman's test finds some difference among the criteria; without it no pair may be called different."""
        return self.tested and self.f[1] < ALPHA

    @property
    def tested(self) -> bool:
        """There are :data:`MIN_BLOCKS`. If not, the ranks describe the runs, and the tests' numbers say nothing."""
        return self.blocks >= MIN_BLOCKS

    @property
    def groups(self) -> list[list[str]]:
        """The largest sets of criteria, best first, whose average ranks are no more than ``cd`` apart; two at least."""
        names, ranks = list(self.average.index), self.average.to_numpy()
        ends = [int(np.searchsorted(ranks, rank + self.cd + 1e-12, side="right")) for rank in ranks]
        spans = [(start, end) for start, end in enumerate(ends) if end - start > 1]
        return [names[a:b] for a, b in spans if not any(c < a and b <= d for c, d in spans)]


def rankings(runs: pd.DataFrame, metric: str = "test_acc") -> dict[str, Ranking | None]:
    """Returns the ranking of each regime, as :func:`rank_criteria` does; of none that has all runs or no run."""
    densities = runs.loc[runs["method"] == "dst", "density"]
    whole, *parts = REGIMES
    some = [part for part in parts if 0 < densities.between(*REGIMES[part], inclusive="right").mean() < 1]
    return {regime: rank_criteria(runs, metric, regime) for regime in (whole, *some)}


def rank_criteria(runs: pd.DataFrame, metric: str = "test_acc", regime: str = "all densities") -> Ranking | None:
    """Ranks the criteria by their means over seeds within each :data:`BLOCK_COLUMNS`.

    Args:
        runs: of a :class:`analysis.compare.ComparableRuns`; dense and static ones do not take part.
        metric: the accuracy to rank by; more is better.
        regime: which densities, one of :data:`REGIMES`.

    Returns:
        None with fewer than two criteria or two complete blocks.
    """
    low, high = REGIMES[regime]
    dynamic = runs[(runs["method"] == "dst") & (runs["density"] > low) & (runs["density"] <= high)]
    if dynamic.empty:
        return None
    return rank(
        aggregate_seeds(dynamic, [metric]).pivot_table(index=BLOCK_COLUMNS, columns="line", values=metric, dropna=False)
    )


def rank(scores: pd.DataFrame) -> Ranking | None:
    """Ranks the columns of a frame of scores (more is better) within each of its rows; rows with gaps are dropped."""
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
    """Returns χ²_F and F_F, each with its p-value (Demšar 2006, Section 3.2.2); that of F_F is no less than exact."""
    count = len(average_ranks)
    chi2 = 12 * blocks / (count * (count + 1)) * (float(np.sum(average_ranks**2)) - count * (count + 1) ** 2 / 4)
    freedom = count - 1
    rest = blocks * freedom - chi2
    f = (blocks - 1) * chi2 / rest if rest > 1e-9 else float("inf")
    least = float(math.factorial(count)) ** (1 - blocks)  # all blocks alike by chance: no exact test says less
    return (
        (chi2, float(stats.chi2.sf(chi2, freedom))),
        (f, max(least, float(stats.f.sf(f, freedom, freedom * (blocks - 1))))),
    )


def critical_distance(count: int, blocks: int, alpha: float = ALPHA) -> float:
    """Returns how far apart the average ranks of two among ``count`` methods must be over ``blocks`` (Nemenyi)."""
    q = float(stats.studentized_range.ppf(1 - alpha, count, np.inf)) / np.sqrt(2)
    return float(q * np.sqrt(count * (count + 1) / (6 * blocks)))
