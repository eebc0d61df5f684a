from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from analysis.figures.critical_distance import describe_ranking
from analysis.stats import critical_distance, friedman, rank, rank_criteria, rankings

# Demšar (2006), Table 6: AUC of C4.5 with m (minimal number of examples in leaves) and cf (confidence) tuned or not
C45 = pd.DataFrame(
    [
        (0.763, 0.768, 0.771, 0.798),
        (0.599, 0.591, 0.590, 0.569),
        (0.954, 0.971, 0.968, 0.967),
        (0.628, 0.661, 0.654, 0.657),
        (0.882, 0.888, 0.886, 0.898),
        (0.936, 0.931, 0.916, 0.931),
        (0.661, 0.668, 0.609, 0.685),
        (0.583, 0.583, 0.563, 0.625),
        (0.775, 0.838, 0.866, 0.875),
        (1.000, 1.000, 1.000, 1.000),
        (0.940, 0.962, 0.965, 0.962),
        (0.619, 0.666, 0.614, 0.669),
        (0.972, 0.981, 0.975, 0.975),
        (0.957, 0.978, 0.946, 0.970),
    ],
    columns=["C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf"],
)


TIE = 12
"""The row of "voting": 0.975 is printed twice, yet the printed average ranks count C4.5+cf second and C4.5+m+cf third,
so the paper ranked before it rounded."""


def test_the_worked_example_of_demsar_is_reproduced() -> None:
    unrounded = C45.copy()
    unrounded.loc[TIE, "C4.5+cf"] += 1e-5
    ranking = rank(unrounded)
    assert ranking is not None
    assert ranking.average.round(3).to_dict() == {"C4.5": 3.143, "C4.5+m": 2.0, "C4.5+cf": 2.893, "C4.5+m+cf": 1.964}
    assert ranking.chi2[0] == pytest.approx(9.28, abs=0.005)
    assert ranking.f[0] == pytest.approx(3.69, abs=0.005)
    assert ranking.significant
    assert ranking.cd == pytest.approx(1.25, abs=0.005)
    assert (ranking.blocks, ranking.dropped) == (14, 0)


def test_the_printed_tie_is_averaged() -> None:
    ranking = rank(C45)
    assert ranking is not None
    assert ranking.average["C4.5+cf"] == pytest.approx((40.5 + 0.5) / 14)
    assert ranking.average["C4.5+m+cf"] == pytest.approx((27.5 - 0.5) / 14)


@pytest.mark.parametrize(
    ("count", "q"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (6, 2.850), (7, 2.949), (8, 3.031), (10, 3.164)]
)
def test_critical_values_are_those_of_demsars_table_5(count: int, q: float) -> None:
    blocks = 30
    assert critical_distance(count, blocks) == pytest.approx(q * np.sqrt(count * (count + 1) / (6 * blocks)), rel=3e-4)


@given(arrays(float, (12, 4), elements=st.floats(0, 1, allow_nan=False), unique=True))
def test_without_ties_the_statistic_equals_scipys(scores: np.ndarray) -> None:
    ranking = rank(pd.DataFrame(scores, columns=list("abcd")))
    assert ranking is not None
    expected = stats.friedmanchisquare(*scores.T)
    assert ranking.chi2[0] == pytest.approx(expected.statistic, abs=1e-9)
    assert ranking.chi2[1] == pytest.approx(expected.pvalue, abs=1e-9)


def test_ties_share_the_mean_of_their_ranks() -> None:
    ranking = rank(pd.DataFrame({"a": [0.9, 0.9], "b": [0.9, 0.8], "c": [0.1, 0.8]}))
    assert ranking is not None
    assert ranking.average.to_dict() == {"a": 1.25, "b": 2.0, "c": 2.75}


def test_incomplete_blocks_are_dropped_and_counted() -> None:
    nan = float("nan")
    scores = pd.DataFrame(
        {"a": [0.9, 0.8, 0.7, nan, nan], "b": [0.8, 0.9, 0.6, 0.5, nan], "c": [0.7, 0.7, nan, 0.9, nan]}
    )
    ranking = rank(scores)
    assert ranking is not None
    assert (ranking.blocks, ranking.dropped, ranking.missing_blocks) == (2, 2, {"a": 1, "c": 1})
    pd.testing.assert_series_equal(ranking.average, rank(scores.dropna()).average)  # type: ignore[union-attr]


