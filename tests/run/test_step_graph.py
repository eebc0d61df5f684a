"""Replayed steps lead to the bits of ordinary ones; a step that cannot be replayed is taken the ordinary way."""

from __future__ import annotations

import gc
import logging
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import dst.data
from dst.config import Config, checked, compose
from dst.models import build_model
from dst.training.build import build_training
from dst.training.checkpoint import load_training_state, training_state
from dst.training.device import place, set_numerics
from dst.training.evaluation import run_epoch
from dst.training.loop import Training
from dst.training.recorded_step import RecordedStep
from dst.training.step_graph import WARM_UP, CudaRecorder, StepGraph
from tests.run.outcomes import assert_equal
from tests.run.outcomes import training_outcome as outcome
from tests.run.recording import HostRecorder

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]
METHODS = {
    "dense": ["density=dense"],
    "static": ["update_period=never"],
    "random growth": ["criterion=set", "growth=random"],
    "dropout": ["criterion=snip", "growth=gradient", "model=large_mlp_dropout"],
    "batch norm": ["criterion=magnitude", "growth=gradient", "model=resnet56", "model.depth=8", "recipe=sgd_100"],
    "momentum growth": ["growth=momentum", "sparsity.momentum=dense", "sparsity.scope=global"],
    "adam": ["recipe.optimizer=adam", "recipe.lr=0.001"],
    "running average": ["criterion=running_snip", "growth=gradient", "sparsity.update_order=after"],
    "fp16": ["precision=fp16"],
    "no decay of biases": ["recipe.decay_biases=false", "recipe.weight_decay=0.01", "lr_schedule=cosine"],
    "prune fraction by lr": ["prune_fraction=lr", "lr_schedule=cosine", "growth=gradient_inverted"],
}
EPOCHS = "recipe.epochs=4"  # the last batch of each is a smaller one; the learning rate falls after 2 and 3

Overrides = Callable[..., list[str]]


class Recorded:
    """A training whose steps are recorded, and how many of them were replayed."""

    def __init__(self, config: Config, device: str, *, record: bool = True) -> None:
        set_numerics(config.precision, config.deterministic)
        self.training = training(config, torch.device(device))
        self.training.recorded = None
        self.recorder: Any = HostRecorder() if device == "cpu" else CudaRecorder(torch.device(device))
        if record:
            self.training.recorded = RecordedStep(self.recorder, deterministic=config.deterministic)

    def trained(self) -> Recorded:
        while self.training.epoch < self.training.recipe.epochs:
            run_epoch(self.training)
        return self

    def replays(self) -> bool:
        return self.training.recorded is not None and self.training.recorded.graph.recorded


def training(config: Config, device: torch.device, change: Callable[[nn.Module], nn.Module] = lambda m: m) -> Training:
    data = dst.data.load(
        config.dataset, Path(config.data_dir), device=device, batch_size=config.recipe.batch_size, seed=config.seed
    )
    model = build_model(
        config.model, input_shape=data.shape, num_classes=data.num_classes, seed=1, dataset=config.dataset.name
    )
    return build_training(config, change(place(model, device, config.precision)), data, device)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("method", METHODS)
def test_replayed_steps_end_like_ordinary_ones(device: str, method: str, overrides: Overrides) -> None:
    config = checked(compose(overrides(EPOCHS, *METHODS[method])))
    ordinary = Recorded(config, device, record=False).trained()
    recorded = Recorded(config, device).trained()
    assert recorded.replays()
    if device == "cpu":
        full_batches = config.recipe.epochs * (len(recorded.training.data.train) - 1)
        updates = len(getattr(recorded.training.sparsity, "updates", ()))
        assert recorded.recorder.replays == full_batches - WARM_UP - updates
    assert_equal(outcome(recorded.training), outcome(ordinary.training))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("method", ["random growth", "dropout", "fp16", "no decay of biases", "prune fraction by lr"])
