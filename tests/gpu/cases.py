"""What a part finds out, case by case, and what parts share."""

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
"""The setups of a rehearsal, which no GPU makes fast."""


@dataclass
class Case:
    """One thing looked at: whether it is as it should be, what to print of it (``told``) and what to write."""

    name: str
    passed: bool = True
    told: str = ""
    values: dict[str, Any] = field(default_factory=dict)


class Failed(Exception):
    """A case is not as it should be; says why."""


def attempt(name: str, work: Callable[..., Case | None], *arguments: Any) -> Case:
    """Returns the case that ``work`` makes of ``arguments``; what goes wrong is its result.

    Raises:
        RuntimeError: for an error of the GPU itself, after which the process can do nothing on it any more.
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
    """Returns the override of a batch size by which many cases fit into minutes."""
    if device.type != "cuda":
        return "recipe.batch_size=4"
    return f"recipe.batch_size={16 if setup.model == 'resnet50' else 64}"


@contextmanager
def warnings_of_runs() -> Iterator[list[str]]:
    """Collects the warnings that the log ``dst`` gets in here."""
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
