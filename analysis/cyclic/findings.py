"""What the comparison at equal cost comes to, in sentences: the best family of each budget, ranks, the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from scipy import stats

from ..paired import holm
from ..stats import ALPHA, MIN_BLOCKS, Ranking
from .cost import at_budgets, cost_means, panel_densities, rank_families
from .families import is_cyclic
from .study import Study

_NO_SPREAD = 1e-9
_FEW = 3


def compare_costs(found: Sequence[Study]) -> tuple[Ranking | None, list[str]]:
    """Returns the ranking of the families at equal cost and all findings, a sentence each.

    Args:
        found: a study of each setup.
    """
    whole = {study.setup: _at_drawn_densities(study).query("final") for study in found}
    ranking, left_out = rank_families([points.assign(setup=setup) for setup, points in whole.items()])
    return ranking, [*(line for study in found for line in findings(study)), *ranking_findings(ranking, left_out)]


def findings(study: Study) -> list[str]:
    """Returns a line for each density that is drawn and each budget, the best family and what differs from it.

    The Pareto front of each density follows.
    """
    means = cost_means(study)
    drawn = panel_densities(means)
    lines = [
        f"{study.setup}, {_sparse(density)}, {_cost(budget, here, study)}: {_best(here)}"
        for (density, budget), here in _at_drawn_densities(study).groupby(["density", "budget"])
    ]
    for density in sorted(drawn):
        front = means[(means["density"] == density) & means["pareto"]].sort_values("cost")
        steps = ", ".join(map(_reached, front.itertuples()))
        lines.append(f"{study.setup}, {_sparse(density)}: Pareto front in {study.unit}: {steps}")
    return lines or [f"{study.setup}: no two families have results at one density for the same cost"]


def _at_drawn_densities(study: Study) -> pd.DataFrame:
    """Returns the points to compare; levels between those densities are steps of the same few runs."""
    points = at_budgets(study)
    return points[points["density"].isin(panel_densities(cost_means(study)))]


def ranking_findings(ranking: Ranking | None, left_out: Sequence[str]) -> list[str]:
    """Returns the average ranks at equal cost and which differences are significant, in sentences.

    Args:
        ranking: of :func:`analysis.cyclic.cost.rank_families`.
        left_out: the families that are not ranked.
    """
    if ranking is None:
        return ["Ranks at equal cost: no two families meet in two blocks of setup, density and budget"]
    listed = ", ".join(f"{name} {value:.2f}" for name, value in ranking.average.items())
    lines = [f"Average ranks at equal cost over {ranking.blocks} blocks of setup, density and budget: {listed}"]
    if not ranking.tested:
        lines.append(f"Their differences are not tested: that takes {MIN_BLOCKS} blocks or more")
    elif not ranking.significant:
        lines.append(f"No difference is significant (Friedman, p = {ranking.f[1]:.2g})")
    else:
        best = str(ranking.average.index[0])
        worse = [
            str(name) for name in ranking.average.index if ranking.average[name] > ranking.average[best] + ranking.cd
        ]
        told = f"significantly worse than {best}: {', '.join(worse)}" if worse else f"none differs from {best} alone"
        lines.append(f"Families differ (Friedman, p = {ranking.f[1]:.2g}); {told} (Nemenyi, distance {ranking.cd:.2f})")
    return [
        *lines,
        *([f"Not ranked, as they have no results in some of these blocks: {', '.join(left_out)}"] if left_out else []),
    ]


def compared_with_best(points: pd.DataFrame) -> pd.DataFrame:
    """Returns families by mean accuracy, best first, with ``p`` of Welch's test against the best, adjusted by Holm.

    Args:
        points: columns ``family accuracy``, a row for each seed.

    Returns:
        Columns ``mean std count p``, by family; ``p`` is NaN for the best and where no test is possible: for
        a single seed, or accuracies that are equal over the seeds of both.
    """
    groups = points.groupby("family")["accuracy"]
    found = pd.DataFrame({"mean": groups.mean(), "std": groups.std(ddof=1), "count": groups.count()})
    found = found.sort_values("mean", ascending=False, kind="stable")
    raw = pd.Series({name: _welch(found.iloc[0], row) for name, row in found.iloc[1:].iterrows()}, dtype=float)
    return found.assign(p=holm(raw).reindex(found.index))


def _welch(one: pd.Series, other: pd.Series) -> float:
    if min(one["count"], other["count"]) < 2 or max(one["std"], other["std"]) < _NO_SPREAD:
        return float("nan")  # nothing to estimate the error of the difference by
    sizes = [value for row in (one, other) for value in (row["mean"], row["std"], row["count"])]
    return float(stats.ttest_ind_from_stats(*sizes, equal_var=False).pvalue)


def _best(points: pd.DataFrame) -> str:
    table = compared_with_best(points)
    said = {name: _mean(row) for name, row in table.iterrows()}
    first, others = table.index[0], table.iloc[1:]
    parts = {
        f"significantly worse (Welch and Holm, p < {ALPHA})": others.index[others["p"] < ALPHA],
        _not_significant(table["count"].min()): others.index[others["p"] >= ALPHA],
        "not tested": others.index[others["p"].isna()],
    }
    told = [f"{title}: {', '.join(said[name] for name in names)}" for title, names in parts.items() if len(names)]
    return "; ".join([f"best is {said[first]}", *told])


def _not_significant(seeds: int) -> str:
    few = f" ({seeds} seeds show only large ones)" if 1 < seeds < _FEW else ""
    return f"difference not significant{few}"


def _reached(row: Any) -> str:
    """Returns the family of a mean, with the number of cycles that led to it, its accuracy and its cost."""
    cycles = f" after {row.phase:.0f} cycle{'s' if row.phase > 1 else ''}" if is_cyclic(row.family) else ""
    return f"{row.family}{cycles} {100 * row.accuracy:.2f} at {_number(row.cost)}"


def _mean(row: pd.Series) -> str:
    spread = "" if pd.isna(row["std"]) else f" ± {100 * row['std']:.2f}"
    return f"{row.name} {100 * row['mean']:.2f}{spread} ({row['count']:.0f})"


def _sparse(density: float) -> str:
    return f"{100 * (1 - density):.3g} % sparse"


def _cost(budget: float, points: pd.DataFrame, study: Study) -> str:
    spent = points.groupby("family")["cost"].mean()
    low, high = _number(spent.min()), _number(spent.max())
    return f"about {_number(budget)} {study.unit}" + (f" ({low} to {high})" if low != high else "")


def _number(cost: float) -> str:
    return f"{cost:.3g}"
