"""Tasks: which loss, how often right, which epoch is the best, and what the network is given."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from dst.config import checked, compose, run_id
from dst.errors import UserError
from dst.models import build_model
from dst.tasks import Binary, Classification, MultipleChoice, task_of
from dst.train import run
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


@pytest.mark.parametrize("best_by", ["val_acc", "val_loss"])
def test_the_best_epoch_is_that_of_the_highest_accuracy_or_the_lowest_loss(
    best_by: str, overrides: Overrides, tmp_path: Path
) -> None:
    more = ("recipe.epochs=12", "recipe.lr=0.3", "update_period=never", f"task.best_by={best_by}")
    summary = run(compose(overrides(*more)))
    file = tmp_path / "outputs" / "runs" / summary["run_id"] / "metrics.jsonl"
    epochs = [json.loads(line) for line in file.read_text().splitlines()]
    best = {
        "val_acc": max(epochs, key=lambda line: line["val_acc"])["epoch"],
        "val_loss": min(epochs, key=lambda line: line["val_loss"])["epoch"],
    }
    assert best["val_acc"] != best["val_loss"], "choose a training in which the two differ"
    assert summary["best_epoch"] == best[best_by]
    assert summary["best_val_acc"] == epochs[best[best_by] - 1]["val_acc"]


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
