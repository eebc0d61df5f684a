"""Separate random streams, each derived from the run's seed and the stream's name.

Runs with the same seed share initial weights, masks, batches and augmentation, whatever else differs. Streams are
named by epoch or step, so checkpoints need no generator state.
"""

from __future__ import annotations

import hashlib

import torch


def stream_seed(seed: int, *names: str | int) -> int:
    """Returns the 63-bit seed of a random stream, a hash of the arguments.

    Args:
        seed: of the run.
        names: of the stream, such as ``"growth", step``.
    """
    digest = hashlib.sha256(repr((int(seed), *names)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def generator(seed: int, *names: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """Returns a new generator seeded with :func:`stream_seed`.

    Args:
        seed: of the run.
        names: of the stream, such as ``"growth", step``.
        device: of the generator.
    """
    return torch.Generator(device=device).manual_seed(stream_seed(seed, *names))
