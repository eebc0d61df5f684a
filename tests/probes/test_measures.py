"""What the probes measure, against slow computations of the same."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dst.config import checked, compose
from dst.training.beginning import NOTHING
from dst.training.build import training_factory
from dst.training.evaluation import run_epoch
from dst.training.loop import Training

Overrides = Callable[..., list[str]]


def training_of(overrides: Overrides, *more: str) -> Training:
    return training_factory(checked(compose(overrides("recipe.epochs=3", *more))))(NOTHING)


class Seen:
    """Copies of the model just before the measurement of a step, and what was measured then."""

    def __init__(self, training: Training, *steps: int) -> None:
        self.models: dict[int, nn.Module] = {}
        self.masks: dict[int, dict[str, Tensor]] = {}
        self.gradients: dict[int, dict[str, Tensor]] = {}
        observer = training.observer
        assert observer
        observe = observer.observe

        def copied_first(of: Training, loss: Tensor) -> None:
            step = of.step + 1
            self.models[step] = copy.deepcopy(of.model)
            self.masks[step] = {name: mask.clone() for name, mask in of.sparsity.masks.items()}
            self.gradients[step] = {
                name: weight.grad.clone() for name, weight in of.model.named_parameters() if weight.grad is not None
            }
            observe(of, loss)

        observer.observe = copied_first  # type: ignore[method-assign]
        while not training.phase_is_over:
            run_epoch(training)
        self.records = {name: {line["step"]: line for line in lines} for name, lines in observer.pop_records().items()}


def gradients_one_by_one(model: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """The gradient of the mean loss, summed over single samples."""
    total: dict[str, Tensor] = {name: torch.zeros_like(weight) for name, weight in model.named_parameters()}
    for index in range(len(y)):
        model.zero_grad()
        F.cross_entropy(model(x[index : index + 1]), y[index : index + 1]).backward()
        for name, weight in model.named_parameters():
            assert weight.grad is not None
            total[name] += weight.grad / len(y)
    return total


def length(tensors: Any) -> float:
    return math.sqrt(sum(float(tensor.double().square().sum()) for tensor in tensors))


def check(line: dict[str, Any], gradients: dict[str, Tensor], masks: dict[str, Tensor]) -> None:
    masked = {name: gradient * masks.get(name, torch.tensor(True)) for name, gradient in gradients.items()}
    assert line["dense"] == pytest.approx(length(gradients.values()), rel=1e-4)
    assert line["masked"] == pytest.approx(length(masked.values()), rel=1e-4)
    assert list(line["layers"]) == [name for name in gradients if "weight" in name]
    for name, norms in line["layers"].items():
        assert norms["dense"] == pytest.approx(length([gradients[name]]), rel=1e-4)
        assert norms["masked"] == pytest.approx(length([masked[name]]), rel=1e-4)


def test_gradient_flow_is_that_of_the_first_training_samples(overrides: Overrides) -> None:
    chosen = ("probes=gradient_flow", "probes.gradient_flow.every=25", "probes.gradient_flow.sample=200")
    training = training_of(overrides, "growth=gradient", *chosen)
    seen = Seen(training)
    assert list(seen.records["gradient_flow"]) == [1, 25]
    train: Any = training.data.train
    x, y = train.samples.gather(torch.arange(200) * train.samples.gather(torch.tensor([0])).numel()), train.labels[:200]
    if train.normalise:
        x = train.normalise(x)
    for step, line in seen.records["gradient_flow"].items():  # step 25 has a topology update, which comes afterwards
        check(line, gradients_one_by_one(seen.models[step], x, y), seen.masks[step])
        assert line["masked"] < line["dense"]
    assert line["epoch"] == 3


def test_gradient_flow_of_the_batch_is_the_gradient_that_the_update_sees(overrides: Overrides) -> None:
    more = ("growth=gradient", "probes=gradient_flow", "probes.gradient_flow.every=10", "probes.gradient_flow.sample=0")
    seen = Seen(training_of(overrides, *more, "recipe.weight_decay=0.1"))
    for step, line in seen.records["gradient_flow"].items():
        check(line, seen.gradients[step], seen.masks[step])


@pytest.mark.parametrize("sample", ["1000", "null"])
def test_masked_and_dense_gradient_flow_of_a_dense_run_are_equal(sample: str, overrides: Overrides) -> None:
    more = ("density=dense", "probes=gradient_flow", f"probes.gradient_flow.sample={sample}")
    (line,) = Seen(training_of(overrides, *more)).records["gradient_flow"].values()
    assert line["masked"] == line["dense"] > 0
    assert len(line["layers"]) == 3
    assert all(norms["masked"] == norms["dense"] > 0 for norms in line["layers"].values())


def test_weights_are_measured_from_the_initial_masked_ones(overrides: Overrides) -> None:
    training = training_of(overrides, "growth=gradient", "probes=weights", "probes.weights.every=10")
    initial = copy.deepcopy(training.model)
    seen = Seen(training)
    assert list(seen.records["weights"]) == [1, 10, 20, 30]
    first, *_, last = seen.records["weights"].values()
    assert first["distance"] == first["cosine_distance"] == 0
    assert all(layer["distance"] == layer["cosine_distance"] == 0 for layer in first["layers"].values())
    names = list(last["layers"])
    now, before = (
        [dict(model.named_parameters())[name].detach().double() for name in names]
        for model in (seen.models[30], initial)
    )
    for found, chosen in [(last, range(len(names))), *((last["layers"][name], [i]) for i, name in enumerate(names))]:
        w, w0 = (torch.cat([weights[i].flatten() for i in chosen]) for weights in (now, before))
        assert found["norm"] == pytest.approx(float(w.norm()), rel=1e-5)
        assert found["distance"] == pytest.approx(float((w - w0).norm()), rel=1e-5)
        assert found["cosine_distance"] == pytest.approx(1 - float(F.cosine_similarity(w, w0, dim=0)), rel=1e-3)
        assert found["distance"] > 0


@pytest.mark.parametrize("growth", ["gradient", "random", "gradient_inverted"])
def test_update_effect_is_the_change_of_the_masked_norm_on_the_same_samples(growth: str, overrides: Overrides) -> None:
    chosen = (f"growth={growth}", "probes=update_effect", "probes.update_effect.sample=200", "recipe.epochs=6")
    training = training_factory(checked(compose(overrides(*chosen))))(NOTHING)
    assert training.observer
    raw, y = training.data.train.raw_sample(200)
    x, y = training.data.train.make_batch(raw, y)
    norms: list[tuple[float, float]] = []
    update = training.sparsity.update

    def norm() -> float:
        model = copy.deepcopy(training.model)
        model.zero_grad()
        F.cross_entropy(model(x), y).backward()
        masks = training.sparsity.masks
        return length(
            weight.grad * masks.get(name, torch.tensor(True))
            for name, weight in model.named_parameters()
            if weight.grad is not None
        )

    def watched() -> None:
        before = norm()
        update()
        norms.append((before, norm()))

    training.sparsity.update = watched  # type: ignore[method-assign]
    while not training.phase_is_over:
        run_epoch(training)
    lines = training.observer.pop_records()["update_effect"]
    assert [line["step"] for line in lines] == [line["step"] for line in training.sparsity.pop_updates()]
    assert len(lines) == len(norms) == 2
    for line, (before, after) in zip(lines, norms, strict=True):
        assert (line["before"], line["after"]) == pytest.approx((before, after), rel=1e-4)
        assert line["change"] == pytest.approx(line["after"] - line["before"], abs=1e-6)
        assert length(torch.tensor(layer["after"]) for layer in line["layers"].values()) <= line["after"] * 1.0001
    assert (norms[0][1] > norms[0][0]) == (growth == "gradient") or growth == "random"
