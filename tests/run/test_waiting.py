"""Nothing in an epoch waits for the device or mixes devices: it all runs where there are shapes, but no numbers.

Tensors on torch's device ``meta`` have no values, so whatever would read one back to the host, or compute with tensors
of the host and of the device together, fails.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dst.config.tree import options
from dst.models import build_model
from dst.training.build import build_training
from dst.training.evaluation import evaluate
from dst.training.metrics import RunningMetrics
from tests.benchmarks.setups import SETUPS, Setup, synthetic

META = torch.device("meta")
METHODS = {
    "dense": ["density=dense"],
    "static": ["update_period=never"],
    "normalised, after the step": [
        *("criterion=running_snip", "growth=gradient"),
        *("sparsity.scope=global", "sparsity.normalise=input", "sparsity.update_order=after"),
    ],
    **{
        f"{criterion} {growth} {scope}": [
            f"criterion={criterion}",
            f"growth={growth}",
            f"sparsity.scope={scope}",
            f"sparsity.momentum={'dense' if growth == 'momentum' else 'masked'}",
        ]
        for criterion in options("criterion")
        for growth in options("growth")
        for scope in ("local", "global")
    },
}


@pytest.fixture(autouse=True)
def nothing_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """An epoch's means are read once, at its end; and random numbers without values come from the host."""

    class Generator(torch.Generator):
        def __new__(cls, device: Any = "cpu") -> Any:
            return super().__new__(cls, "cpu" if torch.device(device) == META else device)

    monkeypatch.setattr(torch, "Generator", Generator)
    monkeypatch.setattr(RunningMetrics, "means", lambda metrics: (0.0, 0.0))


def train(setup: Setup, *overrides: str) -> None:
    config = setup.config("density=d0.1", "update_period.steps=2", "recipe.batch_size=8", *overrides)
    model = build_model(config.model, input_shape=setup.shape, num_classes=setup.classes, seed=1, dataset=setup.dataset)
    training = build_training(config, model.to(META), synthetic(setup, config, META, 3), META)
    training.train_epoch(lambda: None)
    evaluate(training, training.data.val)
    assert config.method != "dst" or getattr(training.sparsity, "updates", ())


@pytest.mark.parametrize("method", METHODS)
def test_no_method_waits_for_the_device(method: str) -> None:
    train(next(setup for setup in SETUPS if setup.model == "small_cnn"), *METHODS[method])


@pytest.mark.parametrize("setup", SETUPS, ids=lambda setup: setup.name)
def test_no_setup_waits_for_the_device(setup: Setup) -> None:
    train(setup, "criterion=set", "growth=gradient")


def test_waiting_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    setup = SETUPS[0]
    add = RunningMetrics.add
    monkeypatch.setattr(RunningMetrics, "add", lambda metrics, loss, *rest: (loss.item(), add(metrics, loss, *rest)))
    with pytest.raises(RuntimeError, match="item"):
        train(setup)
