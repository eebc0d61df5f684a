"""Finished runs that are trained anew: what there was is kept, where nothing takes it for a run."""

from __future__ import annotations

import time
from pathlib import Path

from dst.errors import UserError
from dst.files.lock import locked
from dst.run.layout import SUMMARY


def was_archived(directory: Path) -> bool:
    """Whether the run is trained anew: :func:`archive` has kept an earlier result of it."""
    return any((directory.parent / ".archive").glob(f"{directory.name}-*"))


def archive(directory: Path) -> Path | None:
    """Moves a finished run's directory to ``.archive/<run_id>-<time>`` beside it, in one step, and returns where it is.

    Returns None if the run is not finished (any more).

    Raises:
        Locked: if a process is at work on it.
        UserError: where it cannot be moved.
    """
    name = f"{directory.name}-{time.strftime('%Y%m%d-%H%M%S')}"
    kept = directory.parent / ".archive" / name
    try:
        with locked(directory):
            if not (directory / SUMMARY).exists():
                return None
            kept.parent.mkdir(exist_ok=True)
            while kept.exists():  # archived twice within a second
                kept = kept.with_name(f"{kept.name}+")
            directory.rename(kept)
        for claim in kept.glob("claim.*"):  # ours, moved along
            claim.unlink()
    except OSError as error:
        raise UserError(f"{directory}: cannot be moved to {kept} ({error.strerror})") from error
    return kept
