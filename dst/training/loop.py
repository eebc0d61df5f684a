"""The training loop: batch, forward, backward, topology update, optimizer step, metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from dst import ranks
from dst.config import RecipeConfig
from dst.data import Data
from dst.sparsity import Criterion, DenseModel, MaskedModel, sparsifiable_weights
from dst.tasks import Task
from dst.training.device import autocast
from dst.training.evaluation import Best
from dst.training.gradients import scoring_gradients
from dst.training.lr_schedule import LRSchedule, Span, set_learning_rate
from dst.training.metrics import RunningMetrics
from dst.training.phase import Phase

if TYPE_CHECKING:
    from dst.probes import Observer
    from dst.training.recorded_step import RecordedStep

Sparsity = DenseModel | MaskedModel
"""What keeps the model sparse, or does nothing."""

PhaseParts = Callable[[int, Mapping[str, Tensor] | None], tuple[Optimizer, Sparsity]]
"""Makes what a phase starts anew, from its number and the masks it goes on with, None for the first phase."""


class Training:
    """A model in training: all that changes from step to step, and the steps of an epoch.

    :func:`dst.training.build.build_training` puts one together from a config.

    Attributes:
        phases: what the training consists of.
        phase: the number of the phase under way, from 0.
        epoch: epochs finished, in all phases.
        step: optimizer steps taken, in all phases.
        criterion: what procedures prune by between two phases.
        best: the best validation epoch so far.
        task: what the model learns.
        loss_of: returns the mean training loss of logits and labels.
        last: the line of ``metrics.jsonl`` of the last finished epoch.
        last_step: the step that the training ends with, though an epoch and a phase are under way; None: the last one.
        kept: parameters and buffers by name, kept where a phase says so (``keep_at``); empty before.
        left_out: which of the planned phases a procedure left out: the first one's number, from 0, and how many; None
            of them so far.
        dead_layers: weights that the initial masks cut off from input or output, by parameter name.
        observer: takes the measurements of probes; None without probes.
        recorded: replays the step as a CUDA graph; None where every step is computed kernel by kernel.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Data,
        phases: list[Phase],
        make_parts: PhaseParts,
        *,
        task: Task,
        recipe: RecipeConfig,
        lr_schedule: LRSchedule,
        scaler: GradScaler,
        precision: str,
        device: torch.device,
        criterion: Criterion,
    ) -> None:
        self.model, self.data, self.phases, self._make_parts = model, data, phases, make_parts
        self._forward = model
        self.recipe, self.lr_schedule = recipe, lr_schedule
        self.scaler, self.precision, self.device, self.criterion = scaler, precision, device, criterion
        self.task, self.loss_of = task, task.training_loss(recipe.label_smoothing)
        self.metrics = RunningMetrics(device)
        self.epoch = self.step = 0
        self.left_out: tuple[int, int] | None = None
        self.last_step: int | None = None
        self.kept: dict[str, Tensor] = {}
        self._enter(0, None)
        self.best = Best()
        self.last: dict[str, Any] = {}
        self.observer: Observer | None = None
        self.recorded: RecordedStep | None = None
        self.dead_layers: list[str] = []

    def lr_at(self, step: int) -> float:
        """Returns the learning rate of a step of the phase under way; ``step`` counts the steps before it."""
        return self.lr_schedule(step - self._first_step, self._span, self.recipe)

    @property
    def weights(self) -> Mapping[str, nn.Parameter]:
        """The sparse weights by parameter name; those that could be sparse if the model is dense."""
        sparse = {layer.parameter_name: layer.parameter for layer in self.sparsity.layers}
        return sparse or sparsifiable_weights(self.model)

    @property
    def step_in_epoch(self) -> int:
        """Steps taken of the epoch under way."""
        return self.step - self.epoch * len(self.data.train)

    @property
    def ends_early(self) -> bool:
        """Whether the last step was :attr:`last_step`."""
        return self.step == self.last_step

    @property
    def phase_is_over(self) -> bool:
        """Whether the phase under way has no epoch left."""
        return self.epoch >= self._epochs_before(self.phase + 1)

    def begin_phase(self, number: int) -> None:
        """Starts a phase with a new optimizer; the weights and masks of the phase under way go on."""
        previous = self.sparsity
        self._enter(number, previous.masks)
        self.sparsity.continue_from(previous)  # type: ignore[arg-type]  # both are dense, or neither
        if self.recorded:
            self.recorded.forget()
        self.keep_weights()

    def _enter(self, number: int, masks: Mapping[str, Tensor] | None) -> None:
        self.phase = number
        self.optimizer, self.sparsity = self._make_parts(number, masks)
        per_epoch = len(self.data.train)
        self._first_step = self._epochs_before(number) * per_epoch
        self._span = Span(self.phases[number].epochs * per_epoch, per_epoch)

    @property
    def epochs(self) -> int:
        """Epochs of all phases."""
        return self._epochs_before(len(self.phases))

    def leave_out(self, first: int, count: int) -> None:
        """Leaves out phases that have not begun.

        Args:
            first: number of the first one, from 0.
            count: how many.
        """
        self.left_out = (first, count)
        del self.phases[first : first + count]

    def keep_weights(self) -> None:
        """Keeps the weights if the phase under way says so for the epochs that it has had."""
        if self.phases[self.phase].keep_at == self.epoch - self._epochs_before(self.phase):
            self.kept = {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}

    def prune(self, density: float, scope: str) -> None:
        """Prunes by the criterion, at once; for procedures, between two phases.

        Args:
            density: of the sparsifiable weights afterwards.
            scope: ``global`` or ``local``, see :meth:`dst.sparsity.MaskedModel.prune_to`.
        """
        assert isinstance(self.sparsity, MaskedModel)
        gradients = scoring_gradients(self) if self.criterion.uses_gradient else None
        self.sparsity.prune_to(density, self.criterion, scope=scope, gradients=gradients)

    def _epochs_before(self, number: int) -> int:
        return sum(phase.epochs for phase in self.phases[:number])

    def train_epoch(self, after_step: Callable[[], None] = lambda: None) -> tuple[float, float]:
        """Trains to the end of the epoch, from its start or where it was stopped; returns mean loss and accuracy."""
        self.model.train()
        if ranks.size() > 1 and self._forward is self.model:
            self._forward = DistributedDataParallel(self.model)
        current = None
        for raw, y in self.data.train.shares(self.epoch, start=self.step_in_epoch):
            if (lr := self.lr_at(self.step)) != current:
                set_learning_rate(self.optimizer, current := lr)
            if self.observer and self.observer.due(self):
                self.take_step(raw, y, self._observed_step, self._observe)
            elif self.recorded is None or not self.recorded.replay(self, raw, y):
                self.take_step(raw, y, self.sparsity.step)
            self.step += 1
            after_step()
        self.epoch += 1
        ranks.copy_first(self.model.buffers())
        self.keep_weights()
        return self.metrics.pop_means()

    def take_step(
        self,
        raw: Tensor,
        y: Tensor,
        sparse_step: Callable[[Callable[[], object]], None],
        observe: Callable[[Tensor], None] = lambda loss: None,
    ) -> None:
        """Computes one training step.

        Args:
            raw: what the batch is made from, see :meth:`dst.data.batches.TrainLoader.raw_batches`.
            y: labels ``(batch,)``.
            sparse_step: updates the topology if that is due and takes the optimizer step that it is given.
            observe: called with the loss before ``sparse_step``.
        """
        x, y = self.data.train.make_batch(raw, y)
        with autocast(self.precision, self.device):
            logits = self._forward(x)
            loss = self.loss_of(logits, y)
        self.optimizer.zero_grad()
        self.scaler.scale(self._weighted(loss, len(y))).backward()
        self.scaler.unscale_(self.optimizer)
        observe(loss.detach())
        sparse_step(self._optimizer_step)
        self.scaler.update()
        self.metrics.add(loss, self.task.correct(logits, y), len(y))

    def _weighted(self, loss: Tensor, samples: int) -> Tensor:
        """Returns the mean loss of a share such that the mean over all processes is that of the whole batch."""
        if ranks.size() == 1:
            return loss
        seen = self.data.train.samples_seen
        return loss * (samples * ranks.size() / (seen(self.step + 1) - seen(self.step)))

    def _observe(self, loss: Tensor) -> None:
        assert self.observer
        self.observer.observe(self, loss)

    def _observed_step(self, optimizer_step: Callable[[], object]) -> None:
        assert self.observer
        self.sparsity.step(optimizer_step, partial(self.observer.observe_update, self))

    def _optimizer_step(self) -> None:
        self.scaler.step(self.optimizer)
