"""The paper's own results, from ``published.yaml``."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

Curves = dict[str, dict[float, float]]
"""y by x, by the name of the line."""


@dataclass(frozen=True)
class Published:
    """The paper's results of one setup; empty for a setup that it does not have.

    Attributes:
        similarity: by method and quantity, mean and, where printed, the number after ±; fractions of 1.
        gradient_norm: by method and step.
        update_effect: change of the gradient norm, by method and step.
        interpolation: training loss by start and α.
    """

    similarity: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    gradient_norm: Curves = field(default_factory=dict)
    update_effect: Curves = field(default_factory=dict)
    interpolation: Curves = field(default_factory=dict)


def published(setup: str, densities: set[float]) -> Published:
    """Returns the paper's results of a setup; none if its networks were pruned to another density.

    Args:
        setup: ``model/dataset``.
        densities: of the sparse runs to compare; empty if there are only dense ones.
    """
    node = dict(_read().get(setup, {}))
    density = node.pop("density", None)
    return Published(**node) if density is None or densities <= {density} else Published()


@cache
def _read() -> dict[str, Any]:
    return dict(yaml.safe_load(Path(__file__).with_name("published.yaml").read_text(encoding="utf-8")))
