"""What all figures share: what they are drawn from, how they look, where their captions go."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from analysis.compare import line_names
from analysis.style import colors, label, marker

STYLE = {
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.linewidth": 0.4,
    "grid.alpha": 0.5,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "pdf.fonttype": 42,
    "savefig.dpi": 200,
}
"""matplotlib settings of every figure."""


@dataclass(frozen=True)
class FigureData:
    """What a figure may be drawn from.

    Attributes:
        runs: one row a run (:func:`analysis.frames.runs_frame`).
        missing: one row a planned run without results.
        epochs: returns one row an epoch of every run.
        metric: the accuracy to draw.
    """

    runs: pd.DataFrame
    missing: pd.DataFrame
    epochs: Callable[[], pd.DataFrame]
    metric: str = "test_acc"


@dataclass(frozen=True)
class Drawing:
    """A figure, what its caption says, and what is added to its file's name if there are several."""

    figure: Figure
    caption: Sequence[str] = ()
    suffix: str = ""


@dataclass
class Grid:
    """A figure of panels with one legend above and a caption below.

    Attributes:
        figure: the figure.
        axes: its panels, rows × columns.
        compact: many panels side by side: smaller, with smaller letters, so as to be read at the width of a page.
    """

    figure: Figure
    axes: Any
    compact: bool = False
    _lines: set[str] = field(default_factory=set)

    @classmethod
    def make(cls, rows: int, columns: int, *, panel: tuple[float, float] = (2.6, 2.2), **shared: Any) -> Grid:
        """Returns a grid of empty panels, each ``panel`` inches wide and high."""
        compact = columns > 3
        wide, high = (1.7, 1.55) if compact else panel
        figure = Figure(figsize=(max(columns * wide, 4.6), rows * high + 0.9), layout="constrained")
        return cls(figure, figure.subplots(rows, columns, squeeze=False, **shared), compact)

    def used(self, lines: Iterable[str]) -> None:
        """Notes lines (criteria, ``static``, ``dense``) that the legend is to explain."""
        self._lines.update(lines)

    def finish(self, caption: Sequence[str], suffix: str = "", *, markers: bool = True) -> Drawing:
        """Adds the legend, with or without the lines' markers, and the caption."""
        palette = colors(self._lines)
        styles = [line_style(line, color) | ({} if markers else {"marker": ""}) for line, color in palette.items()]
        handles = [Line2D([], [], label=label(line), **style) for line, style in zip(palette, styles, strict=True)]
        if self.compact:
            for axes in self.axes.flat:
                axes.title.set_fontsize(5.7)
                for line in axes.lines:
                    line.set(markersize=0.65 * line.get_markersize(), linewidth=0.75 * line.get_linewidth())
                axes.xaxis.label.set_fontsize(6.5)
                axes.yaxis.label.set_fontsize(6.5)
                axes.tick_params(labelsize=6)
        longest = max((len(label(line)) for line in palette), default=0)
        columns = max(1, min(len(handles), int(self.figure.get_size_inches()[0] / max(1.15, 0.55 + 0.065 * longest))))
        self.figure.legend(handles=handles, loc="outside upper center", ncols=columns, frameon=False)
        return Drawing(self.figure, caption, suffix)


def line_style(line: str, color: str) -> dict[str, Any]:
    """Returns how a criterion, ``static`` or ``dense`` is drawn."""
    if line in ("dense", "dropout"):
        return {"color": color, "linestyle": "--" if line == "dense" else "-.", "marker": ""}
    return {"color": color, "linestyle": "-" if line != "static" else ":", "marker": marker(line)}


def draw_lines(axes: Axes, cells: pd.DataFrame, x: str, y: str, scale: float = 100) -> list[str]:
    """Draws a line with error bars for each ``line`` of a frame of cells, and returns which there are.

    On the logarithmic x axis the points of different lines are set apart by 1.5 %, so as not to hide one another.
    """
    palette = colors(cells["line"])
    for index, (line, color) in enumerate(palette.items()):
        points = cells[cells["line"] == line].dropna(subset=[y]).sort_values(x)
        apart = 1.015 ** (index - (len(palette) - 1) / 2) if len(palette) > 1 else 1.0
        axes.errorbar(
            points[x].to_numpy(float) * apart,
            scale * points[y],
            yerr=scale * points[f"{y}_std"].fillna(0),
            elinewidth=0.7,
            capsize=1.5,
            **line_style(line, color),
        )
    return list(palette)


def set_log_ticks(axes: Axes, values: Iterable[float], at_most: int = 6) -> None:
    """Makes the x axis logarithmic with plain numbers at those of ``values`` that leave room for one another."""
    axes.set_xscale("log")
    ticks: list[float] = []
    found = sorted(set(map(float, values)))
    for value in found:
        if not ticks or np.log(value / ticks[-1]) >= np.log(found[-1] / found[0]) / at_most:
            ticks.append(value)
    axes.set_xticks(ticks)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())


def seeds_note(counts: pd.Series) -> str:
    """Says over how many runs the means are."""
    counts = counts[counts > 0]
    low, high = (int(counts.min()), int(counts.max())) if len(counts) else (0, 0)
    over = f"{low} runs" if low == high else f"{low} to {high} runs"
    return f"Mean and standard deviation over {over}." if high > 1 else "Single runs, so without error bars."


def missing_note(missing: pd.DataFrame, setups: Iterable[str]) -> list[str]:
    """Says how many planned runs of the setups have no results."""
    here = missing[missing["setup"].isin(list(setups))]
    if here.empty:
        return []
    lines = line_names(here).value_counts()
    return [f"Missing: {len(here)} planned runs ({', '.join(f'{n} {label(name)}' for name, n in lines.items())})."]


def gaps_note(cells: pd.DataFrame, x: str) -> list[str]:
    """Says which lines lack points that others of their panel have, without needing a plan."""
    missing_points: dict[str, int] = {}
    for _, panel in cells.groupby(["setup", "growth"], dropna=False):
        present = panel.groupby("line")[x].nunique()
        for line, count in (panel[x].nunique() - present).items():
            missing_points[str(line)] = missing_points.get(str(line), 0) + int(count)
    found = [f"{label(line)} lacks {count}" for line, count in missing_points.items() if count]
    return [f"Points without runs: {', '.join(found)}."] if found else []


def as_sentences(notes: Iterable[str]) -> list[str]:
    """Returns notes as sentences."""
    return [f"{note[0].upper()}{note[1:]}." for note in notes]
