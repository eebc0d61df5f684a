"""The results folder: data frames as files, which also serve as the cache of the next ``collect``."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from dst.errors import UserError
from dst.files.atomic import atomic_file
from dst.files.records import INTEGER, LIST, OBJECT, keep_aside, read_bytes, read_object

from .frames import runs_frame

_FORMAT = 3
"""Incremented when the same run files give different rows, which invalidates older caches."""

_KNOWN = {"format": INTEGER, "origin": OBJECT, "signatures": OBJECT, "checksums": LIST}


@dataclass
class CachedRuns:
    """The runs read by an earlier ``collect``.

    Attributes:
        runs: one row per run.
        signatures: sizes and times of each run's files when they were read (:func:`analysis.run_files.signature`).
        origin: ``{"source": "runs" | "wandb", "from": …}``.
    """

    runs: pd.DataFrame = field(default_factory=lambda: runs_frame([]))
    signatures: dict[str, str] = field(default_factory=dict)
    origin: dict[str, Any] = field(default_factory=dict)


class ResultsFolder:
    """``results/`` or ``results/<sweep>/``: ``runs.parquet``, ``runs.csv``, ``epochs.parquet``, ``missing.csv``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        """Returns the path of the file ``name``; raises UserError if the folder is not writable."""
        path = self.folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                keep_aside(path)
        except OSError as error:
            raise UserError(f"results_dir={self.folder}: cannot be written to ({error.strerror})") from error
        return path

    def load_cache(self) -> CachedRuns:
        """Returns the cached runs; an empty cache if the files are damaged or of another version."""
        try:
            known = read_object(self.folder / ".collected.json", _KNOWN, max_bytes=2**30)
            if known is None or known["format"] != _FORMAT or known["checksums"] != self._checksums():
                return CachedRuns()
            runs = runs_frame(pd.read_parquet(self.folder / "runs.parquet"))
            return CachedRuns(runs, known["signatures"], known["origin"])
        except (OSError, ValueError):
            return CachedRuns()

    def _checksums(self) -> list[int]:
        return [zlib.crc32(read_bytes(self.folder / name) or b"") for name in ("runs.parquet", "epochs.parquet")]

    def epochs(self) -> pa.Table:
        """Returns the cached learning curves."""
        return parquet.read_table(self.folder / "epochs.parquet")

    def save_cache(self, memory: CachedRuns, epochs: pa.Table | None) -> None:
        """Writes the data frames, then the file that makes them a valid cache.

        Args:
            memory: the runs and the signatures of their files.
            epochs: the learning curves; None keeps the file that exists.
        """
        if epochs is not None:
            with atomic_file(self.path("epochs.parquet")) as file:
                parquet.write_table(epochs, file)
        with atomic_file(self.path("runs.parquet")) as file:
            memory.runs.to_parquet(file, index=False)
        self.write_csv("runs.csv", memory.runs)
        known = {
            "format": _FORMAT,
            "origin": memory.origin,
            "signatures": memory.signatures,
            "checksums": self._checksums(),
        }
        with atomic_file(self.path(".collected.json")) as file:
            file.write(json.dumps(known).encode())

    def write_csv(self, name: str, frame: pd.DataFrame) -> Path:
        """Writes a data frame as CSV and returns its path.

        Args:
            name: of the file, such as ``runs.csv``.
            frame: written without its index.
        """
        return self.write_text(name, frame.to_csv(index=False))

    def write_text(self, name: str, text: str) -> Path:
        """Writes a UTF-8 text file atomically and returns its path.

        Args:
            name: of the file, relative to the folder.
            text: the whole content.
        """
        path = self.path(name)
        with atomic_file(path) as file:
            file.write(text.encode())
        return path
