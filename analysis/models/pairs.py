"""Values of pairs of networks: their means within and between lines, and the plane that keeps distances best."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def summarise_pairs(pairs: pd.DataFrame, lines: dict[str, str], value: str) -> pd.DataFrame:
    """Returns mean, sample standard deviation and number of the pairs within each line and between any two.

    Args:
        pairs: columns ``first``, ``second`` and ``value``.
        lines: the line of each network by its name.
        value: column to summarise.
    """
    rank = {line: index for index, line in enumerate(dict.fromkeys(lines.values()))}
    ends = [
        sorted((lines[first], lines[second]), key=rank.__getitem__)
        for first, second in zip(pairs["first"], pairs["second"], strict=True)
    ]
    named = pairs.assign(line=[end[0] for end in ends], other=[end[1] for end in ends])
    groups = named.groupby(["line", "other"], sort=False)[value]
    found = pd.DataFrame({"mean": groups.mean(), "std": groups.std(ddof=1), "pairs": groups.count()}).reset_index()
    order = found["line"].map(rank) * len(rank) + found["other"].map(rank)
    return found.iloc[order.argsort()].reset_index(drop=True)


def distance_matrix(pairs: pd.DataFrame, names: Sequence[str], value: str) -> NDArray[np.float64]:
    """Returns the symmetric matrix of distances ``(networks, networks)``.

    Args:
        pairs: columns ``first``, ``second`` and ``value``.
        names: of the networks, in order.
        value: column of the distances.
    """
    position = {name: index for index, name in enumerate(names)}
    matrix = np.zeros((len(names), len(names)))
    for first, second, distance in zip(pairs["first"], pairs["second"], pairs[value], strict=True):
        matrix[position[first], position[second]] = matrix[position[second], position[first]] = distance
    return matrix


def scale(matrix: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Places points in a plane by classical multidimensional scaling (Torgerson, 1952).

    The eigenvectors of the doubly centred squared distances, times the roots of the two largest eigenvalues; their
    signs are such that the largest coordinate of each axis is positive.

    Args:
        matrix: distances ``(n, n)``.

    Returns:
        Coordinates ``(n, 2)``, and the share of the squared distances that the plane keeps: its two eigenvalues over
        the sum of the positive ones, 1 for points that lie in a plane.
    """
    n = len(matrix)
    centring = np.eye(n) - 1 / n
    values, vectors = np.linalg.eigh(-0.5 * centring @ matrix**2 @ centring)
    values, vectors = values[::-1].clip(min=0), vectors[:, ::-1]
    kept = vectors[:, :2] * np.sqrt(values[:2])
    largest = np.take_along_axis(kept, np.abs(kept).argmax(axis=0)[None], axis=0)
    return kept * np.where(largest < 0, -1, 1), float(values[:2].sum() / values.sum()) if values.sum() else 1.0
