"""Dynamic sparse training around any model and optimizer: call ``sparsity.step()`` in place of ``optimizer.step()``."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from dst.seeds import stream_seed
from dst.sparsity.batches import batches, joined, rows
from dst.sparsity.checks import check_choice, check_share, check_whole
from dst.sparsity.criteria import Criterion
from dst.sparsity.growth import Growth
from dst.sparsity.layer import SparseLayer
from dst.sparsity.masked import MaskedModel
from dst.sparsity.registry import named_or_given
from dst.sparsity.schedule import Cosine, Schedule
from dst.sparsity.topology import grow_highest, prune_lowest

log = logging.getLogger("dst")

_Counts = dict[str, dict[str, Any]]
"""Per layer: how many weights are active, were pruned and were grown."""


class DynamicSparsity(MaskedModel):
    """Keeps a model sparse while it trains: draws its masks, holds them, and updates the topology when it is due.

        sparsity = DynamicSparsity(model, optimizer, density=0.1, total_steps=epochs * len(loader))
        for x, y in loader:
            optimizer.zero_grad()
            loss_fn(model(x), y).backward()
            sparsity.step()  # in place of optimizer.step()

    An inactive weight is exactly 0 after every step. Updates come at steps Δt, 2Δt, … before T, between backward and
    the optimizer's step: ⌈ρ_t · active⌉ weights with the lowest criterion are pruned, as many grown among all inactive
    ones, the just-pruned included. A weight pruned and regrown in one update keeps its value; a newly grown one starts
    at 0. Nothing in here waits for the device.

    Args:
        model: on its final device; the weights of linear layers, convolutions and attention become sparse (see
            :func:`~dst.sparsity.sparsifiable_weights`), never biases or norms. What else of two or more dimensions
            stays dense is named in one line of the log.
        optimizer: any torch optimizer over the model's parameters.
        density: overall density D in (0, 1].
        distribution: how D is spread over the layers, see :func:`~dst.sparsity.layer_densities`.
        criterion, growth: what to prune and what to grow: an object or its name in the config group.
        update_period: Δt in optimizer steps; None keeps the masks as they were drawn (static sparse training).
        prune_fraction: ρ_t: a schedule, its name, or the initial ρ of the cosine one.
        total_steps: optimizer steps of the whole training; needed unless ``update_period`` is None.
        stop_at: T as a share of ``total_steps``; None: that of the schedule.
        scope: ``local``, scores compete within a layer, or ``global``, across all of them.
        momentum: ``masked``, inactive weights have no optimizer state, or ``dense``, it goes on for them.
        seed: of the masks and of the random growth.
        tied_embeddings: whether a linear layer's weight that is an embedding's too becomes sparse.

    Raises:
        ValueError: for values outside these, a model without a layer whose weights could be sparse, an optimizer of
            another model or one whose step needs a closure (LBFGS).
        TypeError: for a criterion, growth, schedule or optimizer that is none.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        density: float = 0.1,
        distribution: str = "erk",
        criterion: Criterion | str = "magnitude",
        growth: Growth | str = "random",
        update_period: int | None = 100,
        prune_fraction: Schedule | str | float = "cosine",
        total_steps: int | None = None,
        stop_at: float | None = None,
        scope: str = "local",
        momentum: str = "masked",
        seed: int = 0,
        tied_embeddings: bool = False,
    ) -> None:
        self.criterion = named_or_given("criterion", Criterion, criterion)
        self.growth = named_or_given("growth", Growth, growth)
        if isinstance(prune_fraction, (int, float)):
            prune_fraction = Cosine(float(prune_fraction))
        schedule = named_or_given("prune_fraction", Schedule, prune_fraction)
        if stop_at is not None:
            check_share("stop_at", stop_at)
            schedule = dataclasses.replace(schedule, stop_at=stop_at)
        self.schedule, self.update_period, self.scope = schedule, update_period, scope
        self._check(total_steps, momentum)
        self.stop_step = schedule.stop_step(total_steps) if total_steps is not None else None
        super().__init__(
            model,
            optimizer,
            density=density,
            distribution=distribution,
            momentum=momentum,
            seed=seed,
            tied_embeddings=tied_embeddings,
        )
        self._unused: set[str] = set()
        self.updates: list[dict[str, Any]] = []
        self._generator = torch.Generator(self.layers[0].weight.device)

    def _check(self, total_steps: int | None, momentum: str) -> None:
        check_choice("scope", self.scope, ("local", "global"))
        check_share("prune_fraction", self.schedule.initial)
        check_share("stop_at", self.schedule.stop_at)
        if total_steps is not None:
            check_whole("total_steps", total_steps, 1, "1 step or more")
        if self.update_period is None:
            return
        check_whole("update_period", self.update_period, 1, "1 step or more, or None")
        if total_steps is None:
            raise ValueError("total_steps is needed to know when the topology updates end; or set update_period=None")
        if self.growth.signal == "momentum" and momentum != "dense":
            raise ValueError("momentum growth needs the momentum of inactive weights: set momentum='dense'")

    @property
    def update_due(self) -> bool:
        """Whether the coming :meth:`step` updates the topology."""
        step = self.steps + 1 - self.first_step
        return bool(self.update_period) and step % (self.update_period or 1) == 0 and step < (self.stop_step or 0)

    @torch.no_grad()
    def update(self) -> None:
        """Prunes and grows now, at the current weights and gradients."""
        self._follow()
        fraction = self.schedule(self.steps - self.first_step, self.stop_step or math.inf)
        self._generator.manual_seed(stream_seed(self.seed, "growth", self.steps))
        layers = [layer for layer in self.layers if layer.parameter.grad is not None]
        if not layers:
            raise ValueError(f"{self.layers[0].name} has no gradient: call step() after backward()")
        update = self._update_global if self.scope == "global" else self._update_local
        counts = update(layers, fraction) | self._left_out()
        counts = {layer.name: counts[layer.name] for layer in self.layers}
        self.updates.append({"step": self.steps, "prune_fraction": fraction, "layers": counts})

    @property
    def prune_fraction(self) -> float | None:  # type: ignore[override]
        """ρ_t at the latest step, 0 once the updates have ended; None where none ever comes."""
        if not self.update_period or not self.stop_step:
            return None
        step = self.steps - self.first_step
        return 0.0 if step >= self.stop_step else self.schedule(step, self.stop_step)

    @property
    def dense_gradients(self) -> str:
        """When gradients of inactive weights are needed: ``never``, at ``updates`` or at ``every`` step."""
        at_updates = self.growth.signal == "gradient"
        return "updates" if at_updates and super().dense_gradients == "never" else super().dense_gradients

    def _follow(self) -> None:
        super()._follow()
        if self._generator.device != self.layers[0].mask.device:
            self._generator = torch.Generator(self.layers[0].mask.device)

    def _left_out(self) -> _Counts:
        """The layers that the loss does not depend on: they keep their masks; each is named once."""
        layers = [layer for layer in self.layers if layer.parameter.grad is None]
        if new := [layer.name for layer in layers if layer.name not in self._unused]:
            log.warning("no gradient reaches %s: topology updates leave the masks there as they are", ", ".join(new))
            self._unused.update(new)
        return {layer.name: {"active": layer.mask.sum(), "pruned": 0, "grown": 0} for layer in layers}

    def _update_local(self, competing: list[SparseLayer], fraction: float) -> _Counts:
        """Every layer by itself; small layers of one size are selected from at once, as rows of one tensor."""
        counts: _Counts = {}
        for layers in batches(competing):
            n = [math.ceil(fraction * layer.n_active) for layer in layers]
            mask, weight = rows(layer.mask for layer in layers), rows(layer.weight for layer in layers)
            kept = prune_lowest(rows(self._criterion_scores(layers)), weight, mask, n, by_sign=self.criterion.by_sign)
            grown = grow_highest(rows(self._growth_scores(layers)), kept, n)
            for layer, row, changed in zip(layers, grown, n, strict=True):
                self._set_mask(layer, row.view(layer.mask.shape))
                counts[layer.name] = {"active": layer.n_active, "pruned": changed, "grown": changed}
        return counts

    def _update_global(self, layers: list[SparseLayer], fraction: float) -> _Counts:
        """All layers as one; how many weights each gains or loses is then known to the device alone."""
        mask, weight = joined(layer.mask for layer in layers), joined(layer.weight for layer in layers)
        active = sum(layer.n_active for layer in layers)
        if len(layers) < len(self.layers):  # of some of the layers only the device knows the count
            active = int(mask.sum())
        n = math.ceil(fraction * active)
        kept = prune_lowest(joined(self._criterion_scores(layers)), weight, mask, n, by_sign=self.criterion.by_sign)
        grown = grow_highest(joined(self._growth_scores(layers)), kept, n)
        counts: _Counts = {}
        sizes = [layer.weight.numel() for layer in layers]
        parts = zip(layers, mask.split(sizes), kept.split(sizes), grown.split(sizes), strict=True)
        for layer, before, between, after in parts:
            self._set_mask(layer, after.view(layer.mask.shape))
            counts[layer.name] = {
                "active": after.sum(),
                "pruned": (before & ~between).sum(),
                "grown": (after & ~between).sum(),
            }
        return counts

    def _criterion_scores(self, layers: list[SparseLayer]) -> Iterator[Tensor]:
        return (self.criterion(layer.weight, layer.gradient, self._generator) for layer in layers)

    def _growth_scores(self, layers: list[SparseLayer]) -> Iterator[Tensor]:
        return (self.growth(layer.weight, self._signal(layer), self._generator) for layer in layers)

    def _signal(self, layer: SparseLayer) -> Tensor:
        if self.growth.signal == "momentum":
            state = self.optimizer.state.get(layer.parameter, {})
            for key in ("momentum_buffer", "exp_avg"):
                if state.get(key) is not None:
                    return layer.own(state[key])
        return layer.gradient

    def pop_updates(self) -> list[dict[str, Any]]:
        """Returns and forgets the records of the updates since the last call; reads from the device.

        Each is ``{"step", "prune_fraction", "layers": {name: {"active", "pruned", "grown"}}}``, counts of weights.
        """
        updates, self.updates = self.updates, []
        for update in updates:
            for counts in update["layers"].values():
                counts.update({key: int(count) for key, count in counts.items()})
        return updates
