"""Cases of a part, and functions that several parts use."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from tests.benchmarks.setups import SETUPS, Setup

REHEARSED = ("small_mlp/higgs", "lenet5_caffe/fashion_mnist")
"""The setups of a rehearsal, small enough for a CPU."""


@dataclass
class Case:
    """One check: whether it passed, the message to print (``told``) and the values to write."""

    name: str
    passed: bool = True
    told: str = ""
    values: dict[str, Any] = field(default_factory=dict)


class Failed(Exception):
    """A check failed; the message says why."""


def run_case(name: str, work: Callable[..., Case | None], *arguments: Any) -> Case:
    """Returns the case of ``work(*arguments)``; an exception becomes a failed case.

    Raises:
        RuntimeError: for a CUDA error, after which the process cannot use the GPU any more.
    """
    try:
        return work(*arguments) or Case(name)
    except torch.OutOfMemoryError as error:
        return Case(name, False, f"out of memory: {_first_line(error)}")
    except Exception as error:
        if "CUDA error" in str(error):
            raise RuntimeError(f"{name}: {_first_line(error)}") from error
        return Case(name, False, _first_line(error))
    finally:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def setups(device: torch.device) -> list[Setup]:
    """Returns all setups on a GPU, two small ones elsewhere."""
    return [setup for setup in SETUPS if device.type == "cuda" or setup.name in REHEARSED]


def batch_size(setup: Setup, device: torch.device) -> str:
    """Returns a batch size override small enough for many cases in minutes."""
    if device.type != "cuda":
        return "recipe.batch_size=4"
    return f"recipe.batch_size={16 if setup.model == 'resnet50' else 64}"


@contextmanager
def capture_warnings() -> Iterator[list[str]]:
    """Collects the warnings of the logger ``dst``."""
    lines: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("dst").addHandler(handler)
    try:
        yield lines
    finally:
        logging.getLogger("dst").removeHandler(handler)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
