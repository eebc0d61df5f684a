"""Critical-distance diagrams of the criteria's average ranks (Figure 3)."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..compare import select_comparable, select_update_period, setup_of_panel
from ..stats import ALPHA, MIN_BLOCKS, Ranking, rankings
from ..style import colors, label
from .canvas import Drawing, FigureData, as_sentences, missing_note


def figure_3(data: FigureData) -> list[Drawing]:
    """Three diagrams: all densities, densities up to 0.2, and densities above 0.2."""
    chosen = select_update_period(select_comparable(data.runs))
    ranked = rankings(chosen.runs, data.metric)
    found = {regime: ranking for regime, ranking in ranked.items() if ranking is not None}
    if not found:
        return []
    unranked = [f"Too few runs for {regime}." for regime in ranked if regime not in found]
    caption = [
        *(sentence for regime, ranking in found.items() for sentence in describe_ranking(regime, ranking)),
        *unranked,
        *missing_note(data.missing, chosen.runs["setup"].map(setup_of_panel).unique()),
        *as_sentences(chosen.all_notes),
    ]
    return [Drawing(draw_diagrams(found), caption)]


def draw_diagrams(rankings: dict[str, Ranking], palette: dict[str, str] | None = None) -> Figure:
    """Draws one diagram per regime, below each other.

    Args:
        rankings: by regime.
        palette: the color of each name that is ranked; None: criteria have theirs.
    """
    longest = max(_name_length(list(map(label, map(str, ranking.average.index)))) for ranking in rankings.values())
    figure = Figure(figsize=(max(5.2, 3.2 + 0.075 * longest), 1.75 * len(rankings)), layout="constrained")
    for axes, (regime, ranking) in zip(
        figure.subplots(len(rankings), squeeze=False)[:, 0], rankings.items(), strict=True
    ):
        _diagram(axes, regime, ranking, palette or colors(ranking.average.index))
    return figure


def describe_ranking(regime: str, ranking: Ranking) -> list[str]:
    """Returns the outcome of the tests, and the blocks left out, as sentences.

    Args:
        regime: the name of the range of density.
        ranking: of the criteria in that range.
    """
    if not ranking.tested:
        sentences = [f"{regime.capitalize()}: average ranks over {too_few_blocks(ranking.blocks)}."]
        return [*sentences, *_dropped(ranking)]
    f, p = ranking.f
    verdict = "the criteria differ" if ranking.significant else "no difference among the criteria is significant"
    size = f"{ranking.blocks} blocks of setup, growth and density"
    statistic = "∞" if f == float("inf") else f"{f:.2f}"
    text = f"{regime.capitalize()}: {verdict} (Friedman F = {statistic}, p = {p:.2g}; {size}; Nemenyi p = {ALPHA}"
    return [f"{text}, critical distance {ranking.cd:.2f}).", *_dropped(ranking)]


def too_few_blocks(blocks: int) -> str:
    """Returns the reason for not testing: the number of blocks, and the number that a test needs."""
    return f"{blocks} blocks of setup, growth and density; not tested, as a test needs {MIN_BLOCKS} or more"


def _dropped(ranking: Ranking) -> list[str]:
    if not ranking.dropped:
        return []
    listed = ", ".join(f"{label(name)} lacks {count}" for name, count in ranking.missing_blocks.items())
    return [f"{ranking.dropped} incomplete blocks dropped ({listed})."]


def _diagram(axes: Axes, regime: str, ranking: Ranking, palette: dict[str, str]) -> None:
    count = len(ranking.average)
    half = (count + 1) // 2
    groups = ranking.groups if ranking.tested else []
    depth = 0.55 + 0.17 * len(groups)
    axes.set(xlim=(0.2, count + 0.8), ylim=(-depth - 0.42 * half, 1.5))
    axes.axis("off")
    axes.set_title(regime, loc="center")
    axes.hlines(0, 1, count, color="black", linewidth=1)
    for tick in range(1, count + 1):
        axes.vlines(tick, 0, 0.14, color="black", linewidth=1)
        axes.text(tick, 0.22, str(tick), ha="center", va="bottom", fontsize=7)
    if ranking.tested:
        _distance_bar(axes, ranking.cd)
    for index, (name, rank) in enumerate(zip(map(str, ranking.average.index), ranking.average, strict=True)):
        left = index < half
        row = index if left else count - 1 - index
        height, end = -depth - 0.42 * row, 0.75 if left else count + 0.25
        axes.plot([rank, rank, end], [0, height, height], color=palette[name], linewidth=1.3, solid_joinstyle="miter")
        axes.text(
            end + (-0.06 if left else 0.06),
            height,
            f"{label(name)} {rank:.2f}" if left else f"{rank:.2f} {label(name)}",
            ha="right" if left else "left",
            va="center",
            color=palette[name],
            fontweight="bold",
        )
    for level, group in enumerate(groups):
        ends = ranking.average[group[0]] - 0.05, ranking.average[group[-1]] + 0.05
        axes.hlines(-0.22 - 0.17 * level, *ends, color="black", linewidth=3)


def _name_length(names: Sequence[str]) -> int:
    """Returns the characters of the longest name at the left and of that at the right together."""
    half = (len(names) + 1) // 2
    return sum(max(map(len, side), default=0) for side in (names[:half], names[half:]))


def _distance_bar(axes: Axes, cd: float) -> None:
    axes.hlines(0.95, 1, 1 + cd, color="black", linewidth=1)
    axes.vlines([1, 1 + cd], 0.87, 1.03, color="black", linewidth=1)
    axes.text(1 + cd / 2, 1.05, f"CD = {cd:.2f}", ha="center", va="bottom", fontsize=7)
