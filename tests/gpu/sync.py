"""Steps and topology updates during which the host never waits for the GPU."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

import torch

from dst.training.device import set_numerics
from tests.benchmarks.setups import Setup, make_training
from tests.gpu.cases import Case, Failed, attempt, batch_size, setups
from tests.gpu.graph import fewer, pairwise, precisions

STEPS = 10
CRITERIA = ("magnitude", "set", "random")
"""One for each way to select; all of them are in ``tests``, on smaller models."""


def cases(device: torch.device) -> Iterator[Case]:
    if device.type == "cuda":
        yield attempt("the check itself notices", _notices, device)
    by_name = {setup.name: setup for setup in setups(device)}
    choices = {
        "setup": list(by_name), "criterion": CRITERIA, "scope": ["local", "global"],
        "precision": precisions(device), "steps": ["recorded", "ordinary"],
    }  # fmt: skip
    for chosen in pairwise(fewer(choices, device)):
        yield attempt(" ".join(chosen.values()), _case, by_name[chosen["setup"]], chosen, device)


def _case(setup: Setup, chosen: dict[str, str], device: torch.device) -> None:
    config = setup.config(
        batch_size(setup, device), "update_period.steps=3", "growth=gradient", f"criterion={chosen['criterion']}",
        f"sparsity.scope={chosen['scope']}", f"precision={chosen['precision']}", "recipe.epochs=3",
        f"cuda_graph={str(chosen['steps'] == 'recorded').lower()}",
    )  # fmt: skip
    set_numerics(config.precision, config.deterministic)
    training = make_training(setup, config, device, STEPS)
    training.train_epoch(lambda: None)  # allocates, and records
    if training.recorded and not training.recorded.graph.recorded:
        raise Failed("the steps were not recorded")
    assert training.sparsity
    training.sparsity.pop_updates()

    def after_step() -> None:  # the epoch's order goes to the GPU before its first step, its means come back at its end
        within = 0 < training.step % STEPS < STEPS - 1
        _set_mode("error" if within else "default", device)

    try:
        training.train_epoch(after_step)
    finally:
        _set_mode("default", device)
    if len(training.sparsity.updates) < 2:
        raise Failed("there were no topology updates to look at")


def _notices(device: torch.device) -> None:
    value = torch.ones(1, device=device)
    _set_mode("error", device)
    try:
        with contextlib.suppress(RuntimeError):
            value.item()
            raise Failed("reading a number from the GPU went unnoticed")
    finally:
        _set_mode("default", device)


def _set_mode(mode: str, device: torch.device) -> None:
    if device.type == "cuda":
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Synchronization debug mode is a prototype")
            torch.cuda.set_sync_debug_mode(mode)
