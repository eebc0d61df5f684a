"""Removes runs: which ones, why they must stay, and how each is at every moment either whole or gone."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from dst.errors import NO_SPACE, UserError
from dst.files.lock import Locked, holder, locked
from dst.files.records import Damaged, read_bytes
from dst.run.choices import parse_config
from dst.run.layout import CONFIG, runs_dir
from dst.run.plan import PlannedRun, planned

from .cancelled import cancel_runs, cancelled
from .jobs import active_jobs
from .plan import Plan
from .removed import record_removed
from .state import RunState, is_finished, states
from .status import truncated

_WASTE = ".deleted"
"""Beside the run directories: what is being deleted. No command takes anything in a hidden folder for a run."""

_BUSY = ("running", "queued")
_NAMED = 10


@dataclass(frozen=True)
class Removal:
    """The runs to be removed, and what they are part of.

    Attributes:
        plan: the runs that have a directory.
        state: state of each, by run id.
        size: bytes of each, by run id.
        sweeps: all sweeps planned in the same ``output_dir``.
        sweep: the sweep they were chosen from; None if from all runs.
    """

    plan: Plan
    state: dict[str, RunState]
    size: dict[str, int]
    sweeps: tuple[Plan, ...]
    sweep: str | None

    def text(self) -> str:
        """Returns runs by model and state, size on disk, and the first run ids."""
        rows = [
            {"model": run.config["model"].get("name"), "state": self.state[run.run_id].shown} for run in self.plan.runs
        ]
        frame = pd.DataFrame(rows)
        table = pd.crosstab(frame["model"], frame["state"])
        table["runs"] = table.sum(axis=1)
        sizes = pd.Series([self.size[run.run_id] for run in self.plan.runs]).groupby(frame["model"]).sum()
        table["size"] = [bytes_text(size) for size in sizes.reindex(table.index)]
        total = (
            f"{len(self.plan.runs)} runs, {bytes_text(sum(self.size.values()))}, in {runs_dir(self.plan.output_dir)}"
        )
        named = truncated([f"  {run.run_id}  {self.state[run.run_id].shown}" for run in self.plan.runs])
        return "\n".join([table.rename_axis(None, axis=1).rename_axis(None).to_string(), total, *named])


def bytes_text(size: int) -> str:
    """Returns a number of bytes as people read it, such as 1.50MB."""
    return tqdm.format_sizeof(size, "B")


def choose(output_dir: Path, sweep: str | None, where: str | None) -> Removal:
    """Returns the runs of a sweep, or of all runs, for which an expression is true and which have a directory.

    Args:
        output_dir: where sweeps and runs are stored.
        sweep: name of the sweep; None for all runs in ``output_dir``.
        where: as for :meth:`launch.plan.Plan.select`, in which ``state`` is the state as ``status`` tells it.

    Raises:
        UserError: if neither is given, or nothing is chosen; if a plan is damaged or SLURM does not answer.
    """
    if sweep is None and where is None:
        raise UserError("which runs? give sweep=NAME, where='expression' such as 'seed > 3', or both")
    sweeps = tuple(Plan.read(name, output_dir) for name in planned(output_dir))
    plan = Plan.read(sweep, output_dir) if sweep is not None else _found(output_dir, sweeps)
    plan = replace(plan, runs=[run for run in plan.runs if os.path.lexists(plan.run_dir(run.run_id))])
    if not plan.runs:
        raise UserError(f"{f'sweep={sweep}' if sweep else f'output_dir={output_dir}'}: has no run directory")
    state = _states(plan, sweeps)
    plan = plan.select(where, state={run_id: run.shown for run_id, run in state.items()})
    size = {run.run_id: _size(plan.run_dir(run.run_id)) for run in plan.runs}
    return Removal(plan, {run_id: state[run_id] for run_id in plan.by_id}, size, sweeps, sweep)


def check(removal: Removal, *, shared: bool) -> None:
    """Raises UserError if some of the runs must stay; names them.

    Args:
        removal: the runs.
        shared: whether runs may be removed that other sweeps have too.
    """
    plan, chosen = removal.plan, removal.plan.by_id
    if links := [run_id for run_id in chosen if plan.run_dir(run_id).is_symlink() or not plan.run_dir(run_id).is_dir()]:
        raise UserError(f"{_names(links)}: no directories in {runs_dir(plan.output_dir)}; move them away by hand")
    if busy := [name for name in chosen if removal.state[name].state in _BUSY or holder(plan.run_dir(name))[1]]:
        raise UserError(f"{_names(busy)}: being trained or queued; cancel them, or leave them out with where=")
    needed = {
        run.parent_id: run.run_id
        for other in removal.sweeps
        for run in other.runs
        if run.parent_id in chosen and run.run_id not in chosen and not is_finished(other.run_dir(run.run_id))
    }
    if needed:
        raise UserError(
            f"{_names(needed)}: parents of planned runs that have not finished, such as {next(iter(needed.values()))}; "
            "train those first, or leave the parents out with where="
        )
    others = [other for other in removal.sweeps if other.name != removal.sweep]
    allowed = 1 if removal.sweep is None else 0  # a run chosen from all runs may have one sweep of its own
    owners = {run_id: [other.name for other in others if run_id in other.by_id] for run_id in chosen}
    of_others = [run_id for run_id, names in owners.items() if len(names) > allowed]
    if of_others and not shared:
        sweeps = dict.fromkeys(name for run_id in of_others for name in owners[run_id])
        raise UserError(
            f"{_names(of_others)}: shared by the sweeps {', '.join(sweeps)}; to remove them give shared=true"
        )


def delete(removal: Removal) -> str:
    """Deletes the runs; returns what was done in a line.

    Raises:
        UserError: if a process has begun to train one, or a directory cannot be moved; runs before it are deleted.
    """
    forget(removal, None)
    for run in removal.plan.runs[::-1]:  # children before their parents
        remove(removal.plan.run_dir(run.run_id))
    return f"{len(removal.plan.runs)} runs deleted, {bytes_text(sum(removal.size.values()))}"


def forget(removal: Removal, archive: str | None) -> None:
    """Records that the runs go, and keeps workers from training them again until they are submitted.

    Args:
        removal: the runs.
        archive: name of the archive that has them; None if they are deleted.
    """
    record_removed(removal.plan.output_dir, list(removal.plan.by_id), archive)
    for sweep in removal.sweeps:
        if mine := removal.plan.by_id.keys() & sweep.by_id.keys():
            cancel_runs(sweep, mine)


def remove(run_dir: Path, unchanged: Callable[[], bool] = lambda: True) -> bool:
    """Removes a run directory: moves it away in one step, then deletes it. Returns whether it did.

    Args:
        run_dir: of the run.
        unchanged: asked with the run locked; if false, the run stays.

    Raises:
        UserError: if another process holds its lock, or it cannot be moved.
    """
    waste = run_dir.parent / _WASTE / f"{run_dir.name}.{os.getpid()}"
    try:
        waste.parent.mkdir(exist_ok=True)
        with _locked(run_dir):
            if not unchanged():
                return False
            run_dir.rename(waste)
    except Locked as error:
        raise UserError(f"{error}; nothing further was removed") from error
    except OSError as error:
        raise UserError(f"{run_dir}: cannot be removed ({error.strerror})") from error
    for left in waste.parent.iterdir():  # with what a command killed here has left
        shutil.rmtree(left, ignore_errors=True)
    return True


@contextlib.contextmanager
def _locked(run_dir: Path) -> Iterator[None]:
    """Holds the run's lock; on a full disk, which has no room for one and is to be freed, makes sure nobody has it."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(run_dir))
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            owner, alive = holder(run_dir)
            if alive:
                raise Locked(f"locked by {owner}") from error
        yield


