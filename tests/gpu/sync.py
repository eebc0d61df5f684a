"""Steps and topology updates run without host–device synchronisation."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

import torch

from dst.training.device import set_numerics
from tests.benchmarks.setups import Setup, make_training
from tests.gpu.cases import Case, Failed, batch_size, run_case, setups
from tests.gpu.graph import pairwise, precisions, reduce_choices

STEPS = 10
CRITERIA = ("magnitude", "set", "snip_half", "random")
"""One per selection method; ``tests`` covers all of them on smaller models."""


def cases(device: torch.device) -> Iterator[Case]:
    if device.type == "cuda":
        yield run_case("the check itself notices", _check_that_sync_raises, device)
    by_name = {setup.name: setup for setup in setups(device)}
    choices = {
        "setup": list(by_name), "criterion": CRITERIA, "scope": ["local", "global"],
        "precision": precisions(device), "steps": ["recorded", "ordinary"],
    }  # fmt: skip
    for chosen in pairwise(reduce_choices(choices, device)):
        yield run_case(" ".join(chosen.values()), _case, by_name[chosen["setup"]], chosen, device)


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

    def after_step() -> None:  # only an epoch's first and last step may synchronise: they copy its order and its means
        within = 0 < training.step % STEPS < STEPS - 1
        _set_mode("error" if within else "default", device)

    try:
        training.train_epoch(after_step)
    finally:
        _set_mode("default", device)
    if len(training.sparsity.updates) < 2:
        raise Failed("there were no topology updates to look at")


def _check_that_sync_raises(device: torch.device) -> None:
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