def test_groups_are_the_largest_sets_within_the_critical_distance() -> None:
    ranking = rank(C45)
    assert ranking is not None
    object.__setattr__(ranking, "cd", 1.0)
    assert ranking.groups == [["C4.5+m+cf", "C4.5+m", "C4.5+cf"], ["C4.5+cf", "C4.5"]] or ranking.groups == [
        ["C4.5+m+cf", "C4.5+m", "C4.5+cf"],
        ["C4.5+m", "C4.5+cf"],
    ]
    object.__setattr__(ranking, "cd", 0.5)
    assert ranking.groups == [["C4.5+m+cf", "C4.5+m"], ["C4.5+cf", "C4.5"]]
    object.__setattr__(ranking, "cd", 0.01)
    assert ranking.groups == []


def test_perfect_agreement_has_an_infinite_f_and_the_smallest_p() -> None:
    (chi2, _), (f, p) = friedman(np.array([1.0, 2.0, 3.0]), 10)
    assert chi2 == pytest.approx(20)
    assert f == float("inf")
    assert p == pytest.approx((1 / 6) ** 9)  # one of the 3! orders in each block but the first, by chance


@pytest.mark.parametrize("blocks", [2, 10, 11])
def test_nothing_is_called_significant_with_fewer_than_eleven_blocks(blocks: int) -> None:
    ranking = rank(pd.DataFrame({name: [score] * blocks for name, score in (("a", 0.9), ("b", 0.8), ("c", 0.7))}))
    assert ranking is not None
    words = " ".join(describe_ranking("all densities", ranking))
    assert ranking.significant == ("the criteria differ" in words) == (blocks == 11)
    assert ("not tested, as a test needs 11 or more" in words) == (blocks < 11)


def test_a_regime_with_all_or_none_of_the_runs_is_skipped() -> None:
    low = {(line, "random", density): 0.9 for line in ("magnitude", "snip") for density in (0.1, 0.2)}
    assert list(rankings(runs_of(low))) == ["all densities"]
    both = low | {(line, "random", 0.5): 0.9 for line in ("magnitude", "snip")}
    assert list(rankings(runs_of(both))) == ["all densities", "densities ≤ 0.2", "densities > 0.2"]


def runs_of(accuracies: dict[tuple[str, str, float], float], setup: str = "m/d") -> pd.DataFrame:
    rows = [
        {"setup": setup, "method": "dst", "line": line, "growth": growth, "density": density, "update_period": 800}
        | {"seed": seed, "test_acc": accuracy + noise}
        for (line, growth, density), accuracy in accuracies.items()
        for seed, noise in ((1, -0.01), (2, 0.01))
    ]
    return pd.DataFrame(rows)


def test_criteria_are_ranked_by_means_over_seeds_within_setup_growth_and_density() -> None:
    runs = runs_of(
        {
            ("magnitude", "random", 0.1): 0.9,
            ("snip", "random", 0.1): 0.8,
            ("magnitude", "gradient", 0.1): 0.7,
            ("snip", "gradient", 0.1): 0.71,
            ("magnitude", "random", 0.3): 0.95,
            ("snip", "random", 0.3): 0.94,
            ("magnitude", "random", 0.5): 0.95,
            ("snip", "random", 0.5): 0.96,
        }
    )
    everything = rank_criteria(runs)
    assert everything is not None
    assert (everything.blocks, everything.average.to_dict()) == (4, {"magnitude": 1.5, "snip": 1.5})
    for regime in ("densities ≤ 0.2", "densities > 0.2"):
        part = rank_criteria(runs, regime=regime)
        assert part is not None
        assert part.blocks == 2


def test_dense_and_static_runs_are_not_ranked() -> None:
    runs = runs_of({(line, "random", density): 0.9 for line in ("magnitude", "snip") for density in (0.1, 0.2)})
    static = runs.assign(line="static", method="static", criterion=None)
    ranking = rank_criteria(pd.concat([runs, static]))
    assert ranking is not None
    assert set(ranking.average.index) == {"magnitude", "snip"}


@pytest.mark.parametrize("runs", [runs_of({("magnitude", "random", 0.1): 0.9, ("magnitude", "random", 0.2): 0.9})])
def test_there_is_no_ranking_with_too_few_results(runs: pd.DataFrame) -> None:
    assert rank_criteria(runs) is None
    assert rank_criteria(runs[runs["seed"] > 9]) is None
