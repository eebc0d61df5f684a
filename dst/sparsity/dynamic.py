"""Dynamic sparse training around any model and optimizer: call ``sparsity.step()`` in place of ``optimizer.step()``."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dst.seeds import stream_seed
from dst.sparsity.checks import check_choice, check_fraction, check_integer
from dst.sparsity.criteria import Criterion
from dst.sparsity.growth import Growth
from dst.sparsity.layer import SparseLayer
from dst.sparsity.masked import MaskedModel
from dst.sparsity.registry import resolve
from dst.sparsity.schedule import Cosine, Schedule
from dst.sparsity.scores import effective_normalisation, layer_scores
from dst.sparsity.stacking import concatenate, group_by_size, stack_rows
from dst.sparsity.topology import grow_highest, prune_scored
from dst.sparsity.weights import Patterns

log = logging.getLogger("dst")

_Counts = dict[str, Any]
"""The numbers of active, pruned and grown weights of a layer; tensors if only the device knows them."""

_Changes = Iterator[tuple[SparseLayer, Tensor, Tensor, _Counts]]
"""Per layer: the mask between pruning and growing, the mask after both, the counts."""

_GradientAt = Callable[[int], Mapping[str, Tensor]]
"""Returns the gradient by parameter name at a step."""

_HessianGradientAt = Callable[[int, float], Mapping[str, Tensor]]
"""Returns the Hessian times the gradient by parameter name, at a step and with logits divided by a temperature."""


class DynamicSparsity(MaskedModel):
    """Trains a model sparsely: draws its masks, applies them after every step and updates the topology periodically.

        sparsity = DynamicSparsity(model, optimizer, density=0.1, total_steps=epochs * len(loader))
        for x, y in loader:
            optimizer.zero_grad()
            loss_fn(model(x), y).backward()
            sparsity.step()  # in place of optimizer.step()

    Every inactive weight is exactly 0 after each step. Topology updates happen at steps Δt, 2Δt, … before T, between
    backward and the optimizer step, unless ``update_order`` says otherwise: the ⌈ρ_t · active⌉ active weights with the
    lowest scores are pruned, then equally many of all inactive weights, including those just pruned, are grown. A
    weight pruned and regrown in one update keeps its value; a newly grown one starts at 0. Steps and updates do not
    synchronize with the device, except an update with ``scope="global"`` in which some layers have no gradient, and one
    with ``prune_fraction="lr"`` where the learning rate is a tensor on the device.

    Args:
        model: on its final device. The weights of linear layers, convolutions and attention become sparse (see
            :func:`~dst.sparsity.sparsifiable_weights`), never biases or norms. One log line names the other parameters
            with two or more dimensions, which stay dense.
        optimizer: any torch optimizer over the model's parameters.
        density: overall density D in (0, 1].
        distribution: of D over the layers, see :func:`~dst.sparsity.layer_densities`.
        criterion: scores the weights to prune; an object or its name in the config group ``criterion``.
        growth: scores the weights to grow; an object or its name in the config group ``growth``.
        growth_gradient: given the step of an update, returns the gradient to grow by in place of the batch's, by
            parameter name; it must leave the model and each ``grad`` as they are.
        update_gradient: likewise, to prune and grow by; called at updates that use a gradient.
        hessian_gradient: likewise, for a criterion that scores by Hg (``grasp``), given its temperature too; see
            :func:`dst.sparsity.hessian_gradient.hessian_gradient`.
        update_period: Δt in optimizer steps; None never changes the masks (static sparse training).
        prune_fraction: ρ_t: a schedule, its name, or the initial ρ of a cosine schedule. ``"lr"`` reads the learning
            rate of the optimizer's first parameter group at each update, whoever sets it. Its initial one is that
            group's ``initial_lr``, which torch's schedulers note there, else its ``lr`` now: so make this object
            before the learning rate changes.
        total_steps: optimizer steps of the whole run; required unless ``update_period`` is None.
        stop_at: T as a share of ``total_steps``; None: the schedule's.
        scope: ``local``: scores are compared within a layer; ``global``: across all layers.
        normalise: what the criterion's scores are divided by before that: the sum of those of their ``layer``, which
            matters with ``scope="global"``, of their ``input`` or ``output`` neuron, or nothing (``none``); see
            :func:`~dst.sparsity.normalised`.
        update_order: whether a topology update comes ``before`` or ``after`` the optimizer step of its step. After it,
            weights are those after the step and the gradient that of the batch before it, as in the authors' code of
            the paper for magnitude, SET and random; by default both are of one point.
        momentum: ``masked``: optimizer state of inactive weights is 0; ``dense``: it is updated for all weights.
        seed: of the masks and the random growth.
        include: glob patterns of the parameters that become sparse, such as ``encoder.*`` or ``*.embeddings.weight``,
            see :func:`~dst.sparsity.sparsifiable_weights`.
        exclude: glob patterns of those that stay dense, such as ``classifier.*``.
        tied_embeddings: whether weights that a linear layer shares with an embedding become sparse.

    Raises:
        ValueError: if an argument is out of range, the model has no sparsifiable weights, or the optimizer holds none
            of them or needs a closure (LBFGS).
        TypeError: if the criterion, growth, schedule or optimizer is of another type.
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
        growth_gradient: _GradientAt | None = None,
        update_gradient: _GradientAt | None = None,
        hessian_gradient: _HessianGradientAt | None = None,
        update_period: int | None = 100,
        prune_fraction: Schedule | str | float = "cosine",
        total_steps: int | None = None,
        stop_at: float | None = None,
        scope: str = "local",
        normalise: str = "none",
        update_order: str = "before",
        momentum: str = "masked",
        seed: int = 0,
        include: Patterns = None,
        exclude: Patterns = None,
        tied_embeddings: bool = False,
    ) -> None:
        self.criterion: Criterion = resolve("criterion", Criterion, criterion)
        self.growth = resolve("growth", Growth, growth)
        self._growth_gradient, self._update_gradient = growth_gradient, update_gradient
        self._hessian_gradient = hessian_gradient
        self._prunes_by: Mapping[str, Tensor] = {}
        self._grows_by: Mapping[str, Tensor] = {}
        if isinstance(prune_fraction, (int, float)):
            prune_fraction = Cosine(float(prune_fraction))
        schedule = resolve("prune_fraction", Schedule, prune_fraction)
        if stop_at is not None:
            check_fraction("stop_at", stop_at)
            schedule = dataclasses.replace(schedule, stop_at=stop_at)
        self.schedule, self.update_period, self.scope = schedule, update_period, scope
        self._check_arguments(total_steps, momentum)
        check_choice("update_order", update_order, ("before", "after"))
        self.update_order = update_order
        self.normalise = effective_normalisation(normalise, scope)
        self.stop_step = schedule.stop_step(total_steps) if total_steps is not None else None
        super().__init__(
            model,
            optimizer,
            density=density,
            distribution=distribution,
            momentum=momentum,
            seed=seed,
            include=include,
            exclude=exclude,
            tied_embeddings=tied_embeddings,
        )
        self._initial_lr = _initial_lr(optimizer) if schedule.follows_lr else None
        self._without_gradient: set[str] = set()
        self.updates: list[dict[str, Any]] = []
        self._generator = torch.Generator(self.layers[0].weight.device)

    def _check_arguments(self, total_steps: int | None, momentum: str) -> None:
        check_choice("scope", self.scope, ("local", "global"))
        check_fraction("prune_fraction", self.schedule.initial)
        check_fraction("stop_at", self.schedule.stop_at)
        if total_steps is not None:
            check_integer("total_steps", total_steps, 1, "1 step or more")
        if self.update_period is None:
            return
        check_integer("update_period", self.update_period, 1, "1 step or more, or None")
        if total_steps is None:
            raise ValueError("total_steps is needed to know when the topology updates end; or set update_period=None")
        if self.growth.signal == "momentum" and momentum != "dense":
            raise ValueError("momentum growth needs the momentum of inactive weights: set momentum='dense'")
        self._check_signal(self.criterion)
        if self._growth_gradient and self.growth.signal != "gradient":
            raise ValueError(f"growth_gradient: {type(self.growth).__name__} grows by no gradient; leave it out")
        if (sample := getattr(self.growth, "sample", None)) and not self._growth_gradient:
            raise ValueError(f"growth.sample={sample}: give growth_gradient, which returns the gradient of the sample")

    def _check_signal(self, criterion: Criterion) -> None:
        if criterion.signal == "hessian_gradient" and not self._hessian_gradient:
            raise ValueError(f"criterion={type(criterion).__name__}: give hessian_gradient, which it scores by")

    @property
    def update_due(self) -> bool:
        """Whether the next :meth:`step` updates the topology."""
        step = self.steps + 1 - self.first_step
        return bool(self.update_period) and step % (self.update_period or 1) == 0 and step < (self.stop_step or 0)

    @torch.no_grad()
    def update(self) -> None:
        """Prunes and grows now, based on the current weights and gradients."""
        self._match_model()
        fraction = self._fraction(self.steps - self.first_step, self.stop_step or math.inf)
        self._generator.manual_seed(stream_seed(self.seed, "growth", self.steps))
        counts = self._counts_without_gradient()
        with self._other_gradients(self.criterion, self.steps):
            for layer, _, mask, changed in self._changes(self.criterion, fraction):
                self._set_mask(layer, mask.view(layer.mask.shape))
                counts[layer.name] = changed
        counts = {layer.name: counts[layer.name] for layer in self.layers}
        self.updates.append({"step": self.steps, "prune_fraction": fraction, "layers": counts})

    @torch.no_grad()
    def would_prune(self, criterion: Criterion | None = None) -> dict[str, Tensor]:
        """Returns the weights that an update by the next :meth:`step` would prune; changes nothing.

        Args:
            criterion: in place of the own one; random numbers then come from a stream of its own.

        Returns:
            Bool, by parameter name, in the parameters' shapes; a weight that would be grown again is among them.
        """
        self._match_model()
        step = self.steps + 1
        self._generator.manual_seed(stream_seed(self.seed, "would prune" if criterion else "growth", step))
        fraction = self._fraction(step - self.first_step, self.stop_step or math.inf)
        chosen = criterion or self.criterion
        self._check_signal(chosen)
        with self._other_gradients(chosen, step):
            kept = {layer.name: mask for layer, mask, *_ in self._changes(chosen, fraction)}
        return self._by_parameter(lambda layer: layer.mask & ~kept.get(layer.name, layer.mask).view(layer.mask.shape))

    @contextlib.contextmanager
    def _other_gradients(self, criterion: Criterion, step: int) -> Iterator[None]:
        """Scores by other gradients than the batch's within the block, where there are any."""
        scored = criterion.uses_gradient and criterion.signal == "gradient"
        if self._update_gradient and (scored or self._grows_by_batch):
            self._prunes_by = self._grows_by = self._update_gradient(step)
        if self._growth_gradient:
            self._grows_by = self._growth_gradient(step)
        if criterion.signal == "hessian_gradient" and self._hessian_gradient:
            self._prunes_by = self._hessian_gradient(step, getattr(criterion, "temperature", 1.0))
        yield
        self._prunes_by = self._grows_by = {}

    @property
    def prune_fraction(self) -> float | None:  # type: ignore[override]
        """ρ_t at the current step, 0 from step T on; None if the topology is never updated."""
        if not self.update_period or not self.stop_step:
            return None
        step = self.steps - self.first_step
        return 0.0 if step >= self.stop_step else self._fraction(step, self.stop_step)

    def _fraction(self, step: int, stop_step: float) -> float:
        fraction = self.schedule(step, stop_step)
        if self._initial_lr is None:
            return fraction
        return fraction * min(1.0, float(self.optimizer.param_groups[0]["lr"]) / self._initial_lr)

    @property
    def dense_gradients(self) -> str:
        """When batches need gradients of inactive weights: ``never``, at ``updates`` or at ``every`` step."""
        at_updates = self._grows_by_batch and not self._update_gradient
        return "updates" if at_updates and super().dense_gradients == "never" else super().dense_gradients

    @property
    def _grows_by_batch(self) -> bool:
        return self.growth.signal == "gradient" and not self._growth_gradient

    def _match_model(self) -> None:
        super()._match_model()
        if self._generator.device != self.layers[0].mask.device:
            self._generator = torch.Generator(self.layers[0].mask.device)

    def _counts_without_gradient(self) -> dict[str, _Counts]:
        """Returns the counts of layers without gradient, which keep their masks; logs each such layer once."""
        layers = [layer for layer in self.layers if layer.parameter.grad is None]
        if new := [layer.name for layer in layers if layer.name not in self._without_gradient]:
            log.warning("no gradient reaches %s: topology updates leave the masks there as they are", ", ".join(new))
            self._without_gradient.update(new)
        return {layer.name: {"active": layer.mask.sum(), "pruned": 0, "grown": 0} for layer in layers}

    def _changes(self, criterion: Criterion, fraction: float) -> _Changes:
        """Yields what an update does to each layer that has a gradient; a layer's mask may be set once it is there."""
        layers = [layer for layer in self.layers if layer.parameter.grad is not None]
        if not layers:
            raise ValueError(f"{self.layers[0].name} has no gradient: call step() after backward()")
        return (self._changes_globally if self.scope == "global" else self._changes_locally)(
            layers, criterion, fraction
        )

    def _changes_locally(self, layers: list[SparseLayer], criterion: Criterion, fraction: float) -> _Changes:
        """Treats each layer separately; small layers of equal size are the rows of one tensor."""
        for group in group_by_size(layers):
            n = [math.ceil(fraction * layer.n_active) for layer in group]
            mask, weight = stack_rows(layer.mask for layer in group), stack_rows(layer.weight for layer in group)
            scores = stack_rows(self._criterion_scores(criterion, group))
            kept = prune_scored(criterion, scores, weight, mask, n)
            grown = grow_highest(stack_rows(self._growth_scores(group)), kept, n)
            for layer, between, after, changed in zip(group, kept, grown, n, strict=True):
                yield layer, between, after, {"active": layer.n_active, "pruned": changed, "grown": changed}

    def _changes_globally(self, layers: list[SparseLayer], criterion: Criterion, fraction: float) -> _Changes:
        """Treats all layers as one; only the device knows how many weights each layer gains or loses."""
        mask, weight = concatenate(layer.mask for layer in layers), concatenate(layer.weight for layer in layers)
        active = sum(layer.n_active for layer in layers)
        if len(layers) < len(self.layers):  # only the total over all layers is known to the host
            active = int(mask.sum())
        n = math.ceil(fraction * active)
        scores = concatenate(self._criterion_scores(criterion, layers))
        kept = prune_scored(criterion, scores, weight, mask, n)
        grown = grow_highest(concatenate(self._growth_scores(layers)), kept, n)
        sizes = [layer.weight.numel() for layer in layers]
        masks = zip(layers, mask.split(sizes), kept.split(sizes), grown.split(sizes), strict=True)
        for layer, before, between, after in masks:
            counts = {"active": after, "pruned": before & ~between, "grown": after & ~between}
            yield layer, between, after, {name: changed.sum() for name, changed in counts.items()}

    def _criterion_scores(self, criterion: Criterion, layers: list[SparseLayer]) -> Iterator[Tensor]:
        return (
            layer_scores(criterion, layer, _gradient(layer, self._prunes_by), self._generator, self.normalise)
            for layer in layers
        )

    def _growth_scores(self, layers: list[SparseLayer]) -> Iterator[Tensor]:
        return (self.growth(layer.weight, self._growth_signal(layer), self._generator) for layer in layers)

    def _growth_signal(self, layer: SparseLayer) -> Tensor:
        if self.growth.signal == "momentum":
            state = self.optimizer.state.get(layer.parameter, {})
            for key in ("momentum_buffer", "exp_avg"):
                if state.get(key) is not None:
                    return layer.slice_of(state[key])
        return _gradient(layer, self._grows_by)

    def pop_updates(self) -> list[dict[str, Any]]:
        """Returns and clears the records of topology updates; synchronizes with the device.

        Each is ``{"step", "prune_fraction", "layers": {name: {"active", "pruned", "grown"}}}`` with numbers of weights.
        """
        updates, self.updates = self.updates, []
        for update in updates:
            for counts in update["layers"].values():
                counts.update({key: int(count) for key, count in counts.items()})
        return updates


def _gradient(layer: SparseLayer, given: Mapping[str, Tensor]) -> Tensor:
    return layer.slice_of(given[layer.parameter_name]) if given else layer.gradient


def _initial_lr(optimizer: torch.optim.Optimizer) -> float:
    group = optimizer.param_groups[0]
    lr = float(group.get("initial_lr", group["lr"]))
    if not lr > 0:
        raise ValueError(f"the optimizer's initial lr={lr:g}: must be above 0 for a prune fraction that follows it")
    return lr
