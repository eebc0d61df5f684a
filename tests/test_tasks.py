"""Tasks: which loss, how often right, which epoch is the best, and what the network is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from dst.config import checked, compose, run_id
from dst.errors import UserError
from dst.models import build_model
from dst.tasks import Binary, Classification, MultipleChoice, task_of
from dst.training.build import training_factory

Overrides = Callable[..., list[str]]
Train = Callable[..., dict[str, Any]]

BASE = ["dataset=digits", "model=small_mlp"]


def test_the_default_task_is_part_of_no_id_and_others_are() -> None:
    default = run_id(compose(BASE))
    assert run_id(compose([*BASE, "task=classification", "task.best_by=val_acc"])) == default
    assert run_id(compose([*BASE, "task=binary"])) == default  # of two classes they are the same; of more it is refused
    assert run_id(compose([*BASE, "task=multiple_choice"])) != default
    assert run_id(compose([*BASE, "task.best_by=val_loss"])) != default


def test_the_best_epoch_can_be_that_of_the_lowest_validation_loss(train: Train) -> None:
    more = ("recipe.epochs=12", "recipe.lr=0.3", "update_period=never")
    by_accuracy, by_loss = train(*more), train(*more, "task.best_by=val_loss")
    assert by_accuracy["test_acc"] == by_loss["test_acc"]
    assert by_accuracy["best_val_acc"] >= by_loss["best_val_acc"]


@pytest.mark.parametrize("keys", [("val_acc", 3), ("val_loss", 1)])
def test_the_best_epoch_has_the_best_score(keys: tuple[str, int]) -> None:
    by, best = keys
    accuracies, losses = [0.1, 0.3, 0.2, 0.5], [0.9, 0.2, 0.4, 0.6]
    scores = [
        Classification(best_by=by).score({"val_acc": acc, "val_loss": loss})
        for acc, loss in zip(accuracies, losses, strict=True)
    ]
    assert scores.index(max(scores)) == best


def test_multiple_choice_scores_each_choice_by_one_network() -> None:
    node = {"_target_": "dst.models.MLP", "name": "mlp", "hidden": [8], "dropout": 0.0}
    task = {"_target_": "dst.tasks.MultipleChoice", "name": "multiple_choice"}
    model = build_model(node, input_shape=(5, 7), num_classes=5, seed=0, task=task)
    alone = build_model(node, input_shape=(7,), num_classes=2, seed=0)
    x, y = torch.randn(3, 5, 7), torch.tensor([4, 0, 2])
    expected = torch.stack([alone(x[:, choice])[:, 0] for choice in range(5)], dim=1)
    torch.testing.assert_close(model(x), expected)
    assert list(model.state_dict()) == list(alone.state_dict())
    learned = MultipleChoice()
    torch.testing.assert_close(learned.loss(model(x), y), F.cross_entropy(expected, y))
    assert int(learned.correct(model(x), y)) == int((expected.argmax(dim=1) == y).sum())


def test_binary_is_classification_of_two_classes() -> None:
    assert Binary().model_shapes((4,), 2) == Classification().model_shapes((4,), 2) == ((4,), 1)
    logits, y = torch.tensor([[2.0], [-1.0], [0.5]]), torch.tensor([1, 1, 0])
    assert int(Binary().correct(logits, y)) == 1
    torch.testing.assert_close(Binary().loss(logits, y), F.binary_cross_entropy_with_logits(logits[:, 0], y.float()))


@pytest.mark.parametrize("task", ["binary", "multiple_choice"])
def test_a_task_that_the_data_are_not_of_is_one_line_before_the_data_are_read(task: str, overrides: Overrides) -> None:
    with pytest.raises(UserError) as error:
        training_factory(checked(compose([*overrides(f"task={task}"), "data_dir=/nowhere"])))
    assert str(error.value).startswith(f"task={task}: dataset=digits does not go with it: ")
    assert "\n" not in str(error.value)


def test_an_unknown_metric_for_the_best_epoch_is_one_line() -> None:
    with pytest.raises(UserError, match=r"task\.best_by=test_acc.* val_acc or val_loss"):
        checked(compose([*BASE, "task.best_by=test_acc"]))


def test_configs_of_earlier_versions_are_classification() -> None:
    assert task_of({}) == Classification()