def _states(plan: Plan, sweeps: Iterable[Plan]) -> dict[str, RunState]:
    """Returns the state of each run; a run that is queued in any sweep is queued."""
    queued: set[str] = set()
    for sweep in sweeps:
        if plan.by_id.keys() & sweep.by_id.keys():
            try:
                jobs = active_jobs(sweep)
            except UserError as error:
                raise UserError(f"which runs of sweep {sweep.name} are queued is not known: {error}") from error
            queued |= {run_id for job in jobs for run_id in job.runs} - cancelled(sweep)
    return states(plan, queued)


def _found(output_dir: Path, sweeps: Iterable[Plan]) -> Plan:
    """Returns the run directories as a plan; what is in no sweep and has no readable config is no run."""
    known = {run.run_id: run for sweep in sweeps for run in sweep.runs}
    runs = []
    for directory in sorted(runs_dir(output_dir).glob("[!.]*")):
        if directory.name in known:
            runs.append(known[directory.name])
            continue
        try:
            config = parse_config((read_bytes(directory / CONFIG) or b"").decode())
        except (Damaged, ValueError, OSError):
            continue
        runs.append(PlannedRun(directory.name, (), config))
    return Plan("", output_dir, runs, "", Path.cwd())


def _size(directory: Path) -> int:
    found = (Path(folder) / name for folder, _, names in os.walk(directory) for name in names)
    return sum(path.lstat().st_size for path in found)


def _names(run_ids: Iterable[str]) -> str:
    names = list(run_ids)
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"runs {', '.join(names[:_NAMED])}{more}"
