"""Reads ``phases.jsonl`` of the run directories into a data frame."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from dst.files.records import INTEGER, read_lines
from dst.run.layout import PHASES

_COLUMNS = (
    *("run_id", "phase", "name", "epochs", "epoch", "density"),
    *("test_acc", "val_acc", "step", "flops_training"),
)


def phase_frame(directories: Mapping[str, Path]) -> pd.DataFrame:
    """Returns one row per run and finished phase; damaged lines are passed over with a warning.

    Args:
        directories: the run directories by run id.
    """
    rows = [
        {**line, "run_id": run_id}
        for run_id, folder in directories.items()
        for line in read_lines(folder / PHASES, {"phase": INTEGER, "epochs": INTEGER, "epoch": INTEGER})
    ]
    frame = pd.DataFrame(rows)
    columns = [*_COLUMNS, *(column for column in frame.columns if column not in _COLUMNS)]
    return frame.reindex(columns=columns)
