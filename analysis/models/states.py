"""Selects networks by name: a run at a point of its training, such as ``4f0c``, ``4f0c@best`` or ``4f0c@0``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from dst.errors import UserError, unknown
from dst.files.records import INTEGER, read_lines
from dst.run.choices import config_key
from dst.run.layout import CHECKPOINT, CONFIG, PHASES, SNAPSHOTS, snapshot_name

from .groups import seed_groups

POINTS = ("last", "best", "0")
"""The last weights, those of the best validation epoch, and those before the first step; besides any step kept."""


@dataclass(frozen=True)
class NetworkState:
    """The weights of a run at a point of its training.

    Attributes:
        run_id: of the run.
        path: its directory.
        point: one of :data:`POINTS`, or an optimizer step of which the run kept a snapshot.
        group: what all runs with the same choices but the seed are called.
    """

    run_id: str
    path: Path
    point: str
    group: str

    @property
    def name(self) -> str:
        """The run id, with ``@point`` for other weights than the last."""
        return self.run_id if self.point == "last" else f"{self.run_id}@{self.point}"

    @property
    def line(self) -> str:
        """The group, with the point for other weights than the last."""
        return self.group + {"last": "", "best": ", best epoch"}.get(self.point, f", step {self.point}")

    @property
    def file(self) -> Path:
        """Where the weights are stored; need not exist for step 0."""
        return self.path / (CHECKPOINT if self.point in ("last", "best") else snapshot_name(self.point))

    @property
    def signature(self) -> list[str | int]:
        """Its name, and size and modification time of its checkpoint: equal signatures are equal weights."""
        if self.point == "0":
            return [self.name]
        stat = os.stat(self.file)
        return [self.name, stat.st_size, stat.st_mtime_ns]


@dataclass(frozen=True)
class Selection:
    """The chosen networks, and one line for each reason to leave out runs."""

    states: list[NetworkState]
    notes: list[str]

    @property
    def lines(self) -> dict[str, str]:
        """The line of each network by its name."""
        return {state.name: state.line for state in self.states}

    @property
    def run_ids(self) -> set[str]:
        """The ids of the runs."""
        return {state.run_id for state in self.states}


def select_states(runs: pd.DataFrame, named: Sequence[str] = (), *, point: str = "last", group: str = "") -> Selection:
    """Returns the networks that were named or, if none was, those of all finished runs.

    Args:
        runs: one row per run.
        named: run ids or the beginnings of some, each perhaps with ``@point``.
        point: of the networks named without one, one of :data:`POINTS`.
        group: config keys separated by commas that tell the groups apart; empty: every choice but the seed.

    Raises:
        UserError: for a run that is unknown or ambiguous, has not finished, diverged, or kept no checkpoint.
    """
    _check_point(point, f"at={point}")
    finished = runs[runs["status"] == "finished"]
    wanted = [_parse(name, runs, point) for name in named] or [(run_id, point) for run_id in finished["run_id"]]
    chosen = finished[finished["run_id"].isin({run_id for run_id, _ in wanted})]
    groups = dict(zip(chosen["run_id"], seed_groups(chosen, group), strict=True))
    paths = dict(zip(chosen["run_id"], chosen["path"], strict=True))
    states = [NetworkState(run_id, Path(paths[run_id]), at, groups[run_id]) for run_id, at in dict.fromkeys(wanted)]
    _check_kept(states)
    left_out = 0 if named else len(runs) - len(finished)
    return Selection(states, [f"{left_out} runs that diverged or have not finished are left out"] if left_out else [])


def phase_ends(state: NetworkState) -> list[NetworkState]:
    """Returns the networks that a run kept of the ends of its phases, in order; of a single phase, all that it kept.

    Args:
        state: of the run, at any point.

    Raises:
        UserError: with fewer than two.
    """
    ends = [int(line["step"]) for line in read_lines(state.path / PHASES, {"step": INTEGER})]
    kept = sorted(int(path.stem) for path in (state.path / SNAPSHOTS).glob("*.pt") if path.stem.isdecimal())
    steps = [step for step in kept if 0 < step < max(ends, default=0) and (step in ends or len(ends) == 1)]
    if not steps:
        raise UserError(
            f"{state.run_id}: kept no weights but those of its end; train it with checkpoint.phases=true, or with "
            "checkpoint.snapshots=[…] if it has one phase, and with rerun=true besides if it is finished"
        )
    return [*(replace(state, point=str(step)) for step in steps), replace(state, point="last")]


def check_same(runs: pd.DataFrame, run_ids: set[str], *groups: str) -> None:
    """Checks that runs have the same model, or the same data.

    Args:
        runs: one row per run.
        run_ids: of those to check.
        groups: config groups, ``model`` or ``dataset``, whose choices must be equal.

    Raises:
        UserError: with the choice that differs and two runs in which it does.
    """
    chosen = runs[runs["run_id"].isin(run_ids)]
    keys = {name: key for name in chosen.columns if (key := config_key(name))}
    if "data_fingerprint" in chosen:
        keys["data_fingerprint"] = "dataset.fingerprint"
    for name, key in keys.items():
        values = chosen[name].astype(object).where(chosen[name].notna(), None)
        if key.partition(".")[0] in groups and values.nunique(dropna=False) > 1:
            first, other = chosen.loc[[values.index[0], values.index[values != values.iloc[0]][0]], "run_id"]
            given = f"{values.iloc[0]} in run {first}, {values[values != values.iloc[0]].iloc[0]} in run {other}"
            raise UserError(f"{key} is {given}: only runs with the same {' and '.join(groups)} can be compared")


def _parse(name: str, runs: pd.DataFrame, point: str) -> tuple[str, str]:
    start, at, given = name.partition("@")
    if at:
        _check_point(given, name)
    found = sorted(run_id for run_id in runs["run_id"] if start and run_id.startswith(start))
    if len(found) > 1 and start not in found:
        raise UserError(f"{start}: begins the ids of {len(found)} runs, {', '.join(found[:4])}; give more digits")
    if not found:
        raise UserError(f"{start or name}: is the id of none of the {len(runs)} selected runs; runs.csv lists them")
    run_id = start if start in found else found[0]
    status = runs.loc[runs["run_id"] == run_id, "status"].iloc[0]
    if status == "diverged":
        raise UserError(f"{run_id}: the run diverged, so its weights are of no use; give a finished run")
    if status != "finished":
        raise UserError(f"{run_id}: the run is {status}; give a finished run")
    return run_id, given if at else point


def _check_point(point: str, said: str) -> None:
    if point not in POINTS and not point.isdecimal():
        raise UserError(f"{said}: {unknown(point, POINTS)} or a step of checkpoint.snapshots")


def _check_kept(states: Sequence[NetworkState]) -> None:
    without = [state for state in states if state.point != "0" and not state.file.is_file()]
    if not without:
        return
    first = without[0]
    if not (first.path / CONFIG).is_file():
        raise UserError(f"{first.run_id}: its directory is not here, so there are no weights; give output_dir=…")
    needed = "checkpoint.keep=weights"
    if first.point.isdecimal():
        needed = f"checkpoint.snapshots=[{first.point}]"
    raise UserError(
        f"{len(without)} of {len(states)} runs kept no {first.file.relative_to(first.path)} (the first is "
        f"{first.run_id}); train them with {needed}, those that are finished with rerun=true besides"
    )
