"""Masks as text and as whole numbers: how the log of a probe holds a set of weights, and how sets are compared."""

from __future__ import annotations

import base64
import zlib

import numpy as np
from torch import Tensor


def to_text(mask: Tensor) -> str:
    """Returns a bool tensor of any shape as text: eight values a byte, the first in the lowest bit; zlib; Base64."""
    return base64.b64encode(zlib.compress(_packed(mask))).decode()


def to_number(mask: Tensor) -> int:
    """Returns a bool tensor of any shape as a whole number, whose bit i is the tensor's i-th value.

    Such numbers are sets: they combine by ``&``, ``|`` and ``~``, and ``bit_count`` is their size.
    """
    return int.from_bytes(_packed(mask), "little")


def from_text(text: str) -> int:
    """Returns what :func:`to_text` wrote, as :func:`to_number` has it.

    Raises:
        ValueError: for any other text.
    """
    try:
        return int.from_bytes(zlib.decompress(base64.b64decode(text, validate=True)), "little")
    except (ValueError, zlib.error) as error:
        raise ValueError(f"no mask: {text[:20]}") from error


def _packed(mask: Tensor) -> bytes:
    return np.packbits(mask.detach().cpu().numpy().reshape(-1), bitorder="little").tobytes()
