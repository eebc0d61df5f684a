"""The file system of ``output_dir``: what locks, checkpoints and several nodes need of it."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from .finding import Finding

_NODE_LOCAL = ("tmpfs", "ramfs", "overlay")
_LEAST_FREE_GB = 20
_CLOCK_S = 30.0


def check_storage(output_dir: Path, *, shared: bool) -> Iterator[Finding]:
    """Checks that files can be created exclusively and renamed, the file server's clock, the room left, and the kind.

    Args:
        output_dir: need not exist; its nearest existing parent is tried then, and left as it was.
        shared: whether jobs on other nodes use it.
    """
    place = nearest_folder(output_dir)
    kind = _file_system(place)
    try:
        with tempfile.TemporaryDirectory(prefix=".doctor.", dir=place) as folder:
            late = _clock_difference(Path(folder))
            exclusive = _creates_exclusively(Path(folder))
    except OSError as error:
        yield Finding("wrong", f"output_dir={output_dir}: cannot write there ({error.strerror}); give output_dir=…")
        return
    if not exclusive:
        yield Finding(
            "wrong", f"output_dir={output_dir}: {kind} lets two processes create one file; give another place"
        )
    if shared and (kind in _NODE_LOCAL or place.is_relative_to(tempfile.gettempdir())):
        yield Finding(
            "wrong", f"output_dir={output_dir}: is on {kind} of this machine, which jobs on other nodes do not see; "
            "give output_dir=… on a shared file system"
        )  # fmt: skip
    if abs(late) > _CLOCK_S:
        yield Finding("note", f"the clock of {place}'s file server differs by {late:.0f} s; claims allow for it")
    free = shutil.disk_usage(place).free / 1e9
    level, advice = ("ok", "") if free > _LEAST_FREE_GB else ("note", "; checkpoint.keep=nothing saves room")
    yield Finding(level, f"output_dir={output_dir}: {kind}, {free:.0f} GB free{advice}")


def nearest_folder(output_dir: Path) -> Path:
    """Returns ``output_dir``, or its nearest parent that exists."""
    return next(folder for folder in (output_dir, *output_dir.parents) if folder.is_dir())


def _creates_exclusively(folder: Path) -> bool:
    """Returns whether the second exclusive creation of a file fails, also after the first was made by a rename."""
    first = folder / "first"
    os.close(os.open(first, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    first.replace(folder / "claim")
    with contextlib.suppress(FileExistsError):
        os.close(os.open(folder / "claim", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        return False
    return True


def _clock_difference(folder: Path) -> float:
    """Returns by how many seconds the file system's clock is behind this machine's."""
    path = folder / "clock"
    now = time.time()
    path.touch()
    return now - path.stat().st_mtime


def _file_system(place: Path) -> str:
    """Returns the type of the file system that a folder is on, as /proc/mounts names it."""
    kind, deepest = "unknown", -1
    with contextlib.suppress(OSError):
        for line in Path("/proc/mounts").read_text().splitlines():
            _, mount, found, *_ = line.split()
            if place.resolve().is_relative_to(mount) and len(mount) >= deepest:
                kind, deepest = found, len(mount)
    return kind