def test_a_run_with_replayed_steps_resumes_within_an_epoch(device: str, method: str, overrides: Overrides) -> None:
    class Interrupted(Exception):
        pass

    def interrupt() -> None:
        if first.training.step == 18:
            raise Interrupted

    config = checked(compose(overrides(EPOCHS, *METHODS[method])))
    ordinary = Recorded(config, device, record=False).trained()
    first = Recorded(config, device)
    run_epoch(first.training)
    with pytest.raises(Interrupted):
        run_epoch(first.training, interrupt)
    checkpoint = training_state(first.training)
    second = Recorded(config, device)
    run_epoch(second.training)
    assert second.replays()  # of the wrong state, which has to be forgotten
    load_training_state(second.training, checkpoint)
    assert not second.replays()
    assert second.trained().replays()
    expected, found = outcome(ordinary.training), outcome(second.training)
    found["updates"] = expected["updates"] = None  # those before the interruption went to the log
    assert_equal(found, expected)


class Waiting(nn.Module):
    """Asks the device for a number in every step."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x) * (1.0 if x.sum().item() < 1e9 else 2.0)


class Counting(nn.Module):
    """Computes with a number that the host changes from step to step."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.steps = model, 0

    def forward(self, x: Tensor) -> Tensor:
        self.steps += self.training
        return self.model(x) * (1 + 0.01 * self.steps)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("model", "reason"), [(Waiting, "not permitted"), (Counting, "tensors came out different")])
def test_a_step_that_cannot_be_replayed_is_taken_the_ordinary_way(
    device: str,
    model: type[nn.Module],
    reason: str,
    overrides: Overrides,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = checked(compose(overrides(EPOCHS)))
    recorder: Any = HostRecorder() if device == "cpu" else CudaRecorder(torch.device(device))
    found = training(config, torch.device(device), model)
    found.recorded = RecordedStep(recorder, deterministic=True)
    monkeypatch.setattr(logging.getLogger("dst"), "propagate", True)
    losses = [run_epoch(found)["train_loss"] for _ in range(4)]
    assert losses[0] > losses[1] > losses[2]
    assert found.recorded.graph.impossible
    assert found.step == 4 * len(found.data.train)
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(told) == 1
    assert "cannot be recorded as a CUDA graph" in told[0]
    if device == "cpu":
        assert reason in told[0]


class Refusing(TorchDispatchMode):
    """Fails in the optimizer's step."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "_fused_sgd_" in str(func):
            raise RuntimeError("no optimizer here")
        return func(*args, **(kwargs or {}))


class RefusingRecorder(HostRecorder):
    def rehearsal(self) -> Any:
        return Refusing()


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("recorder", [HostRecorder(), HostRecorder(room=False), RefusingRecorder()])
def test_a_recording_that_fails_leaves_the_run_as_it_would_be(
    recorder: HostRecorder, precision: str, overrides: Overrides
) -> None:
    config = checked(compose(overrides("recipe.epochs=2", f"precision={precision}")))
    device = torch.device("cpu")
    ordinary, found = training(config, device, Waiting), training(config, device, Waiting)
    found.recorded = RecordedStep(recorder, deterministic=True)
    for each in (ordinary, found):
        for _ in range(2):
            run_epoch(each)
    assert found.recorded.graph.impossible
    assert_equal(outcome(found), outcome(ordinary))


@pytest.mark.parametrize("device", DEVICES)
def test_a_training_that_is_over_leaves_nothing_behind(device: str, overrides: Overrides) -> None:
    recorded = Recorded(checked(compose(overrides(EPOCHS))), device)
    run_epoch(recorded.training)
    assert recorded.replays()
    training_of_before = weakref.ref(recorded.training)
    gc.disable()  # the next run on this device needs the memory now
    try:
        del recorded
        assert training_of_before() is None
    finally:
        gc.enable()


def test_only_steps_of_one_shape_are_replayed() -> None:
    total = torch.zeros(())

    def step(x: Tensor) -> None:
        total.add_(x.sum())

    graph = StepGraph(HostRecorder(), deterministic=True)
    taken = []
    for size in (4, 4, 2, 4, 4, 4, 4, 4, 2, 4):
        taken.append(graph.take(step, lambda: [total], torch.ones(size)))
        if not taken[-1]:
            step(torch.ones(size))
    assert taken == [False] * 6 + [True, True, False, True]
    assert total == 4 * 8 + 2 * 2
