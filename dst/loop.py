"""The training loop, and nothing else."""

from __future__ import annotations

import copy
import functools
import math
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp import GradScaler

from dst.components import build
from dst.config import Config
from dst.data import Data
from dst.device import autocast
from dst.errors import UserError
from dst.recipe import learning_rate, load_optimizer_state, make_optimizer, set_learning_rate
from dst.seeds import stream_seed
from dst.sparsity import DynamicSparsity, layer_densities, sparsifiable_weights
from dst.step_graph import CudaRecorder, StepGraph
from dst.tally import Tally, loss_of

Batches = Iterable[tuple[Tensor, Tensor]]


class Training:
    """A model in training: everything that changes from step to step, and the steps.

    Attributes:
        epoch: epochs finished.
        step: optimizer steps taken.
        best: validation accuracy, epoch and weights of the best epoch so far.
    """

    def __init__(self, config: Config, model: nn.Module, data: Data, device: torch.device) -> None:
        self.recipe, self.precision = config.recipe, config.precision
        self.model, self.data, self.device = model, data, device
        self.optimizer = make_optimizer(model, config.recipe, device)
        self.sparsity = make_sparsity(config, model, self.optimizer, total_steps=config.recipe.epochs * len(data.train))
        self.epoch = self.step = 0
        self.tally = Tally(device)
        self.scaler = self._make_scaler()
        self.graph: StepGraph | None = None
        if config.cuda_graph and device.type == "cuda":
            self.graph = StepGraph(CudaRecorder(device), deterministic=config.deterministic)
        self.best: dict[str, Any] = {"epoch": 0, "val_acc": -1.0, "model": None}
        self.last: dict[str, Any] = {}
        torch.manual_seed(stream_seed(config.seed, "dropout"))  # the one stream that has to be torch's global one

    def train_epoch(self, after_step: Callable[[], None]) -> tuple[float, float]:
        """Trains to the end of the epoch, from its start or where it was stopped; returns mean loss and accuracy."""
        set_learning_rate(self.optimizer, learning_rate(self.recipe, self.epoch))
        self.model.train()
        for pick, y in self.data.train.picks(self.epoch, start=self.step - self.epoch * len(self.data.train)):
            if not self._replayed(pick, y):
                self._take_step(pick, y)
            self.step += 1
            after_step()
        means = self.tally.means()
        self.tally.reset()
        self.epoch += 1
        return means

    def _take_step(self, pick: Tensor, y: Tensor, *, to_record: bool = False) -> None:
        x, y = self.data.train.assemble(pick, y)
        with autocast(self.precision, self.device):
            logits = self.model(x)
            loss = loss_of(logits, y)
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        if self.sparsity is None:
            self._optimizer_step()
        elif to_record:
            self.sparsity.masked_step(self._optimizer_step)
        else:
            self.sparsity.step(self._optimizer_step)
        self.scaler.update()
        self.tally.add(loss, logits, y)

    def _make_scaler(self, state: dict[str, Any] | None = None) -> GradScaler:
        scaler = GradScaler(self.device.type, enabled=self.precision == "fp16")
        if state is not None:
            scaler.load_state_dict(state)
        return scaler

    def _optimizer_step(self) -> None:
        self.scaler.step(self.optimizer)

    def _replayed(self, pick: Tensor, y: Tensor) -> bool:
        """Takes a step by replay if that can be; not one with a topology update."""
        if self.graph is None or (self.sparsity and self.sparsity.update_due):
            return False
        step = functools.partial(self._take_step, to_record=True)
        was_impossible = self.graph.impossible
        taken = self.graph.take(step, self._changed_by_step, pick, y)
        if self.graph.impossible > was_impossible:  # the scaler may have been left in the middle of a step
            self.scaler = self._make_scaler(self.scaler.state_dict())
        if not taken:
            return False
        if self.sparsity:
            self.sparsity.steps += 1  # which only the host knows of
        return True

    def _changed_by_step(self) -> list[Tensor]:
        states = (*self.optimizer.state.values(), vars(self.scaler), self.tally.state_dict())
        values = (value for state in states for value in state.values() if isinstance(value, Tensor))
        return [*self.model.parameters(), *self.model.buffers(), *values]

    @torch.no_grad()
    def evaluate(self, batches: Batches) -> tuple[float, float]:
        """Returns mean loss and accuracy on ``batches``."""
        tally = Tally(self.device)
        self.model.eval()
        with autocast(self.precision, self.device):
            for x, y in batches:
                logits = self.model(x)
                tally.add(loss_of(logits, y), logits, y)
        return tally.means()

    def run_epoch(self, after_step: Callable[[], None] = lambda: None) -> dict[str, Any]:
        """Trains and validates one epoch; returns its line of ``metrics.jsonl``."""
        began = time.perf_counter()
        lr = learning_rate(self.recipe, self.epoch)
        train_loss, train_acc = self.train_epoch(after_step)
        val_loss, val_acc = self.evaluate(self.data.val)
        if val_acc > self.best["val_acc"]:
            self.best = {"epoch": self.epoch, "val_acc": val_acc, "model": copy.deepcopy(self.model.state_dict())}
        self.last = {
            "epoch": self.epoch,
            "step": self.step,
            "lr": lr,
            "train_loss": train_loss,
            "train_acc": train_acc,
            "val_loss": val_loss,
            "val_acc": val_acc,
            **self.sparsity_metrics(),
            "epoch_s": time.perf_counter() - began,
        }
        return self.last

    def sparsity_metrics(self) -> dict[str, Any]:
        """Returns prune fraction (None where nothing is pruned), density and ITOP ratio as they are now."""
        if self.sparsity is None:
            return {"prune_fraction": None, "density": 1.0, "itop_ratio": 1.0}
        fraction = None
        if self.sparsity.update_period and self.sparsity.stop_step:
            ended = self.step >= self.sparsity.stop_step
            fraction = 0.0 if ended else self.sparsity.schedule(self.step, self.sparsity.stop_step)
        return {
            "prune_fraction": fraction,
            "density": self.sparsity.density,
            "itop_ratio": self.sparsity.itop_ratio(),
        }

    def state_dict(self, *, only_weights: bool = False) -> dict[str, Any]:
        """Everything the run needs to go on as if it had never stopped; without the optimizer, to be concluded."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            "model": self.model.state_dict(),
            "optimizer": None if only_weights else self.optimizer.state_dict()["state"],
            "scaler": self.scaler.state_dict(),
            "sparsity": self.sparsity.state_dict() if self.sparsity else None,
            "tally": self.tally.state_dict(),
            "best": self.best,
            "last": self.last,
            "rng": torch.get_rng_state(),
            "rng_device": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from :meth:`state_dict`."""
        self.epoch, self.step = state["epoch"], state["step"]
        self.model.load_state_dict(state["model"])
        if state["optimizer"] is not None:
            load_optimizer_state(self.optimizer, state["optimizer"])
        self.scaler = self._make_scaler(state["scaler"])
        if self.graph:
            self.graph.forget()
        if self.sparsity:
            self.sparsity.load_state_dict(state["sparsity"])
        self.tally.load_state_dict(state["tally"])
        self.best, self.last = state["best"], state["last"]
        torch.set_rng_state(state["rng"])
        if state["rng_device"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["rng_device"], self.device)


