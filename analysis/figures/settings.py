"""Which of the runs a figure of the paper shows where several of its studies are collected together."""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd

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


def at_main_settings(runs: pd.DataFrame, varied: Collection[str] = ()) -> pd.Series:
    """Returns which runs have the settings of the paper's main experiments, but for what a figure varies.

    Asked for only where nothing could be compared otherwise: all runs of a setup are kept unless two or more of
    :data:`MAIN_SETTINGS` vary there, λ not counted. A setup without a run at a main setting keeps its others.

    Args:
        runs: one row per run.
        varied: columns, ``criterion`` among them, whose values are all kept.
    """
    kept = pd.Series(True, index=runs.index)
    for _, here in runs.groupby("setup"):
        choices = {name: main for name, main in MAIN_SETTINGS.items() if name in here and name not in varied}
        if (
            sum(here[name].nunique(dropna=main is not None) > 1 for name, main in choices.items() if name in _PANELS)
            < 2
        ):
            continue
        for name, main in choices.items():
            fits = here[name].isna() | (here[name] == main).eq(True)
            if fits.any():
                kept[here.index] &= fits
        if "criterion" not in varied:
            kept[here.index] &= ~here["criterion"].isin(_OTHER_CRITERIA)
    return kept
