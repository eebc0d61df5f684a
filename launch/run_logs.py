"""What runs printed: ``<run directory>/log.txt``."""

from __future__ import annotations

import codecs
import time
from collections.abc import Iterator
from pathlib import Path

from dst.errors import UserError
from dst.files.lock import holder
from dst.files.records import Damaged, read_bytes
from dst.run.layout import PRINTED, runs_dir

from .plan import Plan
from .state import failure_of, is_finished, is_settled

_POLL_S = 0.5
_LAST_WORDS_S = 1.0
"""How long after the end of its lock a settled run may still print."""
_START_S = 15.0
"""How long a run may take from the first line of its log to its lock, which includes importing torch."""
_TAIL_LINES = 20


def find_run(output_dir: Path, word: str) -> Path:
    """Returns the directory of a run.

    Args:
        output_dir: where sweeps and runs are stored.
        word: id of the run, or the beginning of it.

    Raises:
        UserError: if there is no such run, or more than one.
    """
    folder = runs_dir(output_dir)
    names = sorted(path.name for path in folder.glob("*") if path.name.startswith(word))
    matches = [word] if word in names else names
    if len(matches) != 1:
        found = "no run" if not matches else f"{len(matches)} runs"
        raise UserError(f"{word}: {found} of that id in {folder}")
    return folder / matches[0]


def read_log(run_dir: Path) -> str:
    """Returns what a run printed; raises UserError if there is no log."""
    try:
        content = read_bytes(run_dir / PRINTED)
    except Damaged as error:
        raise UserError(f"{run_dir}: {error}") from error
    if content is None:
        raise UserError(f"{run_dir / PRINTED}: not there; the run was not started by launch")
    return content.decode(errors="replace")


def follow_log(run_dir: Path) -> Iterator[str]:
    """Yields what a run printed, then what it prints, until it ends or no process trains it any more."""
    read_log(run_dir)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    with open(run_dir / PRINTED, "rb") as file:
        last = time.monotonic()
        while True:
            _, alive = holder(run_dir)
            text = decoder.decode(file.read())
            yield text
            if alive or text:
                last = time.monotonic()
            elif time.monotonic() - last > (_LAST_WORDS_S if is_settled(run_dir) else _START_S):
                return
            time.sleep(_POLL_S)


def failed_logs(plan: Plan) -> Iterator[str]:
    """Yields, for each failed run, its id, command and error, then the last lines that it printed."""
    for run in plan.runs:
        directory = plan.run_dir(run.run_id)
        failure = failure_of(directory)
        if failure is None or is_finished(directory):
            continue
        try:
            lines = read_log(directory).splitlines()[-_TAIL_LINES:]
        except UserError as error:
            lines = [str(error)]
        head = [f"run {run.run_id} failed: {failure['error']}", run.command]
        yield "\n".join([*head, *(f"    {line}" for line in lines), ""])
