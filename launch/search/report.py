"""What a search has found so far, as text."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

import pandas as pd

from dst.commands import LAUNCH

from .studies import Studies

_STATES = {"COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running", "WAITING": "waiting"}
_BEST_SEEDS = "seed=range(1,6)"


def status_text(studies: Studies) -> str:
    """Returns a table of the trials, the best of each study, and the commands that train the best with more seeds."""
    search, rows, best = studies.search, [], []
    for combination in studies.combinations:
        for trial in studies.trials(combination):
            params = {key: f"{value:.4g}" if isinstance(value, float) else value for key, value in trial.params.items()}
            rows.append(
                {
                    "study": combination,
                    "trial": trial.number,
                    "state": _STATES[trial.state.name],
                    search.metric: "" if trial.value is None else f"{trial.value:.4f}",
                    **params,
                    "runs": " ".join(trial.user_attrs.get("runs", ())),
                    "error": trial.user_attrs.get("error", ""),
                }
            )
            if trial.state.name == "COMPLETE":
                best.append((combination, trial))
    total = sum(map(studies.wanted, studies.combinations))
    lines = [f"search {studies.name} in {studies.output_dir}: {total - studies.left()} of {total} trials ended"]
    if rows:
        table = pd.DataFrame(rows).fillna("")
        lines.append(table.loc[:, (table != "").any()].to_string(index=False))
    return "\n".join([*lines, *_best_lines(studies, best)])


def _best_lines(studies: Studies, finished: Sequence[tuple[str, Any]]) -> list[str]:
    """Returns what the best trial of each study is, and what trains it."""
    sign = 1 if studies.search.direction == "maximize" else -1
    lines, commands = [], []
    for combination, overrides in studies.combinations.items():
        trials = [trial for name, trial in finished if name == combination]
        if not trials:
            continue
        best = max(trials, key=lambda trial: sign * trial.value)
        point = studies.search.point(overrides, best.params)
        chosen = [override for override in point if override.partition("=")[0] in best.params]
        lines.append(f"best of {combination}: {studies.search.metric} {best.value:.4f} with {' '.join(chosen)}")
        words = [*LAUNCH.split(), "plan", f"name={studies.name}_best", *point, _BEST_SEEDS]
        commands.append(f"  {shlex.join(words)}")
    if commands:
        commands.insert(0, "train the best with five seeds (plan each, then submit):")
        commands.append(f"  {LAUNCH} submit sweep={studies.name}_best")
    return [*lines, *commands]
