"""Measures trained networks, or recalls what was measured of the same weights before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from ..results_folder import ResultsFolder
from .cache import Frames, cached
from .states import NetworkState

if TYPE_CHECKING:
    from .hessian import Settings
    from .load import Place


def interpolated(
    results: ResultsFolder,
    starts: Sequence[NetworkState],
    end: NetworkState,
    options: Mapping[str, str],
    given: Mapping[str, str],
) -> Frames:
    """Returns ``points`` (:func:`~analysis.models.interpolate.interpolate`) and their ``barriers``.

    Args:
        results: the folder of the cache.
        starts: networks at α = 0.
        end: the network at α = 1.
        options: ``mask``, ``batch_norm`` and ``split`` of the command ``interpolate``.
        given: ``device`` and ``data_dir``, each if given.
    """

    def compute() -> Frames:
        from .interpolate import Line, barriers, interpolate

        splits = ("train", "test") if options["split"] == "both" else (options["split"],)
        points = interpolate(starts, end, Line(options["mask"], options["batch_norm"], splits), _place(given))
        return {"points": points, "barriers": barriers(points)}

    return cached(results, "interpolate", [*starts, end], options, compute)


def between_phases(
    results: ResultsFolder, ends: Sequence[NetworkState], options: Mapping[str, str], given: Mapping[str, str]
) -> Frames:
    """Returns what :func:`interpolated` does, from each network of a run to the next one of that run.

    Args:
        results: the folder of the cache.
        ends: networks of runs, those of a run in order.
        options: as of :func:`interpolated`.
        given: ``device`` and ``data_dir``, each if given.
    """
    found = [
        interpolated(results, [start], end, options, given)
        for start, end in pairwise(ends)
        if start.run_id == end.run_id
    ]
    return {name: pd.concat([frames[name] for frames in found], ignore_index=True) for name in found[0]}


def spectra_of(
    results: ResultsFolder, states: Sequence[NetworkState], settings: Settings, given: Mapping[str, str]
) -> Frames:
    """Returns ``networks`` and ``eigenvalues``, see :func:`analysis.models.hessian.spectra`.

    Args:
        results: the folder of the cache.
        states: networks of any models.
        settings: of the computation.
        given: ``device`` and ``data_dir``, each if given.
    """

    def compute() -> Frames:
        from .hessian import spectra

        networks, eigenvalues = spectra(states, settings, _place(given))
        return {"networks": networks, "eigenvalues": eigenvalues}

    options = {"lines": {state.name: state.line for state in states}, **asdict(settings)}
    return cached(results, "hessian", states, options, compute)


def predictions_compared(
    results: ResultsFolder, states: Sequence[NetworkState], given: Mapping[str, str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Returns pairs and members, see :func:`analysis.models.disagreement.disagreement`.

    Args:
        results: the folder of the cache.
        states: networks of one model and dataset.
        given: ``device`` and ``data_dir``, each if given.
    """

    def compute() -> Frames:
        from .disagreement import disagreement

        pairs, members = disagreement(states, _place(given))
        return {"pairs": pairs, "members": members}

    lines = {state.name: state.line for state in states}
    found = cached(results, "disagreement", states, {"lines": lines}, compute)
    return found["pairs"], found["members"]


def distances_between(results: ResultsFolder, states: Sequence[NetworkState], given: Mapping[str, str]) -> pd.DataFrame:
    """Returns the distances of all pairs, see :func:`analysis.models.distances.distances`.

    Args:
        results: the folder of the cache.
        states: networks of one model.
        given: ``device`` and ``data_dir``, each if given.
    """

    def compute() -> Frames:
        from .distances import distances

        return {"pairs": distances(states, _place(given))}

    return cached(results, "distances", states, {}, compute)["pairs"]


def _place(given: Mapping[str, str]) -> Place:
    from .load import Place

    return Place(given.get("device", "auto"), Path(given["data_dir"]) if "data_dir" in given else None)
