"""Findings: sentences computed from the runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pandas as pd

from ..compare import aggregate_seeds, dynamic_lines
from ..figures.critical_distance import too_few_blocks
from ..stats import ALPHA, Ranking
from ..style import growth_title, label, setup_title

_FEW = 3


def findings(
    runs: pd.DataFrame, varied: pd.DataFrame, rankings: Mapping[str, Ranking | None]
) -> tuple[list[str], list[str]]:
    """Returns the findings over all runs, and those of each setup.

    Args:
        runs: comparable runs at one update period.
        varied: cells of setups trained with several update periods.
        rankings: of the criteria, by regime of densities; None: too few results.
    """
    summary = aggregate_seeds(runs, ["test_acc"])
    summary = summary[summary["test_acc_n"] > 0]
    if summary.empty:
        return ["No run has finished yet."], []
    overall = [*_significance(rankings), *_spread(summary), *_against_static(summary), *_growths(summary)]
    return [*overall, *_caution(summary)], [*_winners(summary), *_against_dense(summary), *_periods(varied)]


def _significance(rankings: Mapping[str, Ranking | None]) -> Iterator[str]:
    for regime, ranking in rankings.items():
        if ranking is None:
            yield f"{regime.capitalize()}: too few complete blocks to rank the criteria."
            continue
        best = str(ranking.average.index[0])
        if not ranking.tested:
            yield (
                f"{regime.capitalize()}: {label(best)} has the best average rank, {ranking.average.iloc[0]:.2f} over "
                f"{too_few_blocks(ranking.blocks)}."
            )
            continue
        if not ranking.significant:
            f, p = ranking.f
            yield (
                f"{regime.capitalize()}: the differences among the criteria are not significant (Friedman F = {f:.2f}, "
                f"p = {p:.2g}, {ranking.blocks} blocks); {label(best)} has the best average rank, "
                f"{ranking.average.iloc[0]:.2f}."
            )
            continue
        gap = ranking.average - ranking.average.iloc[0]
        worse, alike = gap.index[gap > ranking.cd], gap.index[(gap <= ranking.cd) & (gap.index != best)]
        yield (
            f"{regime.capitalize()}: {label(best)} ranks best (average rank {ranking.average.iloc[0]:.2f} over "
            f"{ranking.blocks} blocks). Significantly worse at p = {ALPHA}: {_listed(worse) or 'none'}; "
            f"not significantly different from it: {_listed(alike) or 'none'}."
        )


def _winners(summary: pd.DataFrame) -> Iterator[str]:
    for (setup, growth), here in dynamic_lines(summary).groupby(["setup", "growth"]):
        contested = here[here.groupby("density")["line"].transform("size") > 1]
        if contested.empty:
            continue
        top = contested[contested["test_acc"] == contested.groupby("density")["test_acc"].transform("max")]
        densities = contested["density"].nunique()
        won = top.groupby("line")["density"].apply(sorted).sort_values(key=lambda lists: -lists.map(len), kind="stable")
        parts = [f"{label(str(line))} at {', '.join(f'{value:g}' for value in at)}" for line, at in won.items()]
        where = f"{setup_title(setup)}, {growth_title(growth)}"
        yield f"{where}: the highest mean has, of {densities} densities, {'; '.join(parts)}."


def _spread(summary: pd.DataFrame) -> Iterator[str]:
    means = (
        dynamic_lines(summary)
        .groupby(["setup", "growth", "density"])["test_acc"]
        .agg(["max", "min", "size"])
        .reset_index()
    )
    means = means[means["size"] > 1]
    gap = 100 * (means["max"] - means["min"])
    low, high = gap[means["density"] <= 0.2], gap[means["density"] > 0.2]
    parts = [
        f"{part.mean():.2f} percentage points at densities {where} 0.2"
        for part, where in ((low, "≤"), (high, ">"))
        if len(part)
    ]
    if parts:
        yield f"Between the best and the worst criterion lie on average {' and '.join(parts)}."


def _against_static(summary: pd.DataFrame) -> Iterator[str]:
    static = summary[summary["line"] == "static"].set_index(["setup", "density"])["test_acc"].rename("static")
    pairs = dynamic_lines(summary).join(static, on=["setup", "density"], how="inner")
    if pairs.empty:
        return
    better = int((pairs["test_acc"] > pairs["static"]).sum())
    gain = 100 * (pairs["test_acc"] - pairs["static"]).mean()
    yield (
        f"Dynamic sparse training has a higher mean than static in {better} of {len(pairs)} cells of setup, growth, "
        f"criterion and density ({gain:+.2f} percentage points on average)."
    )


def _against_dense(summary: pd.DataFrame) -> Iterator[str]:
    dense = summary[summary["line"] == "dense"].set_index("setup")["test_acc"].rename("dense")
    pairs = dynamic_lines(summary).join(dense, on="setup", how="inner")
    for setup, here in pairs.groupby("setup"):
        reached = here[here["test_acc"] >= here["dense"]]
        if reached.empty:
            nearest = here.loc[here["test_acc"].idxmax()]
            short = 100 * (nearest["dense"] - nearest["test_acc"])
            yield (
                f"{setup_title(setup)}: no sparse model's mean reaches the dense model's; the nearest, "
                f"{label(nearest['line'])} at density {nearest['density']:g}, is {short:.2f} percentage points short."
            )
        else:
            yield (
                f"{setup_title(setup)}: {len(reached)} of {len(here)} cells reach the dense model's mean, down to "
                f"density {reached['density'].min():g}."
            )


def _growths(summary: pd.DataFrame) -> Iterator[str]:
    wide = dynamic_lines(summary).pivot_table(index=["setup", "line", "density"], columns="growth", values="test_acc")
    if {"gradient", "random"} <= set(wide.columns):
        difference = 100 * (wide["gradient"] - wide["random"]).dropna()
        if len(difference):
            mean = round(difference.mean(), 2) + 0.0  # no minus before a zero
            yield (
                f"Gradient growth minus random growth: {mean:+.2f} percentage points on average over {len(difference)} "
                f"cells, gradient ahead in {int((difference > 0).sum())}."
            )


def _periods(varied: pd.DataFrame) -> Iterator[str]:
    for (setup, growth), here in dynamic_lines(varied).groupby(["setup", "growth"]):
        means = here.groupby("update_period")["val_acc"].mean()
        best, worst = means.idxmax(), means.idxmin()
        yield (
            f"{setup_title(str(setup))}, {growth_title(str(growth))}: averaged over criteria and densities, "
            f"Δt = {best:g} has the highest validation accuracy ({100 * means.max():.2f} %), Δt = {worst:g} the lowest "
            f"({100 * means.min():.2f} %)."
        )


def _caution(summary: pd.DataFrame) -> Iterator[str]:
    few = int((summary["test_acc_n"] < _FEW).sum())
    if few:
        yield f"Caution: {few} of {len(summary)} means are over fewer than {_FEW} runs."


def _listed(names: pd.Index) -> str:
    return ", ".join(label(str(name)) for name in names)
