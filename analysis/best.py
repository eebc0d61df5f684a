"""The best choice of whatever varies within each group of runs, and whether it differs from the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from .axes import choice_columns, choices_named, label_choices, lower_is_better, result_named, varying
from .collect import Collection
from .frames import runs_with_results
from .paired import Differences, paired
from .repeat import repeat_command
from .stats import ALPHA
from .text_table import aligned

_TEST = "test_acc"
_TIE = 1e-12
_NAMED = 5


@dataclass(frozen=True)
class Candidate:
    """Runs that differ in their seeds only.

    Attributes:
        label: the choices that tell them from the other candidates of their group.
        runs: one row per seed.
        mean: of the result that candidates are compared by.
        missing: seeds that other candidates of the group have.
    """

    label: str
    runs: pd.DataFrame
    mean: float
    missing: tuple[int, ...]

    def cells(self, by: str) -> list[str]:
        """Returns label, mean ± standard deviation (number of runs), test accuracy, and the seeds that it lacks."""
        lacks = f", no seed {', '.join(map(str, self.missing))}" if self.missing else ""
        return [self.label, f"{spread(self.runs[by])} ({len(self.runs)}{lacks})", spread(self.runs[_TEST])]


@dataclass(frozen=True)
class Best:
    """The best candidate of a group.

    Attributes:
        group: label of the group.
        candidates: all of them, best first.
        by: the result that they are compared by.
    """

    group: str
    candidates: tuple[Candidate, ...]
    by: str

    @property
    def runner_up(self) -> Candidate | None:
        """The second candidate, if there is one."""
        return self.candidates[1] if len(self.candidates) > 1 else None

    @property
    def ties(self) -> list[str]:
        """Labels of the candidates whose mean is that of the best."""
        first, *others = self.candidates
        return [other.label for other in others if abs(other.mean - first.mean) <= _TIE]

    @property
    def difference(self) -> Differences:
        """The best minus the runner-up, by seed."""
        first, second = self.candidates[:2]
        return paired(second.runs, first.runs, self.by)


def best_choices(runs: pd.DataFrame, by: str, group: Sequence[str]) -> list[Best]:
    """Returns the best candidate of each group by its mean over seeds.

    Args:
        runs: finished runs that have the result.
        by: column of the result; whether more or less is better says :func:`analysis.axes.lower_is_better`.
        group: columns of choices; every other choice that varies within a group makes a candidate.
    """
    found = []
    for _, here in runs.groupby(list(group), dropna=False, sort=True):
        axes = varying(here, [name for name in choice_columns(runs) if name not in group])
        seeds = set(here["seed"].dropna())
        parts = [part for _, part in here.groupby(axes, dropna=False, sort=False)] if axes else [here]
        candidates = [
            Candidate(
                label_choices(part.iloc[0], axes),
                part,
                float(part[by].mean()),
                tuple(sorted(map(int, seeds - set(part["seed"])))),
            )
            for part in parts
        ]
        candidates.sort(key=lambda candidate: candidate.mean, reverse=not lower_is_better(by))
        found.append(Best(label_choices(here.iloc[0], group), tuple(candidates), by))
    return found


def report_best(collection: Collection, by: str, group: str, output_dir: Path) -> str:
    """Returns the best choice of each group as text; writes ``best.csv``.

    Args:
        collection: the runs.
        by: the result to select by.
        group: comma-separated choices.
        output_dir: where sweeps are planned.

    Raises:
        UserError: for an unknown result or choice.
    """
    finished = runs_with_results(collection.runs)
    columns, by = choices_named(finished, "group", group), result_named(finished, by)
    runs = finished[finished[by].notna()]
    found = best_choices(runs, by, columns)
    lines, rows = [], []
    for best in found:
        run = best.candidates[0].runs.sort_values("seed").iloc[0]
        command = repeat_command(str(run["run_id"]), Path(str(run["path"])), output_dir)
        lines += [*_lines(best), f"  {command}", ""]
        rows.append(_row(best, command))
    if left_out := len(finished) - len(runs):
        lines.append(f"Note: {left_out} finished runs have no {by} and are left out.")
    if len(collection.missing):
        lines.append(f"Note: {len(collection.missing)} planned runs have no results yet.")
    path = collection.results.write_csv("best.csv", pd.DataFrame(rows))
    return "\n".join([*lines, f"written to {path}"])


def spread(values: pd.Series) -> str:
    """Returns mean ± sample standard deviation, the latter where there are several values."""
    std = f" ± {values.std(ddof=1):.4g}" if values.count() > 1 else ""
    return f"{values.mean():.4f}{std}"


def _lines(best: Best) -> list[str]:
    first, second = best.candidates[0], best.runner_up
    runs = sum(len(candidate.runs) for candidate in best.candidates)
    shown = [["best", *first.cells(best.by)]]
    if second is not None:
        shown.append(["runner-up", *second.cells(best.by)])
    titles = ["", "choice", best.by, _TEST]
    if best.by == _TEST:
        titles, shown = titles[:-1], [cells[:-1] for cells in shown]
    lines = [f"{best.group}: choices: {len(best.candidates)}, runs: {runs}"]
    lines += [f"  {line}" for line in aligned(titles, shown, 4).splitlines()]
    if second is None:
        return [*lines, "  there is no other choice to compare with"]
    lines.append(f"  difference {_difference_text(best.difference)}")
    if best.ties:
        more = f" and {len(best.ties) - _NAMED} more" if len(best.ties) > _NAMED else ""
        lines.append(f"  tie: as good on average: {'; '.join(best.ties[:_NAMED])}{more}")
    return lines


def _difference_text(difference: Differences) -> str:
    count = len(difference.values)
    if not count:
        return "not tested: no seed in common"
    name, p = difference.test()
    if difference.are_zero:
        return f"none at any of {count} common seeds"
    if pd.isna(p):
        return f"{difference.mean:+.4g}, not tested: {count} common seed{'s' * (count > 1)} without spread"
    said = "significant" if p < ALPHA else "not significant"
    return f"{difference.mean:+.4g}, {said} ({name}, {count} common seeds, p = {p:.2g})"


def _row(best: Best, command: str) -> dict[str, object]:
    first, second = best.candidates[0], best.runner_up
    row: dict[str, object] = {"group": best.group, "best": first.label, "by": best.by, "mean": first.mean}
    row |= {"std": first.runs[best.by].std(ddof=1), "runs": len(first.runs), _TEST: first.runs[_TEST].mean()}
    row |= {"missing_seeds": " ".join(map(str, first.missing)), "ties": "; ".join(best.ties)}
    if second is not None:
        name, p = best.difference.test()
        row |= {"runner_up": second.label, "runner_up_mean": second.mean, "runner_up_runs": len(second.runs)}
        row |= {"difference": best.difference.mean, "pairs": len(best.difference.values), "test": name, "p": p}
    return row | {"choices": len(best.candidates), "command": command}
