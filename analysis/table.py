"""Mean ± standard deviation (number of runs), criteria × densities, for each setup and growth."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import pandas as pd

from .compare import ComparableRuns, aggregate_seeds, select_comparable, select_update_period, setup_of_panel
from .published import published
from .style import growth_order, growth_title, label, legend_order, natural_sort_key, setup_title
from .text_table import escape_latex

_BEST, _SECOND = "▲", "△"
_LEGEND = f"{_BEST} best and {_SECOND} second of a density. In %: mean ± standard deviation (runs)."
METRIC_NAMES = {
    "test_acc": "test accuracy",
    "test_acc_best_val": "test accuracy at the best validation epoch",
    "val_acc": "validation accuracy",
    "best_val_acc": "best validation accuracy",
}
METRICS = tuple(METRIC_NAMES)
"""The metrics that a table can show."""


@dataclass(frozen=True)
class Panel:
    """The table of one setup (with the value of a further choice that varies) and growth.

    Attributes:
        setup: ``model/dataset`` or ``model/dataset, recipe.lr=0.1``.
        growth: the growth criterion; None if there are only dense and static runs.
        dense: the dense model's cell.
        body: a :class:`Cell` or None per criterion or ``static`` (rows) and density (columns).
    """

    setup: str
    growth: str | None
    dense: Cell | None
    body: pd.DataFrame

    @property
    def title(self) -> str:
        """The setup and growth, as a title."""
        return setup_title(self.setup) + (f", {growth_title(self.growth)}" if self.growth else "")


@dataclass(frozen=True)
class Cell:
    """Mean, standard deviation (NaN for a single run), number of runs, and place in the column (1, 2, or 0)."""

    mean: float
    std: float
    count: int
    place: int = 0

    @property
    def mark(self) -> str:
        """The place, as one character."""
        return (" ", _BEST, _SECOND)[self.place]

    def text(self) -> str:
        """Returns mean, standard deviation (both in %) and number of runs."""
        std = "" if pd.isna(self.std) else f" ± {100 * self.std:.2f}"
        return f"{100 * self.mean:.2f}{std} ({self.count})"


def panels(chosen: ComparableRuns, metric: str = "test_acc") -> list[Panel]:
    """Returns one panel per setup and growth; dense and static runs are in every panel of their setup.

    Args:
        chosen: runs at one update period.
        metric: one of :data:`METRICS`.
    """
    summary = aggregate_seeds(chosen.runs, [metric]).rename(
        columns={metric: "mean", f"{metric}_std": "std", f"{metric}_n": "count"}
    )
    summary = summary[summary["count"] > 0]
    return [
        _panel(setup, growth, of_setup[of_setup["growth"].isna() | (of_setup["growth"] == growth)])
        for setup in sorted(summary["setup"].unique(), key=natural_sort_key)
        for of_setup in [summary[summary["setup"] == setup]]
        for growth in growth_order(of_setup["growth"].dropna())
    ]


def published_panels(setups: Iterable[str]) -> list[Panel]:
    """Returns one panel per setup and growth of which the paper prints a table."""
    found = []
    for setup in setups:
        for growth, lines in published("accuracy", setup).items():
            body = pd.DataFrame(
                {line: {d: Cell(mean, std, 3) for d, (mean, std) in row.items()} for line, row in lines.items()}
            )
            found.append(
                Panel(f"{setup}, as published", growth, None, body.T.reindex(legend_order(lines)).sort_index(axis=1))
            )
    return found


def format_table(runs: pd.DataFrame, layout: str, metric: str = "test_acc", *, reference: bool = False) -> str:
    """Formats the table of all comparable runs.

    Args:
        runs: one row per run.
        layout: one of :data:`LAYOUTS`.
        metric: one of :data:`METRICS`.
        reference: whether the paper's tables of these setups follow.
    """
    chosen = select_update_period(select_comparable(runs))
    ours = panels(chosen, metric)
    theirs = published_panels(dict.fromkeys(setup_of_panel(panel.setup) for panel in ours)) if reference else []
    return LAYOUTS[layout](ours + theirs, METRIC_NAMES[metric], chosen.all_notes)


def _panel(setup: str, growth: str | None, summary: pd.DataFrame) -> Panel:
    dense = next((_cell(row) for row in summary[summary["line"] == "dense"].itertuples()), None)
    sparse = summary[summary["line"] != "dense"].copy()
    ranks = sparse.groupby("density")["mean"].rank(method="min", ascending=False)
    contested = sparse.groupby("density")["mean"].transform("size") > 1
    sparse["place"] = ranks.where((ranks <= 2) & contested, 0).astype(int)
    sparse["cell"] = [_cell(row) for row in sparse.itertuples()]
    body = sparse.pivot(index="line", columns="density", values="cell")
    return Panel(setup, growth, dense, body.reindex(legend_order(body.index)))


def _cell(row: object) -> Cell:
    return Cell(row.mean, row.std, row.count, getattr(row, "place", 0))  # type: ignore[attr-defined]


def _text(found: list[Panel], metric: str, notes: list[str]) -> str:
    parts = []
    for panel in found:
        dense = f"; dense {panel.dense.text()}" if panel.dense else ""
        parts.append(f"{panel.title}: {metric}{dense}")
        parts += [_align_columns(part) for part in _split_to_terminal_width(panel.body)]
        parts.append("")
    legend = _LEGEND if found else "no finished runs to show"
    return "\n".join([*parts, legend, *(f"Note: {note}." for note in notes)])


def _split_to_terminal_width(body: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yields groups of columns that fit the terminal's width."""
    columns = max(1, (shutil.get_terminal_size((120, 40)).columns - 14) // 22)
    for start in range(0, body.shape[1], columns):
        yield body.iloc[:, start : start + columns]


def _align_columns(body: pd.DataFrame) -> str:
    columns = [["density", *map(label, body.index)]]
    for density, values in body.items():
        found = [f"{cell.text()} {cell.mark}" if isinstance(cell, Cell) else "–  " for cell in values]
        columns.append([f"{density:g}  ", *found])
    names, *others = columns
    left, widths = max(map(len, names)), [max(map(len, column)) for column in others]
    return "\n".join(
        "  ".join([name.ljust(left), *map(str.rjust, texts, widths)]).rstrip()
        for name, *texts in zip(names, *others, strict=True)
    )


def _markdown(found: list[Panel], metric: str, notes: list[str]) -> str:
    marks: tuple[Callable[[str], str], ...] = (str, lambda text: f"**{text}**", lambda text: f"<u>{text}</u>")
    parts = []
    for panel in found:
        rows = _rows(panel, marks)
        dense = f" (dense: {panel.dense.text()})" if panel.dense else ""
        lines = [f"| {' | '.join(row)} |" for row in rows]
        lines.insert(1, "|" + "|".join([" :-- ", *[" --: "] * (len(rows[0]) - 1)]) + "|")
        parts.append("\n".join([f"### {panel.title}: {metric}{dense}", "", *lines]))
    legend = "Best of a density in bold, second underlined. In %: mean ± standard deviation (runs)."
    return "\n\n".join([*parts, " ".join([legend, *(f"{note}." for note in notes)])]) + "\n"


def _latex(found: list[Panel], metric: str, notes: list[str]) -> str:
    marks: tuple[Callable[[str], str], ...] = (str, r"\textbf{{{}}}".format, r"\underline{{{}}}".format)
    parts = [r"% needs \usepackage{booktabs}"]
    for panel in found:
        head, *rows = [[escape_latex(text) for text in row] for row in _rows(panel, marks)]
        dense = f" Dense: {panel.dense.text()}." if panel.dense else ""
        said = "".join(f" {note}." for note in notes)
        caption = f"{panel.title}: {metric} in %, mean ± standard deviation (runs).{dense}{said}"
        parts += [
            r"\begin{table}",
            rf"\caption{{{escape_latex(caption)}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
            r"\toprule",
            " & ".join(head) + r" \\",
            r"\midrule",
            *(" & ".join(row) + r" \\" for row in rows),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    return "\n".join(parts) + "\n"


def _rows(panel: Panel, marks: tuple[Callable[[str], str], ...]) -> list[list[str]]:
    head = ["density", *(f"{density:g}" for density in panel.body.columns)]
    body = [
        [label(line), *(marks[cell.place](cell.text()) if isinstance(cell, Cell) else "–" for cell in values)]
        for line, values in zip(panel.body.index, panel.body.to_numpy(), strict=True)
    ]
    return [head, *body]


def _csv(found: list[Panel], metric: str, notes: list[str]) -> str:
    rows = [
        (panel.setup, panel.growth, line, density, cell.mean, cell.std, cell.count, cell.place or None)
        for panel in found
        for (line, density), cell in [(("dense", 1.0), panel.dense), *panel.body.stack().items()]
        if isinstance(cell, Cell)
    ]
    columns = ["setup", "growth", "criterion", "density", "mean", "std", "runs", "place"]
    return pd.DataFrame(rows, columns=columns).astype({"place": "Int64"}).to_csv(index=False)


LAYOUTS: dict[str, Callable[[list[Panel], str, list[str]], str]] = {
    "text": _text,
    "markdown": _markdown,
    "latex": _latex,
    "csv": _csv,
}
"""Table formats: name → function of the panels, the metric's printed name and the notes."""

SUFFIXES = {"text": "txt", "markdown": "md", "latex": "tex", "csv": "csv"}
"""File name extensions, by layout."""
