"""Tasks: what a model is to say of a sample, by which loss it learns that, and how often it is right.

A task is a frozen dataclass. To add one, derive from :class:`Task` and name the class in a YAML file of ``conf/task``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from dst.config import Config
from dst.config.components import build
from dst.config.identity import DEFAULTS

Loss = Callable[[Tensor, Tensor], Tensor]
"""Returns the mean loss of logits and labels."""


@dataclass(frozen=True)
class Task:
    """Base class of the tasks.

    Attributes:
        best_by: what selects the best epoch: the highest ``val_acc`` or the lowest ``val_loss``.
    """

    best_by: str = "val_acc"

    def __post_init__(self) -> None:
        if self.best_by not in ("val_acc", "val_loss"):
            raise ValueError(f"task.best_by={self.best_by}: choose val_acc or val_loss")

    def model_shapes(self, shape: Sequence[int], num_classes: int) -> tuple[tuple[int, ...], int]:
        """Returns the shape of an input of the network, without the batch dimension, and its number of outputs.

        Args:
            shape: of one sample.
            num_classes: of the labels.

        Raises:
            ValueError: if the task cannot be learned from such samples.
        """
        raise NotImplementedError

    def adapt(self, model: nn.Module, shape: Sequence[int]) -> None:
        """Makes a network of :meth:`model_shapes` map batches of samples to logits ``(batch, …)``.

        Args:
            model: changed in place; parameters keep their names.
            shape: of one sample.
        """

    def loss(self, logits: Tensor, y: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Returns the mean loss.

        Args:
            logits: ``(batch, outputs)``.
            y: int64 labels ``(batch,)``.
            label_smoothing: ε: targets are (1 − ε) of the label and ε of a uniform distribution (Szegedy et al., 2016).
        """
        raise NotImplementedError

    def correct(self, logits: Tensor, y: Tensor) -> Tensor:
        """Returns how many predictions are right, an integer scalar on the device.

        Args:
            logits: ``(batch, outputs)``.
            y: int64 labels ``(batch,)``.
        """
        raise NotImplementedError

    def training_loss(self, label_smoothing: float) -> Loss:
        """Returns :meth:`loss` with the label smoothing of a recipe."""
        return partial(self.loss, label_smoothing=label_smoothing)

    def score(self, results: Mapping[str, Any]) -> float:
        """Returns by how much an epoch is good, from its line of ``metrics.jsonl``; the highest is the best."""
        return float(results["val_acc"]) if self.best_by == "val_acc" else -float(results["val_loss"])


@dataclass(frozen=True)
class Classification(Task):
    """One of several classes by cross-entropy; of two, by one logit and binary cross-entropy."""

    def model_shapes(self, shape: Sequence[int], num_classes: int) -> tuple[tuple[int, ...], int]:
        """Returns the samples' shape, and one output a class, or one for two classes."""
        return tuple(shape), 1 if num_classes == 2 else num_classes

    def loss(self, logits: Tensor, y: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Returns the mean cross-entropy; the binary one for a single logit; see :meth:`Task.loss`."""
        if logits.shape[1] > 1:
            return F.cross_entropy(logits, y, label_smoothing=label_smoothing)
        target = y.to(logits.dtype)
        if label_smoothing:
            target = (1 - label_smoothing) * target + label_smoothing / 2
        return F.binary_cross_entropy_with_logits(logits[:, 0], target)

    def correct(self, logits: Tensor, y: Tensor) -> Tensor:
        """Counts the labels that have the highest logit; of a single one, whose sign says so."""
        predicted = (logits[:, 0] > 0).long() if logits.shape[1] == 1 else logits.argmax(dim=1)
        return (predicted == y).sum()


@dataclass(frozen=True)
class Binary(Classification):
    """Yes or no, by one logit and binary cross-entropy: :class:`Classification` of exactly two classes."""

    def model_shapes(self, shape: Sequence[int], num_classes: int) -> tuple[tuple[int, ...], int]:
        """Returns the samples' shape and one output."""
        if num_classes != 2:
            raise ValueError(f"there are {num_classes} classes, not 2")
        return super().model_shapes(shape, num_classes)


@dataclass(frozen=True)
class MultipleChoice(Classification):
    """Which of several inputs is right: the network gives each one score; cross-entropy over the choices.

    Samples have shape ``(choices, …)``; the label is the number of the right choice.
    """

    def model_shapes(self, shape: Sequence[int], num_classes: int) -> tuple[tuple[int, ...], int]:
        """Returns the shape of one choice and one output."""
        if len(shape) < 2 or num_classes > shape[0] or shape[0] < 2:
            found = "×".join(map(str, shape))
            raise ValueError(
                f"samples are {found} with {num_classes} classes, not of (choices, …) with two choices or more and at "
                "most as many classes"
            )
        return tuple(shape[1:]), 1

    def adapt(self, model: nn.Module, shape: Sequence[int]) -> None:
        """Makes each choice an input, and the scores of a sample its logits ``(batch, choices)``."""
        model.register_forward_pre_hook(_choices_as_inputs)
        model.register_forward_hook(partial(_scores_as_logits, choices=shape[0]))


def task_of(config: Mapping[str, Any]) -> Task:
    """Returns the task of a config as plain containers; classification in those of earlier versions."""
    task: Task = build("task", config.get("task") or DEFAULTS["task"], Task)
    return task


def training_loss(config: Config) -> Loss:
    """Returns the loss that a run trains by: its task's, with the label smoothing of its recipe."""
    return task_of(vars(config)).training_loss(config.recipe.label_smoothing)


def _choices_as_inputs(model: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    return (inputs[0].flatten(0, 1),)


def _scores_as_logits(model: nn.Module, inputs: tuple[Tensor], scores: Tensor, *, choices: int) -> Tensor:
    return scores.view(-1, choices)
