"""Wrong labels on purpose."""

from __future__ import annotations

import numpy as np

from dst.data.split import Indices
from dst.seeds import stream_seed


def noisy_labels(labels: Indices, share: float, num_classes: int, seed: int) -> Indices:
    """Returns labels of which ``share`` are replaced by another class, drawn uniformly from the others.

    Exactly ``round(share · N)`` are replaced. Equal arguments give equal labels.

    Args:
        labels: int64 ``(N,)``, from 0; not changed.
        share: in [0, 1).
        num_classes: 2 or more.
        seed: of the choice and the classes.
    """
    random = np.random.RandomState(stream_seed(seed, "label noise") % 2**32)
    wrong = random.permutation(len(labels))[: round(share * len(labels))]
    noisy = labels.copy()
    noisy[wrong] = (noisy[wrong] + random.randint(1, num_classes, len(wrong))) % num_classes
    return noisy
