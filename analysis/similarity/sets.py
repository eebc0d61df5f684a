"""Sets of weights in run directories, as whole numbers (:mod:`dst.probes.bits`), and their Jaccard index."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from dst.files.records import INTEGER, OBJECT, read_lines
from dst.probes.bits import from_text, to_number
from dst.run.directory import read_checkpoint
from dst.run.layout import MASKS, probe_log

log = logging.getLogger("dst")

Sets = Mapping[str, int]
"""A set of each layer's weights."""


def jaccard(one: Sets, other: Sets) -> np.ndarray:
    """Returns |a ∩ b| / |a ∪ b| of each layer; 1 where both sets are empty.

    Args:
        one: sets by layer.
        other: of the same layers.
    """
    unions = [(one[layer] | other[layer]).bit_count() for layer in one]
    shared = [(one[layer] & other[layer]).bit_count() for layer in one]
    return np.array([both / union if union else 1.0 for both, union in zip(shared, unions, strict=True)])


def log_of(path: str) -> Path:
    """Returns the log of the probe ``jaccard`` in a run directory."""
    return Path(path) / probe_log("jaccard")


def read_records(path: str, last: int | None = None) -> Iterator[tuple[int, dict[str, Sets]]]:
    """Yields step and sets of what the probe recorded; damaged records are passed over with a warning.

    Args:
        path: of the run directory.
        last: the last step to read; None: all.
    """
    for line in read_lines(log_of(path), {"step": INTEGER, "layers": OBJECT}):
        if last is not None and line["step"] > last:
            return
        try:
            yield line["step"], _sets(line["layers"])
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            log.warning("%s: passed over what is damaged: step %s (%s)", log_of(path), line["step"], error)


def _sets(layers: Mapping[str, Mapping[str, str]]) -> dict[str, Sets]:
    names = list(dict.fromkeys(name for sets in layers.values() for name in sets))
    return {name: {layer: from_text(sets[name]) for layer, sets in layers.items()} for name in names}


def read_end(path: str) -> Sets:
    """Returns the masks that a run ended with; none, with a warning, where they cannot be read."""
    try:
        return {name: to_number(mask) for name, mask in read_checkpoint(Path(path) / MASKS).items()}
    except Exception as error:  # a damaged file fails in many ways
        log.warning("%s: passed over: %s cannot be read (%s)", path, MASKS, error)
        return {}
