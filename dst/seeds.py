"""Separate random streams, each derived from the run's seed and the stream's name.

Runs of one seed share initial weights, masks, batches and augmentation whatever else differs between them, and
because a stream is named by the epoch or step it is for, no generator state has to survive a restart.
"""

from __future__ import annotations

import hashlib

import torch


def stream_seed(seed: int, *names: str | int) -> int:
    """Returns a 63-bit seed for the stream ``names`` of a run with ``seed``: equal arguments, equal streams."""
    digest = hashlib.sha256(repr((int(seed), *names)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def generator(seed: int, *names: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """Returns a fresh generator on ``device`` at the start of the stream ``names``."""
    return torch.Generator(device=device).manual_seed(stream_seed(seed, *names))
