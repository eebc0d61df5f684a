"""Archives of runs: ``<output_dir>/archive/<name>.tar``, which ``restore`` or tar itself unpacks in ``output_dir``.

An archive holds ``runs/<run_id>/…`` and, last, ``archive/<name>.sha256``, a list that ``sha256sum -c`` takes. It gets
its name only when it is complete, and runs are removed only after every file in it was read back.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import stat
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any

from dst.commands import LAUNCH
from dst.errors import PlaceError, UserError
from dst.files.atomic import atomic_file
from dst.files.lock import Locked, locked
from dst.run.layout import CHECKPOINT, PREVIOUS_CHECKPOINT, SNAPSHOTS, archive_dir, runs_dir
from dst.run.outcome import DONE

from .removal import Removal, bytes_text, forget, remove
from .status import truncated

_STAGING = ".restoring"
"""Beside the run directories: what is being unpacked."""

_WEIGHTS = (CHECKPOINT, PREVIOUS_CHECKPOINT, SNAPSHOTS)
_LOCK_FILE = re.compile(r"claim\.\d+|\.clock\..*")
_SAFELY: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
"""Python's refusal to unpack anything outside a folder; its patch releases before June 2023 lack it."""

Contents = dict[str, tuple[int, int, int]]
"""Mode, size and modification time (ns) of each file, folder and link, by its path in the run directory."""


def archives(output_dir: Path) -> list[str]:
    """Returns the names of the archives in ``output_dir``."""
    return sorted(path.stem for path in archive_dir(output_dir).glob("[!.]*.tar"))


def archive_runs(removal: Removal, name: str, *, checkpoints: bool) -> str:
    """Moves the runs into an archive; returns what was done.

    A run that changes meanwhile stays.

    Args:
        removal: the runs.
        name: of the archive; a number is appended if there is one of that name.
        checkpoints: False leaves out checkpoints and snapshots of finished runs, which are then lost.

    Raises:
        UserError: for a link out of its run directory, or if the archive cannot be written or read back; all runs stay.
    """
    folder = archive_dir(removal.plan.output_dir)
    runs = {run.run_id: removal.plan.run_dir(run.run_id) for run in removal.plan.runs}
    with _alone(folder):
        path = _free_path(folder, name)
        try:
            contents = {run_id: _contents(directory) for run_id, directory in runs.items()}
            kept = {
                run_id: [file for file in found if checkpoints or not _is_weights(file, removal.state[run_id].state)]
                for run_id, found in contents.items()
            }
            hashes = _write(path, {directory: kept[run_id] for run_id, directory in runs.items()})
        except OSError as error:  # such as of a file that vanished or shrank at this moment
            raise UserError(f"{error.filename or path}: cannot be read as it is ({error}); all runs stay") from error
        _verify(path, hashes)
        forget(removal, path.stem)
        changed = [
            run_id
            for run_id, directory in reversed(runs.items())  # children before their parents
            if not remove(directory, partial(_is_unchanged, directory, contents[run_id]))
        ]
    stay = [f"  {run_id} has changed meanwhile and stays" for run_id in changed]
    done = f"{len(runs) - len(changed)} runs archived in {path}, {bytes_text(path.stat().st_size)}"
    return "\n".join([done, *truncated(stay), f"bring them back with: {LAUNCH} restore {path.stem}"])


def restore(output_dir: Path, name: str) -> str:
    """Brings the runs of an archive back; returns what was done. A run that is there already stays as it is.

    Args:
        output_dir: where sweeps and runs are stored.
        name: of the archive.

    Raises:
        UserError: if there is no such archive, or it is damaged.
    """
    name = name.removesuffix(".tar")
    if name not in archives(output_dir):
        others = ", ".join(archives(output_dir)) or "none"
        raise UserError(f"{name}: no archive in {archive_dir(output_dir)}; there are: {others}")
    path, runs = archive_dir(output_dir) / f"{name}.tar", runs_dir(output_dir)
    staging = runs / _STAGING
    with _alone(archive_dir(output_dir)):
        shutil.rmtree(staging, ignore_errors=True)  # of a command that was killed
        staging.mkdir(parents=True)
        try:
            hashes = _unpack(path, staging)
            found = sorted(path.name for path in (staging / "runs").iterdir())
            there = [run_id for run_id in found if os.path.lexists(runs / run_id)]
            for run_id in found:
                if run_id not in there:
                    _check_files(staging, {file: digest for file, digest in hashes.items() if _run_of(file) == run_id})
                    (staging / "runs" / run_id).rename(runs / run_id)
        except (tarfile.TarError, EOFError, KeyError, ValueError, FileNotFoundError) as error:
            raise UserError(f"{path}: is damaged ({error}); see what tar -tvf {path} can still read") from error
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    lines = truncated([f"  {run_id} is there already and stays as it is" for run_id in there])
    return "\n".join([f"{len(found) - len(there)} runs restored from {path}, which stays", *lines])


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keeps other processes from archiving and restoring, and removes what a killed one has left."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder):
            for left in folder.glob(".*.tmp"):
                left.unlink()
            yield
    except Locked as error:
        raise UserError(f"{folder}: another process archives or restores at this moment ({error})") from error


