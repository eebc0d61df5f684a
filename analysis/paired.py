"""Comparison of two choices seed by seed: differences, their confidence interval, tests, adjusted p-values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

_EQUAL = 1e-12
"""Differences below this are none: what rounding leaves of means of equal values."""

MIN_WILCOXON = 6
"""Pairs below which Wilcoxon's p-value cannot fall below 0.05 (2 / 2⁶ = 0.031, 2 / 2⁵ = 0.063)."""


@dataclass(frozen=True)
class Differences:
    """Differences of a value between runs of equal seeds.

    Attributes:
        values: one minus the other, by seed.
    """

    values: pd.Series

    @property
    def mean(self) -> float:
        """Their mean; NaN without pairs."""
        return float(self.values.mean())

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Returns the percentile bootstrap interval of the mean over seeds; NaN with fewer than two pairs."""
        if len(self.values) < 2:
            return float("nan"), float("nan")
        found = stats.bootstrap(
            (self.values.to_numpy(float),),
            np.mean,
            confidence_level=level,
            method="percentile",
            random_state=np.random.default_rng(0),  # called rng since SciPy 1.15
        )
        return float(found.confidence_interval.low), float(found.confidence_interval.high)

    def wilcoxon(self) -> float:
        """Returns the p-value of Wilcoxon's signed-rank test, two-sided; 1 if all are equal, NaN with one pair."""
        if len(self.values) < 2:
            return float("nan")
        if self.are_zero:
            return 1.0
        return float(stats.wilcoxon(self.values.where(self.values.abs() > _EQUAL, 0.0)).pvalue)

    def test(self) -> tuple[str, float]:
        """Returns name and p-value of the test that so many pairs allow: Wilcoxon's, or the paired t-test for few.

        NaN where no test is possible: with one pair, or if all differences are the same.
        """
        if len(self.values) >= MIN_WILCOXON:
            return "Wilcoxon", self.wilcoxon()
        if len(self.values) < 2 or self.values.std(ddof=1) < _EQUAL:
            return "paired t-test", float("nan")
        return "paired t-test", float(stats.ttest_1samp(self.values, 0.0).pvalue)

    @property
    def are_zero(self) -> bool:
        """Whether there is no difference at any seed."""
        return bool((self.values.abs() <= _EQUAL).all())


def paired(one: pd.DataFrame, other: pd.DataFrame, value: str) -> Differences:
    """Returns ``other`` minus ``one`` at the seeds that both have.

    Args:
        one, other: runs that differ in their seeds only.
        value: the column to compare.
    """
    first, second = (runs.groupby("seed")[value].mean().dropna() for runs in (one, other))
    return Differences((second - first).dropna())


def holm(p_values: pd.Series) -> pd.Series:
    """Returns p-values adjusted for their number by Holm's method; NaN is no test and stays."""
    ordered = p_values.dropna().sort_values()
    factors = pd.Series(range(len(ordered), 0, -1), index=ordered.index, dtype=float)
    return (ordered * factors).cummax().clip(upper=1).reindex(p_values.index)
