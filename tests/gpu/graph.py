"""Steps replayed from a CUDA graph equal ordinary steps bit for bit, for all pairs of settings."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from dst.config import Config
from dst.config.tree import options
from dst.errors import UserError
from dst.training.device import check_precision, set_numerics
from dst.training.evaluation import run_epoch
from dst.training.loop import Training
from dst.training.recorded_step import RecordedStep
from dst.training.step_graph import CudaRecorder
from tests.benchmarks.setups import Setup, make_training
from tests.gpu.cases import Case, Failed, batch_size, capture_warnings, run_case, setups
from tests.run.outcomes import assert_equal, training_outcome
from tests.run.recording import HostRecorder

STEPS, EPOCHS = 8, 2
OPTIMIZERS = {"sgd": (), "adam": ("recipe.optimizer=adam", "recipe.lr=0.001")}
MASKS = {"dynamic": ("update_period.steps=5",), "static": ("update_period=never",), "dense": ("density=dense",)}


def cases(device: torch.device) -> Iterator[Case]:
    by_name = {setup.name: setup for setup in setups(device)}
    choices = {
        "setup": list(by_name), "criterion": options("criterion"), "growth": options("growth"),
        "scope": ["local", "global"], "precision": precisions(device), "optimizer": list(OPTIMIZERS),
        "masks": ["dynamic"],
    }  # fmt: skip
    default = {"criterion": "magnitude", "growth": "random", "scope": "local", "precision": "fp32", "optimizer": "sgd"}
    others = [{"setup": name, **default, "masks": masks} for name in by_name for masks in ("static", "dense")]
    for chosen in [*pairwise(reduce_choices(choices, device)), *others]:
        yield run_case(" ".join(chosen.values()), _case, by_name[chosen["setup"]], chosen, device)


def precisions(device: torch.device) -> list[str]:
    """Returns the precisions that the device supports."""

    def possible(precision: str) -> bool:
        try:
            check_precision(device, precision)
        except UserError:
            return False
        return True

    return [precision for precision in ("fp32", "tf32", "bf16", "fp16") if possible(precision)]


def reduce_choices(choices: Mapping[str, Sequence[str]], device: torch.device) -> dict[str, Sequence[str]]:
    """Returns all choices on a GPU, the first and the last of each in a rehearsal."""
    return {key: values if device.type == "cuda" else [values[0], values[-1]] for key, values in choices.items()}


def pairwise(choices: Mapping[str, Sequence[str]]) -> Iterator[dict[str, str]]:
    """Yields combinations that cover every pair of values of different choices: greedy, deterministic."""
    combinations = [dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())]
    missing = {pair for combination in combinations for pair in _pairs(combination)}
    stride = 101  # samples candidates evenly, few enough to score in each iteration
    while missing:
        first = next(c for c in combinations if not missing.isdisjoint(_pairs(c)))
        best = max([first, *combinations[len(missing) % stride :: stride]], key=lambda c: len(missing & _pairs(c)))
        missing -= _pairs(best)
        yield best


def _pairs(combination: Mapping[str, str]) -> set[Any]:
    return set(itertools.combinations(combination.items(), 2))


def _case(setup: Setup, chosen: Mapping[str, str], device: torch.device) -> None:
    config = setup.config(
        *MASKS[chosen["masks"]], *OPTIMIZERS[chosen["optimizer"]], batch_size(setup, device),
        f"criterion={chosen['criterion']}", f"growth={chosen['growth']}", f"sparsity.scope={chosen['scope']}",
        f"sparsity.momentum={'dense' if chosen['growth'] == 'momentum' else 'masked'}",
        f"precision={chosen['precision']}", f"recipe.epochs={EPOCHS}", "cuda_graph=false",
    )  # fmt: skip
    with capture_warnings() as told:
        recorded = trained(setup, config, device, record=True)
    if not (recorded.recorded and recorded.recorded.graph.recorded):
        raise Failed("; ".join(told) or "nothing was recorded")
    try:
        assert_equal(training_outcome(recorded), training_outcome(trained(setup, config, device, record=False)))
    except AssertionError as where:
        raise Failed(f"replayed and ordinary steps differ in {str(where).splitlines()[0]}") from where


def trained(setup: Setup, config: Config, device: torch.device, *, record: bool) -> Training:
    """Returns a finished training, which includes learning rate steps and topology updates."""
    set_numerics(config.precision, config.deterministic)
    training = make_training(setup, config, device, STEPS)
    if record:
        recorder: Any = CudaRecorder(device) if device.type == "cuda" else HostRecorder()
        training.recorded = RecordedStep(recorder, deterministic=config.deterministic)
    while training.epoch < EPOCHS:
        run_epoch(training)
    return training