def _free_path(folder: Path, name: str) -> Path:
    names = [name, *(f"{name}-{number}" for number in range(2, 10_000))]
    return next(path for name in names if not (path := folder / f"{name}.tar").exists())


def _contents(directory: Path) -> Contents:
    """Returns what a run directory holds, but for lock files; raises UserError for what an archive could not keep."""
    found: Contents = {}
    for folder, folders, files in os.walk(directory):
        for name in sorted([*folders, *files]):
            path = Path(folder) / name
            status = path.lstat()
            if _LOCK_FILE.fullmatch(name):
                continue
            if not (stat.S_ISREG(status.st_mode) or path.is_dir() or path.is_symlink()):
                raise UserError(f"{path}: is no file, folder or link; remove it and archive again")
            if path.is_symlink() and not _points_into(path, directory):
                raise UserError(
                    f"{path}: is a link to {os.readlink(path)}, out of its run; replace it by what is there"
                )
            is_folder = stat.S_ISDIR(status.st_mode)  # whose time and size also change with a lock file in it
            size_and_time = (0, 0) if is_folder else (status.st_size, status.st_mtime_ns)
            found[str(path.relative_to(directory))] = (status.st_mode, *size_and_time)
    return found


def _is_unchanged(directory: Path, before: Contents) -> bool:
    return _contents(directory) == before


def _points_into(link: Path, directory: Path) -> bool:
    target = os.readlink(link)
    inside = os.path.normpath(os.path.join(os.path.relpath(link.parent, directory), target))
    return not os.path.isabs(target) and inside != ".." and not inside.startswith("../")


def _is_weights(name: str, state: str) -> bool:
    """Whether a file of a run is left out with its checkpoints: an unfinished run needs them to go on."""
    return state in DONE and Path(name).parts[0] in _WEIGHTS


def _write(path: Path, runs: dict[Path, list[str]]) -> dict[str, str]:
    """Writes an archive; returns the SHA-256 of each file, by its path in the archive."""
    hashes: dict[str, str] = {}
    with atomic_file(path) as file, tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for directory, names in runs.items():
            tar.add(directory, f"runs/{directory.name}", recursive=False)
            for name in names:
                member = f"runs/{directory.name}/{name}"
                info = tar.gettarinfo(directory / name, member)
                if not info.isreg() and not info.islnk():
                    tar.addfile(info)
                    continue
                info.type, info.size = tarfile.REGTYPE, (directory / name).stat().st_size  # hard links as files
                with open(directory / name, "rb") as content:
                    reader = _HashingReader(content)
                    tar.addfile(info, reader)
                hashes[member] = reader.digest.hexdigest()
        listed = "".join(f"{digest}  {member}\n" for member, digest in hashes.items()).encode()
        info = tarfile.TarInfo(f"archive/{path.stem}.sha256")
        info.size = len(listed)
        tar.addfile(info, io.BytesIO(listed))
    return hashes


class _HashingReader:
    """A file whose content is hashed as it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.digest = file, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Returns the next bytes."""
        block = self._file.read(size)
        self.digest.update(block)
        return block


def _verify(path: Path, hashes: dict[str, str]) -> None:
    """Reads an archive back; removes it and raises PlaceError unless it has the files as hashed while written."""
    fault = ""
    try:
        with tarfile.open(path) as tar:
            files = [member for member in tar if member.isreg()][:-1]  # the last one is the list of hashes
            found = {member.name: _sha256(tar.extractfile(member)) for member in files}
        fault = "" if found == hashes else "its content differs"
    except (tarfile.TarError, OSError) as error:
        fault = str(error)
    if fault:
        path.unlink()
        raise PlaceError(f"{path}: does not read back as it was written ({fault}); all runs stay where they are")


def _unpack(path: Path, folder: Path) -> dict[str, str]:
    """Unpacks an archive into a folder; returns the SHA-256 of each file as the archive lists them."""
    with tarfile.open(path) as tar:
        members = tar.getmembers()
        tar.extractall(folder, members, **_SAFELY)
        listed = tar.extractfile(members[-1].name) if members else None
        if listed is None or not members[-1].name.endswith(".sha256"):
            raise ValueError("it does not end with a list of hashes")
        lines = listed.read().decode().splitlines()
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def _check_files(folder: Path, hashes: dict[str, str]) -> None:
    for name, digest in hashes.items():
        with open(folder / name, "rb") as file:
            if _sha256(file) != digest:
                raise ValueError(f"{name} has another hash than when it was archived")


def _run_of(member: str) -> str:
    return member.split("/")[1]


def _sha256(file: IO[bytes] | None) -> str:
    digest = hashlib.sha256()
    while file and (block := file.read(1 << 20)):
        digest.update(block)
    return digest.hexdigest()
