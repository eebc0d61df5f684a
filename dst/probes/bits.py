"""Masks as text: how the log of a probe holds a set of weights."""

from __future__ import annotations

import base64
import zlib

import numpy as np
from torch import Tensor


def to_text(mask: Tensor) -> str:
    """Returns a bool tensor of any shape as text: eight values a byte, the first in the lowest bit; zlib; Base64."""
    packed = np.packbits(mask.detach().cpu().numpy().reshape(-1), bitorder="little")
    return base64.b64encode(zlib.compress(packed.tobytes())).decode()


def from_text(text: str) -> int:
    """Returns the set that :func:`to_text` wrote, as a whole number: bit i is the mask's i-th value.

    Sets of one weight then combine by ``&``, ``|`` and ``~``, and ``bit_count`` is their size.

    Raises:
        ValueError: for any other text.
    """
    try:
        return int.from_bytes(zlib.decompress(base64.b64decode(text, validate=True)), "little")
    except (ValueError, zlib.error) as error:
        raise ValueError(f"no mask: {text[:20]}") from error
