"""Shared by all figures: their data, matplotlib style, panels, axes, legends and captions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from ..compare import line_names
from ..style import colors, label, marker, setup_title

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
    """The data of a figure.

    Attributes:
        runs: one row per run (:func:`analysis.frames.runs_frame`).
        missing: one row per planned run without results.
        epochs: returns one row per run and epoch.
        metric: the accuracy to draw, one of :data:`analysis.table.METRICS`.
        reference: whether to draw the paper's own numbers too, where it prints them.
    """

    runs: pd.DataFrame
    missing: pd.DataFrame
    epochs: Callable[[], pd.DataFrame]
    metric: str = "test_acc"
    reference: bool = False

    def select(self, keep: Callable[[pd.DataFrame], pd.Series]) -> FigureData:
        """Returns the data of the runs and missing runs for which ``keep``, given their frame, is true."""
        return replace(self, runs=self.runs[keep(self.runs)], missing=self.missing[keep(self.missing)])

    def of_setups(self, setups: Iterable[str]) -> FigureData:
        """Returns the data of the runs of these setups if there are any, else of all."""
        wanted = self.runs["setup"].isin(list(setups))
        return self.select(lambda runs: runs["setup"].isin(list(setups))) if wanted.any() else self


@dataclass(frozen=True)
class Drawing:
    """A figure, the sentences of its caption, and the suffix of its file name."""

    figure: Figure
    caption: Sequence[str] = ()
    suffix: str = ""


@dataclass
class Grid:
    """A figure of panels with one legend above and a caption below.

    Attributes:
        figure: the figure.
        axes: its panels, rows × columns.
        compact: smaller panels and fonts, for more than three columns.
    """

    figure: Figure
    axes: Any
    compact: bool = False
    _lines: set[str] = field(default_factory=set)

    @classmethod
    def create(cls, rows: int, columns: int, *, panel: tuple[float, float] = (2.6, 2.2), **shared: Any) -> Grid:
        """Creates a grid of empty panels.

        Args:
            rows: number of rows.
            columns: number of columns.
            panel: width and height of a panel in inches, unless the grid is compact.
            shared: ``sharex`` and ``sharey`` of :meth:`matplotlib.figure.Figure.subplots`.
        """
        compact = columns > 3
        wide, high = (1.7, 1.55) if compact else panel
        figure = Figure(figsize=(max(columns * wide, 4.6), rows * high + 0.9), layout="constrained")
        return cls(figure, figure.subplots(rows, columns, squeeze=False, **shared), compact)

    def add_to_legend(self, lines: Iterable[str]) -> None:
        """Adds lines (criteria, ``static``, ``dense``) to the legend."""
        self._lines.update(lines)

    def finish(self, caption: Sequence[str], suffix: str = "", *, markers: bool = True) -> Drawing:
        """Draws the legend and returns the figure with its caption.

        Args:
            caption: sentences.
            suffix: of the file name.
            markers: show the lines' markers in the legend.
        """
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


def panel_title(setup: str) -> str:
    """Returns the title of a panel's setup, with further choices on a line of their own."""
    return setup_title(setup).replace(", ", "\n", 1)


def nearest_density(densities: Iterable[float], wanted: float) -> float:
    """Returns the density whose ratio to the wanted one is nearest to 1.

    Args:
        densities: above 0.
        wanted: that of the paper's figure.
    """
    return min(densities, key=lambda density: abs(np.log(density / wanted)))


def line_style(line: str, color: str) -> dict[str, Any]:
    """Returns the keyword arguments of :meth:`matplotlib.axes.Axes.plot` for a line.

    Args:
        line: a criterion, ``static`` or ``dense``.
        color: its color (:func:`analysis.style.colors`).
    """
    if line in ("dense", "dropout"):
        return {"color": color, "linestyle": "--" if line == "dense" else "-.", "marker": ""}
    return {"color": color, "linestyle": "-" if line != "static" else ":", "marker": marker(line)}


def draw_lines(axes: Axes, cells: pd.DataFrame, x: str, y: str, scale: float = 100) -> list[str]:
    """Draws a line with error bars for each ``line`` of the cells; returns the lines.

    On the logarithmic x axis the points of different lines are shifted by 1.5 %, so that they do not overlap.

    Args:
        axes: the panel.
        cells: one row per point, from :func:`analysis.compare.aggregate_seeds`.
        x: column of the x values.
        y: column of the means; ``<y>_std`` is the length of the error bars.
        scale: factor of the y values; 100 draws fractions as percentages.
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


def draw_matrix(
    axes: Axes, values: np.ndarray, names: Sequence[str], *, digits: int, highest: float | None = None
) -> None:
    """Draws a square matrix as a heat map with its numbers.

    Args:
        axes: the panel.
        values: a cell that is no finite number stays empty.
        names: of the rows and columns.
        digits: after the decimal point.
        highest: the value of the darkest color; None: the largest one.
    """
    axes.grid(False)
    if highest is None:
        highest = float(np.nanmax(values)) if np.isfinite(values).any() else 1.0
    axes.imshow(np.ma.masked_invalid(values), cmap="Blues", aspect="auto", vmin=0, vmax=highest)
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            color = "white" if value > highest / 2 else "black"
            axes.text(column, row, f"{value:.{digits}f}", ha="center", va="center", fontsize=6.5, color=color)
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right", fontsize=6)
    axes.set_yticks(range(len(names)), names, fontsize=6)


def set_log_ticks(axes: Axes, values: Iterable[float], at_most: int = 6) -> None:
    """Makes the x axis logarithmic, with plain numbers as tick labels.

    Args:
        axes: the panel.
        values: the candidates for ticks; those too close to the previous tick are skipped.
        at_most: limits the number of ticks.
    """
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
    """Returns a sentence on the number of runs per mean."""
    counts = counts[counts > 0]
    low, high = (int(counts.min()), int(counts.max())) if len(counts) else (0, 0)
    over = f"{low} runs" if low == high else f"{low} to {high} runs"
    return f"Mean and standard deviation over {over}." if high > 1 else "Single runs, so without error bars."


def missing_note(missing: pd.DataFrame, setups: Iterable[str]) -> list[str]:
    """Returns a sentence on planned runs without results, or none.

    Args:
        missing: one row per planned run without results.
        setups: count only the runs of these.
    """
    here = missing[missing["setup"].isin(list(setups))]
    if here.empty:
        return []
    lines = line_names(here).value_counts()
    return [f"Missing: {len(here)} planned runs ({', '.join(f'{n} {label(name)}' for name, n in lines.items())})."]


def gaps_note(cells: pd.DataFrame, x: str) -> list[str]:
    """Returns a sentence on points that a line lacks and another line of its panel has, or none.

    Args:
        cells: one row per point.
        x: column of the x values.
    """
    missing_points: dict[str, int] = {}
    for _, panel in cells.groupby(["setup", "growth"], dropna=False):
        present = panel.groupby("line")[x].nunique()
        for line, count in (panel[x].nunique() - present).items():
            missing_points[str(line)] = missing_points.get(str(line), 0) + int(count)
    found = [f"{label(line)} lacks {count}" for line, count in missing_points.items() if count]
    return [f"Points without runs: {', '.join(found)}."] if found else []


def as_sentences(notes: Iterable[str]) -> list[str]:
    """Capitalizes each note and ends it with a full stop."""
    return [f"{note[0].upper()}{note[1:]}." for note in notes]
