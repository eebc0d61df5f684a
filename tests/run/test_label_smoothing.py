"""Label smoothing: in the training loss, not in evaluations."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from dst.config import checked, compose
from dst.errors import UserError
from dst.tasks import Classification
from dst.training.beginning import NOTHING
from dst.training.build import training_factory
from dst.training.evaluation import evaluate

Overrides = Callable[..., list[str]]


def smoothed(logits: Tensor, y: Tensor, epsilon: float) -> Tensor:
    """The mean cross-entropy with targets (1 − ε)·label + ε/K, written out."""
    classes = logits.shape[1]
    target = (1 - epsilon) * F.one_hot(y, classes) + epsilon / classes
    return -(target * logits.log_softmax(dim=1)).sum(dim=1).mean()


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.7])
def test_a_single_logit_has_the_loss_of_two_classes(epsilon: float) -> None:
    torch.manual_seed(0)
    logit, y = torch.randn(20, 1), torch.randint(2, (20,))
    expected = smoothed(torch.cat([torch.zeros(20, 1), logit], dim=1), y, epsilon)
    torch.testing.assert_close(Classification().loss(logit, y, epsilon), expected)


def test_one_step_follows_the_smoothed_loss_and_the_evaluation_the_plain_one(overrides: Overrides) -> None:
    chosen = ("recipe.label_smoothing=0.3", "recipe.momentum=0", "recipe.weight_decay=0", "recipe.lr=0.5")
    training = training_factory(checked(compose(overrides("density=dense", "recipe.nesterov=false", *chosen))))(NOTHING)
    raw, y = next(training.data.train.raw_batches(0))
    x, _ = training.data.train.make_batch(raw, y)
    loss = smoothed(training.model(x), y, 0.3)
    before = [weight.detach().clone() for weight in training.model.parameters()]
    gradients = torch.autograd.grad(loss, [*training.model.parameters()])
    training.take_step(raw, y, training.sparsity.step)
    for weight, old, gradient in zip(training.model.parameters(), before, gradients, strict=True):
        torch.testing.assert_close(weight.detach(), old - 0.5 * gradient)
    assert training.metrics.pop_means()[0] == pytest.approx(float(loss.detach()), rel=1e-5)

    with torch.no_grad():
        plain = smoothed(training.model(x), y, 0.0)
    assert evaluate(training, [(x, y)])[0] == pytest.approx(float(plain), rel=1e-5)


@pytest.mark.parametrize("value", ["1.0", "-0.1"])
def test_a_smoothing_outside_its_limits_is_one_line(value: str, overrides: Overrides) -> None:
    with pytest.raises(UserError, match=rf"^recipe\.label_smoothing={value}: must lie in \[0, 1\)$"):
        checked(compose(overrides(f"recipe.label_smoothing={value}")))
