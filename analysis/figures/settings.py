"""Which of the runs a figure of the paper shows where several of its studies are collected together."""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd

from .canvas import FigureData

_PANELS = {
    "sparsity_scope": "local",
    "sparsity_update_batch_size": None,
    "prune_fraction": "cosine",
    "prune_fraction_initial": 0.5,
    "recipe_batch_size": 128,
    "model_weights": None,
}
_LINES = {"criterion_lam": 1.0}
MAIN_SETTINGS = {**_PANELS, **_LINES}
"""Choices, by their columns, that the paper's appendix varies, with their values in its main experiments."""

_OTHER_CRITERIA = ("sensitivity", "random")
"""Criteria of the appendix alone."""


def at_main_settings(data: FigureData, varied: Collection[str] = ()) -> FigureData:
    """Returns the runs at the settings of the paper's main experiments, but for what a figure varies.

    Runs are left out only where they could not be compared otherwise: all of a setup are kept unless two or more of
    :data:`MAIN_SETTINGS` vary there, λ not counted. A choice without runs at its main setting keeps the others.

    Args:
        data: finished and missing runs.
        varied: columns, ``criterion`` among them, whose values are all kept.
    """
    kept: set[str] = set()
    for _, here in pd.concat([data.runs, data.missing], ignore_index=True).groupby("setup"):
        several = sum(
            name in here and here[name].nunique(dropna=main is not None) > 1 for name, main in _PANELS.items()
        )
        if several < 2:
            kept.update(here["run_id"])
            continue
        fits = pd.Series("criterion" in varied, index=here.index) | ~here["criterion"].isin(_OTHER_CRITERIA)
        for name, main in MAIN_SETTINGS.items():
            if name in here and name not in varied:
                at_main = here[name].isna() | (here[name] == main).eq(True)
                fits &= at_main | (not at_main.any())
        kept.update(here.loc[fits, "run_id"])
    return data.select(lambda runs: runs["run_id"].isin(kept))
