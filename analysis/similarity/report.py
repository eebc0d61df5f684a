"""``python -m analysis jaccard``: the tables of Figures 6 and 17 to 21."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np
import pandas as pd

from dst.errors import UserError

from ..collect import Collection
from ..style import label
from .matrices import (
    Matrix,
    end_matrices,
    first_update_matrices,
    over_training,
    seeds_text,
    shared_shares,
)


def report_jaccard(collection: Collection) -> str:
    """Writes the tables ``jaccard_….csv`` and returns the text to print.

    Args:
        collection: of the runs.

    Raises:
        UserError: if none has the probe.
    """
    runs, results = collection.runs, collection.results
    found = {"first update": first_update_matrices(runs), "end of training": end_matrices(runs)}
    frames = {name.replace(" ", "_"): matrix_frame(matrices) for name, (matrices, _) in found.items()}
    frames |= {"over_training": over_training(runs), "shares": shared_shares(runs)}
    if all(frame.empty for frame in frames.values()):
        raise UserError("no finished dynamic run has the probe jaccard; train with probes=jaccard")
    lines = [line for name, (matrices, _) in found.items() for matrix in matrices for line in _lines(name, matrix)]
    lines += _shares(frames["shares"])
    lines += [f"note: {note}" for note in dict.fromkeys(note for _, notes in found.values() for note in notes)]
    paths = [results.write_csv(f"jaccard_{name}.csv", frame) for name, frame in frames.items() if len(frame)]
    return "\n".join([*lines, f"written to {', '.join(map(str, paths))}"])


def matrix_frame(matrices: Iterable[Matrix]) -> pd.DataFrame:
    """Returns a row for each pair: ``setup density prune_fraction criterion other mean std chance seeds``."""
    rows = [
        (m.setup, m.density, m.prune_fraction, m.names[i], m.names[j], m.mean[i, j], m.std[i, j], m.chance, m.seeds)
        for m in matrices
        for i, j in itertools.combinations_with_replacement(range(len(m.names)), 2)
    ]
    columns = ["setup", "density", "prune_fraction", "criterion", "other", "mean", "std", "chance", "seeds"]
    return pd.DataFrame(rows, columns=columns)


def _shares(shares: pd.DataFrame) -> list[str]:
    """Returns a line for each setup and density, with the standard deviation over seeds where there are several."""
    lines = []
    for (setup, density), here in shares.groupby(["setup", "density"], sort=False):
        kept, removed = (_percent(here[name]) for name in ("kept", "removed"))
        about = f"masks at the end of training, {setup}, density {density:g}, {seeds_text([len(here)])}"
        lines.append(
            f"{about}: all {here['criteria'].max()} criteria keep {kept} of the active weights, and none has {removed} "
            "of the inactive ones"
        )
    return [*lines, ""] if lines else []


def _percent(values: pd.Series) -> str:
    spread = f" ± {100 * values.std(ddof=1):.1f}" if len(values) > 1 else ""
    return f"{100 * values.mean():.1f}{spread} %"


def _lines(name: str, matrix: Matrix) -> list[str]:
    lower = np.where(np.tri(len(matrix.names), dtype=bool), matrix.mean, np.nan)
    table = pd.DataFrame(lower, *[[label(each) for each in matrix.names]] * 2)
    about = f"{name}, {matrix.setup}, density {matrix.density:g}, {seeds_text([matrix.seeds])}"
    about += "" if np.isnan(matrix.chance) else f"; random sets {matrix.chance:.3f}"
    return [about, str(table.to_string(float_format=lambda value: f"{value:.3f}", na_rep="")), ""]
