"""Evaluation, the best validation epoch, and the epoch that ends with both."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from dst.tasks import Task
from dst.training.device import autocast
from dst.training.metrics import RunningMetrics

if TYPE_CHECKING:
    from dst.training.loop import Training


class Evaluable(Protocol):
    """A model, its task, and where and how it computes, such as a :class:`~dst.training.loop.Training`."""

    model: nn.Module
    precision: str
    device: torch.device
    task: Task


@dataclass
class Best:
    """Of the epochs at the lowest density so far the one that the task scores highest, the earliest of equals.

    So the best epoch of a run that is pruned while it trains is as sparse as its end.

    Attributes:
        epoch: counted from 1; 0 before any.
        val_acc: its validation accuracy, a fraction of 1.
        model: its weights and buffers by name.
        density: active share of the sparsifiable weights.
        score: :meth:`dst.tasks.Task.score` of the epoch.
    """

    epoch: int = 0
    val_acc: float = -1.0
    model: dict[str, Tensor] | None = None
    density: float = 1.0
    score: float = -math.inf

    def state_dict(self) -> dict[str, Any]:
        """Returns the fields by name; the weights are not copied."""
        return vars(self)


@torch.no_grad()
def evaluate(training: Evaluable, batches: Iterable[tuple[Tensor, Tensor]]) -> tuple[float, float]:
    """Returns the model's mean loss and its accuracy, a fraction of 1, in evaluation mode.

    Args:
        training: whose model is evaluated.
        batches: of ``(x, y)``, each process its share.
    """
    metrics = RunningMetrics(training.device)
    training.model.eval()
    with autocast(training.precision, training.device):
        for x, y in batches:
            if len(y):  # or this process has no share of the last batch
                logits = training.model(x)
                metrics.add(training.task.loss(logits, y), training.task.correct(logits, y), len(y))
    return metrics.pop_means()


def run_epoch(training: Training, after_step: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Trains one epoch, validates, and keeps the weights if they are the best so far.

    Args:
        training: continues where it is, which may be in the middle of an epoch.
        after_step: called after every optimizer step; what it raises ends the epoch there.

    Returns:
        The epoch's line of ``metrics.jsonl``.
    """
    began = time.perf_counter()
    lr = training.lr_at(training.epoch * len(training.data.train))
    train_loss, train_acc = training.train_epoch(after_step)
    val_loss, val_acc = evaluate(training, training.data.val)
    density = training.sparsity.density
    score = training.task.score({"val_acc": val_acc, "val_loss": val_loss})
    if score > training.best.score or density < training.best.density:
        training.best = Best(training.epoch, val_acc, copy.deepcopy(training.model.state_dict()), density, score)
    training.last = {
        "epoch": training.epoch,
        "phase": training.phase + 1,
        "step": training.step,
        "lr": lr,
        "train_loss": train_loss,
        "train_acc": train_acc,
        "val_loss": val_loss,
        "val_acc": val_acc,
        "prune_fraction": training.sparsity.prune_fraction,
        "density": density,
        "itop_ratio": training.sparsity.itop_ratio(),
        "epoch_s": time.perf_counter() - began,
    }
    return training.last