def make_sparsity(
    config: Config, model: nn.Module, optimizer: torch.optim.Optimizer, *, total_steps: int
) -> DynamicSparsity | None:
    """Returns what keeps the model sparse, None for a dense run."""
    if config.density.value is None:
        return None
    check_density(config.model["name"], model, config.density.value, config.distribution.name)
    try:
        return _sparsity(config, model, optimizer, total_steps)
    except ValueError as error:  # a model or a distribution that does not go with the density
        raise UserError(f"model={config.model['name']}, density.value={config.density.value}: {error}") from error


def check_density(name: str, model: nn.Module, density: float, distribution: str) -> None:
    """Raises UserError if the model, called ``name``, cannot have that density, spread in that way."""
    shapes = [weight.shape for weight in sparsifiable_weights(model).values()]
    weights = sum(map(math.prod, shapes))
    if weights and density * weights < 1:
        raise UserError(f"density.value={density}: leaves none of the model's weights; give 1/{weights} or more")
    try:
        layer_densities(shapes, density, distribution)
    except ValueError as error:
        raise UserError(f"model={name}, density.value={density}: {error}") from error


def _sparsity(config: Config, model: nn.Module, optimizer: torch.optim.Optimizer, total_steps: int) -> DynamicSparsity:
    assert config.density.value is not None
    return DynamicSparsity(
        model,
        optimizer,
        density=config.density.value,
        distribution=config.distribution.name,
        criterion=build("criterion", config.criterion),
        growth=build("growth", config.growth),
        update_period=config.update_period.steps,
        prune_fraction=build("prune_fraction", {k: v for k, v in config.prune_fraction.items() if k != "stop_at"}),
        total_steps=total_steps or 1,  # recipe.epochs=0 takes no step
        stop_at=config.prune_fraction["stop_at"],
        scope=config.sparsity.scope,
        momentum=config.sparsity.momentum,
        seed=config.seed,
    )
