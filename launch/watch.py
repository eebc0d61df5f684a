"""``status --watch``: the progress of a sweep, live on a terminal."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping

import pandas as pd
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .state import RunState
from .status import ENDED, Snapshot, count_states, duration_text, failures, job_lines, progress_text, run_table

_PERIOD_S = 5.0
_STYLES = {
    "finished": "green", "running": "cyan", "failed": "bold red", "diverged": "yellow", "interrupted": "magenta",
    "lost": "magenta",
}  # fmt: skip


def watch(look: Callable[[], Snapshot]) -> None:
    """Shows a sweep on the terminal until it ends or Ctrl-C is typed, and prints the plain status then.

    Without a terminal it prints the plain status again and again until the sweep ends.

    Args:
        look: returns the sweep as it is now.
    """
    console, snapshot = Console(), look()
    while not console.is_terminal and not snapshot.ended:
        print(snapshot.text, flush=True)
        time.sleep(_PERIOD_S)
        snapshot = look()
    with contextlib.suppress(KeyboardInterrupt), Live(console=console, screen=True, auto_refresh=False) as live:
        while not snapshot.ended:
            live.update(picture(snapshot, console.height), refresh=True)
            time.sleep(_PERIOD_S)
            snapshot = look()
    print(snapshot.text)


def picture(snapshot: Snapshot, height: int) -> RenderableType:
    """Returns what a terminal shows of a sweep: how far it is, runs by setup and state, and what is at work.

    Args:
        snapshot: of the sweep.
        height: lines of the terminal; as many runs are listed as it has room for.
    """
    frame = run_table(snapshot.plan, snapshot.state)
    counts = _counts(frame)
    lines = job_lines(snapshot.jobs, snapshot.state, all_jobs=snapshot.plan.where is None)
    failed = [
        Text(
            f"failed {runs[0]}  {error}" if len(runs) == 1 else f"failed {len(runs)} runs  {error}", "red", no_wrap=True
        )
        for error, runs in failures(snapshot.state).items()
    ]
    room = max(3, height - counts.row_count - 10)
    below = [*failed[: room // 4], *(Text(line, no_wrap=True) for line in lines[: room // 4])]
    ended = sum(run.state in ENDED for run in snapshot.state.values())
    progress = Table.grid(padding=(0, 2, 0, 0))
    progress.add_row(
        ProgressBar(total=len(frame), completed=ended, width=30, complete_style="cyan"), progress_text(frame)
    )
    return Group(
        Text(f"sweep {snapshot.plan.name} in {snapshot.plan.output_dir}", style="bold", no_wrap=True),
        progress,
        counts,
        *_running(frame, snapshot.state, room - len(below)),
        *below,
        Text(snapshot.note.strip() or "Ctrl-C ends the display, not the sweep", style="dim"),
    )


def _counts(frame: pd.DataFrame) -> Table:
    counted = count_states(frame)
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("setup")
    for name in counted.columns:
        table.add_column(Text(str(name), style=_STYLES.get(str(name), "")), justify="right")
    for setup, row in counted.iterrows():
        table.add_row(str(setup), *(str(value) if value else "·" for value in row))
    return table


def _running(frame: pd.DataFrame, state: Mapping[str, RunState], most: int) -> list[RenderableType]:
    runs = list(frame[frame["state"] == "running"].itertuples())
    if not runs:
        return []
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("run", "epoch", "val acc", "to go", "where"):
        table.add_column(heading, justify="right" if heading in ("epoch", "val acc", "to go") else "left", no_wrap=True)
    for run in runs[:most]:
        seconds = (run.epochs - run.done) * run.epoch_s
        table.add_row(
            run.run_id,
            f"{run.done}/{run.epochs}",
            f"{run.val_acc:.4f}" if pd.notna(run.val_acc) else "",
            duration_text(seconds) if math.isfinite(seconds) else "",
            state[run.run_id].where,
        )
    more = len(runs) - most
    return [table, Text(f"… and {more} more", style="dim")] if more > 0 else [table]
