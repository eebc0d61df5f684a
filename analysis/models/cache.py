"""Results that took a while to compute, kept in the results folder until the weights or the options change."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from dst.files.records import OBJECT, Damaged, read_object

from ..results_folder import ResultsFolder
from .states import NetworkState

_FORMAT = 1
"""Incremented when the same networks and options give different results, which invalidates older caches."""

Frames = dict[str, pd.DataFrame]


def cached(
    results: ResultsFolder,
    command: str,
    states: Sequence[NetworkState],
    options: Mapping[str, Any],
    compute: Callable[[], Frames],
) -> Frames:
    """Returns what ``compute`` returned for the same command, networks and options before; calls it only if need be.

    Args:
        results: the folder whose ``.models`` holds the cache, a file for each call.
        command: of ``python -m analysis``.
        states: the networks, in order; a checkpoint written anew is another network.
        options: those that decide the result.
        compute: returns data frames by name, of numbers and texts.
    """
    said = [_FORMAT, command, [state.signature for state in states], dict(options)]
    key = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:12]
    name = f".models/{command}-{key}.json"
    try:
        known = read_object(results.folder / name, {"frames": OBJECT}, max_bytes=2**30)
    except (Damaged, OSError):
        known = None
    if known is None:
        frames = {part: frame.to_dict(orient="list") for part, frame in compute().items()}
        known = {"frames": frames}
        results.write_text(name, json.dumps(known))
    return {part: pd.DataFrame(columns) for part, columns in known["frames"].items()}
