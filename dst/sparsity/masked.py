"""Applies masks to a model during training, without topology updates; works with any optimizer."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dst.seeds import generator, stream_seed
from dst.sparsity.checks import check_choice, check_fraction, check_integer, check_optimizer
from dst.sparsity.criteria import Criterion, RunningCriterion
from dst.sparsity.distribution import kept_count
from dst.sparsity.layer import SparseLayer, make_sparse_layers
from dst.sparsity.one_shot import kept_masks
from dst.sparsity.registry import resolve
from dst.sparsity.weights import dense_weights, describe_dense, linear_weights

log = logging.getLogger("dst")

_ELEMENTWISE = [inspect.unwrap(kind.step) for kind in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW)]
"""Steps that keep a weight of 0 at 0 if its gradient and state are 0; Muon's does not: it mixes the gradients."""


class MaskedModel:
    """Draws the masks of a model and keeps every inactive weight at exactly 0 after each optimizer step.

    This alone is static sparse training; :class:`~dst.sparsity.DynamicSparsity` adds topology updates.

    Args:
        model: see :class:`~dst.sparsity.DynamicSparsity`, also for the other arguments.
        optimizer: any torch optimizer over the model's parameters.
        density: overall density D in (0, 1].
        distribution: how D is spread over the layers, see :func:`~dst.sparsity.layer_densities`.
        momentum: ``masked``: optimizer state of inactive weights is 0; ``dense``: it is updated for all weights.
        seed: of the masks.
        tied_embeddings: whether weights that a linear layer shares with an embedding become sparse.

    Raises:
        ValueError: if an argument is out of range, the model has no sparsifiable weights, or the optimizer holds none
            of them or needs a closure (LBFGS).
        TypeError: if ``optimizer`` is not a torch optimizer.
    """

    prune_fraction: float | None = None
    criterion: Criterion | None = None
    update_order: str = "before"

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        density: float = 0.1,
        distribution: str = "erk",
        momentum: str = "masked",
        seed: int = 0,
        tied_embeddings: bool = False,
    ) -> None:
        check_choice("momentum", momentum, ("masked", "dense"))
        check_integer("seed", seed, 0, "0 or more")
        self.momentum, self.seed = momentum, seed
        weights = list(linear_weights(model, tied_embeddings=tied_embeddings))
        if not weights:
            raise ValueError(
                f"{type(model).__name__} has no Linear or Conv layer, nor one register_linear was told of, whose "
                "weights could be sparse and are not frozen"
            )
        check_optimizer(optimizer, [weight for _, weight, _ in weights])
        self.optimizer = optimizer
        self._elementwise = inspect.unwrap(type(optimizer).step) in _ELEMENTWISE
        self.layers = make_sparse_layers(weights, density, distribution, generator(seed, "masks"))
        dense = dense_weights(model, tied_embeddings=tied_embeddings)
        self.dense_parameters = sum(weight.numel() for weight in dense.values())
        if dense:
            log.warning(describe_dense(model, dense))
        if isinstance(self.criterion, RunningCriterion):
            for layer in self.layers:
                layer.start_average()
        self.steps = self.first_step = 0

    def step(
        self, optimizer_step: Callable[[], object] | None = None, on_update: Callable[[], object] | None = None
    ) -> None:
        """Updates the topology if due and takes one optimizer step on the active weights; call after ``backward()``.

        Args:
            optimizer_step: called in place of ``optimizer.step``, such as ``lambda: scaler.step(optimizer)`` after
                ``scaler.unscale_(optimizer)``. The topology is updated even if the scaler skips the step.
            on_update: called right after a topology update.
        """
        update_due = self.update_due
        after = update_due and self.update_order == "after"
        self.count_step()
        self._average_scores()
        if after:
            self._step_and_keep_gradients(optimizer_step)
        if update_due:
            self.update()
            if on_update:
                on_update()
        if not after:
            self._masked_step(optimizer_step)

    @property
    def update_due(self) -> bool:
        """Whether the next :meth:`step` updates the topology."""
        return False

    def update(self) -> None:
        """Does nothing: the masks are static."""

    def count_step(self) -> None:
        """Counts a step taken without :meth:`step`, such as a CUDA graph replay."""
        self.steps += 1

    def masked_step(self, optimizer_step: Callable[[], object] | None = None) -> None:
        """Takes the optimizer step of :meth:`step` alone, without topology update or step count."""
        self._average_scores()
        self._masked_step(optimizer_step)

    def _step_and_keep_gradients(self, optimizer_step: Callable[[], object] | None) -> None:
        """Takes the optimizer step; a topology update after it finds the batch's gradients, of inactive weights too."""
        parameters = {layer.parameter for layer in self.layers}
        gradients = [(weight, weight.grad.clone()) for weight in parameters if weight.grad is not None]
        self._masked_step(optimizer_step)
        for weight, gradient in gradients:
            weight.grad = gradient

    def _average_scores(self) -> None:
        if isinstance(self.criterion, RunningCriterion):
            self._match_model()
            for layer in self.layers:
                if layer.parameter.grad is not None:
                    layer.add_to_average(self.criterion(layer.weight, layer.gradient), self.criterion.beta)

    def _masked_step(self, optimizer_step: Callable[[], object] | None) -> None:
        self._match_model()
        if self.momentum == "masked":  # without gradient, the optimizer state stays 0
            for layer in self.layers:
                layer.mask_gradient()
        (optimizer_step or self.optimizer.step)()
        if self.momentum == "dense" or not self._elementwise:
            for layer in self.layers:
                layer.mask_weight()

    def _match_model(self) -> None:
        """Moves the masks to the model's current device and bit width."""
        for layer in self.layers:
            layer.match_parameter()

    def _set_mask(self, layer: SparseLayer, mask: Tensor) -> None:
        layer.set_mask(mask)
        if self.momentum == "masked":
            for value in self.optimizer.state.get(layer.parameter, {}).values():
                if isinstance(value, Tensor) and value.shape == layer.parameter.shape:
                    layer.apply_mask(layer.slice_of(value))

    @property
    def masks(self) -> dict[str, Tensor]:
        """Bool masks of the active weights by parameter name, in the parameters' shapes."""
        return self._by_parameter(lambda layer: layer.mask)

    @property
    def density(self) -> float:
        """The active share of the sparsifiable weights."""
        return sum(layer.n_active for layer in self.layers) / sum(layer.weight.numel() for layer in self.layers)

    @property
    def model_density(self) -> float:
        """The active share of all parameters with two or more dimensions, including those that stay dense."""
        sparsifiable = sum(layer.weight.numel() for layer in self.layers)
        active = sum(layer.n_active for layer in self.layers)
        return (active + self.dense_parameters) / (sparsifiable + self.dense_parameters)

    def itop_ratio(self) -> float:
        """The share of sparsifiable weights active at least once (Liu et al., 2021); synchronizes with the device."""
        explored = torch.stack([layer.explored.sum() for layer in self.layers]).sum().item()
        return explored / sum(layer.weight.numel() for layer in self.layers)

    @torch.no_grad()
    def set_masks(self, masks: Mapping[str, Tensor]) -> None:
        """Makes ``masks`` the active weights; newly active ones start at 0, the values of the others stay.

        Args:
            masks: bool, by parameter name, of the parameters' shapes.
        """
        for layer in self.layers:
            mask = layer.slice_of(masks[layer.parameter_name])
            layer.n_active = int(mask.sum())
            self._set_mask(layer, mask.to(layer.mask.device))

    @torch.no_grad()
    def prune_to(
        self,
        density: float,
        criterion: Criterion | str = "magnitude",
        *,
        scope: str = "global",
        gradients: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Prunes the active weights with the lowest scores at once, so that N − ⌊(1 − D)·N⌋ of N weights are left.

        Args:
            density: D in (0, 1]; where no more weights are active already, nothing is pruned.
            criterion: scores the weights: an object or its name in the config group.
            scope: ``global``: D is that of all layers together; ``local``: of each layer.
            gradients: by parameter name, of the parameters' shapes; None: for a criterion that uses none.

        Raises:
            ValueError: for another scope or density, or a criterion that misses its gradients or averages over steps.
        """
        criterion = resolve("criterion", Criterion, criterion)
        check_choice("scope", scope, ("global", "local"))
        check_fraction("density", density, above_zero=True)
        if isinstance(criterion, RunningCriterion):
            name = type(criterion).__name__
            raise ValueError(f"criterion={name}: averages its scores over steps, of which pruning at once has none")
        if criterion.uses_gradient and gradients is None:
            raise ValueError(f"criterion={type(criterion).__name__}: scores by the gradients; give them")
        random = torch.Generator(self.layers[0].weight.device)
        random.manual_seed(stream_seed(self.seed, "growth", self.steps))
        for layers in [self.layers] if scope == "global" else [[layer] for layer in self.layers]:
            kept = kept_count(sum(layer.weight.numel() for layer in layers), density)
            count = max(0, sum(layer.n_active for layer in layers) - kept)
            given = [
                torch.zeros_like(layer.weight) if gradients is None else layer.slice_of(gradients[layer.parameter_name])
                for layer in layers
            ]
            scores = [criterion(layer.weight, grad, random) for layer, grad in zip(layers, given, strict=True)]
            for layer, mask in zip(layers, kept_masks(layers, criterion, scores, count), strict=True):
                self._set_mask(layer, mask)
                layer.n_active = int(mask.sum())

    def continue_from(self, previous: MaskedModel) -> None:
        """Takes over the masks and the step count of another training stretch of the same model.

        Random streams go by the step count, so they go on; update periods and schedules count from here.

        Args:
            previous: what kept the model sparse until now.
        """
        self.load_state_dict(previous.state_dict())
        self.first_step = self.steps

    @property
    def dense_gradients(self) -> str:
        """When gradients of inactive weights are needed: ``never``, at ``updates`` or at ``every`` step."""
        return "every" if self.momentum == "dense" else "never"

    def pop_updates(self) -> list[dict[str, Any]]:
        """Returns no records of topology updates."""
        return []

    def state_dict(self) -> dict[str, Any]:
        """Returns the state for a checkpoint: masks, explored weights, step count, averages of a running criterion."""
        averages = isinstance(self.criterion, RunningCriterion)
        return {
            "steps": self.steps,
            "first_step": self.first_step,
            "masks": self.masks,
            "explored": self._by_parameter(lambda layer: layer.explored),
            **({"averages": self._by_parameter(_average)} if averages else {}),
        }

    def _by_parameter(self, tensor_of: Callable[[SparseLayer], Tensor]) -> dict[str, Tensor]:
        """Returns a tensor of each layer by parameter name; those of packed weights are concatenated."""
        found: dict[str, list[Tensor]] = {}
        for layer in self.layers:
            found.setdefault(layer.parameter_name, []).append(tensor_of(layer))
        return {name: tensors[0] if len(tensors) == 1 else torch.cat(tensors) for name, tensors in found.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores :meth:`state_dict`; raises ValueError if it belongs to another model."""
        saved = {name: tuple(mask.shape) for name, mask in state["masks"].items()}
        current = {layer.parameter_name: tuple(layer.parameter.shape) for layer in self.layers}
        if saved != current:
            different = sorted(set(saved.items()) ^ set(current.items()))[0][0]
            raise ValueError(f"these masks are of another model: {different} does not match")
        self.steps, self.first_step = state["steps"], state.get("first_step", 0)
        averages = state.get("averages", {})
        for layer in self.layers:
            name = layer.parameter_name
            layer.restore(state["masks"][name], state["explored"][name], averages.get(name))


def _average(layer: SparseLayer) -> Tensor:
    assert layer.average is not None
    return layer.average
