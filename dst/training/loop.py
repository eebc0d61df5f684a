"""The training loop: batch, forward, backward, topology update, optimizer step, metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from dst.config import RecipeConfig
from dst.data import Data
from dst.sparsity import DenseModel, DynamicSparsity, MaskedModel
from dst.training.device import autocast
from dst.training.evaluation import Best
from dst.training.lr_schedule import learning_rate, set_learning_rate
from dst.training.metrics import RunningMetrics, loss_of

if TYPE_CHECKING:
    from dst.training.recorded_step import RecordedStep

Sparsity = DenseModel | MaskedModel | DynamicSparsity
"""What keeps the model sparse, or does nothing."""


class Training:
    """A model in training: all that changes from step to step, and the steps of an epoch.

    :func:`dst.training.build.build_training` puts one together from a config.

    Attributes:
        epoch: epochs finished.
        step: optimizer steps taken.
        best: the best validation epoch so far.
        last: the line of ``metrics.jsonl`` of the last finished epoch.
        recorded: replays the step as a CUDA graph; None where every step is computed kernel by kernel.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Data,
        optimizer: Optimizer,
        sparsity: Sparsity,
        *,
        recipe: RecipeConfig,
        scaler: GradScaler,
        precision: str,
        device: torch.device,
    ) -> None:
        self.model, self.data, self.optimizer, self.sparsity = model, data, optimizer, sparsity
        self.recipe, self.scaler, self.precision, self.device = recipe, scaler, precision, device
        self.metrics = RunningMetrics(device)
        self.epoch = self.step = 0
        self.best = Best()
        self.last: dict[str, Any] = {}
        self.recorded: RecordedStep | None = None

    @property
    def lr(self) -> float:
        """The learning rate of the epoch under way."""
        return learning_rate(self.recipe, self.epoch)

    @property
    def step_in_epoch(self) -> int:
        """Steps taken of the epoch under way."""
        return self.step - self.epoch * len(self.data.train)

    def train_epoch(self, after_step: Callable[[], None] = lambda: None) -> tuple[float, float]:
        """Trains to the end of the epoch, from its start or where it was stopped; returns mean loss and accuracy."""
        set_learning_rate(self.optimizer, self.lr)
        self.model.train()
        for raw, y in self.data.train.raw_batches(self.epoch, start=self.step_in_epoch):
            if self.recorded is None or not self.recorded.replay(self, raw, y):
                self.take_step(raw, y, self.sparsity.step)
            self.step += 1
            after_step()
        self.epoch += 1
        return self.metrics.pop_means()

    def take_step(self, raw: Tensor, y: Tensor, sparse_step: Callable[[Callable[[], object]], None]) -> None:
        """Computes one training step.

        Args:
            raw: what the batch is made from, see :meth:`dst.data.batches.TrainLoader.raw_batches`.
            y: labels ``(batch,)``.
            sparse_step: updates the topology if that is due and takes the optimizer step that it is given.
        """
        x, y = self.data.train.make_batch(raw, y)
        with autocast(self.precision, self.device):
            logits = self.model(x)
            loss = loss_of(logits, y)
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        sparse_step(self._optimizer_step)
        self.scaler.update()
        self.metrics.add(loss, logits, y)

    def _optimizer_step(self) -> None:
        self.scaler.step(self.optimizer)
