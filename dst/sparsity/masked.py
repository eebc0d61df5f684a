"""A model whose inactive weights stay zero while any optimizer trains it: the masks, without topology updates."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dst.seeds import generator
from dst.sparsity.checks import check_choice, check_optimizer, check_whole
from dst.sparsity.layer import SparseLayer, draw_layers
from dst.sparsity.weights import dense_weights, describe_dense, linear_maps

log = logging.getLogger("dst")

_ELEMENTWISE = [inspect.unwrap(kind.step) for kind in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW)]
"""Steps known to leave a weight of 0 at 0 without gradient and state; not so Muon's, which mixes the gradients."""


class MaskedModel:
    """Draws the masks of a model and keeps every inactive weight at exactly 0 after each optimizer step.

    This alone is static sparse training; :class:`~dst.sparsity.DynamicSparsity` adds topology updates.

    Args:
        model: on its final device; see :class:`~dst.sparsity.DynamicSparsity` for this and the other arguments.
        optimizer: any torch optimizer over the model's parameters.
        density: overall density D in (0, 1].
        distribution: how D is spread over the layers, see :func:`~dst.sparsity.layer_densities`.
        momentum: ``masked``: inactive weights have no optimizer state, or ``dense``: it goes on for them.
        seed: of the masks.
        tied_embeddings: whether a linear layer's weight that is an embedding's too becomes sparse.

    Raises:
        ValueError: for values outside these, a model without a layer whose weights could be sparse, an optimizer of
            another model or one whose step needs a closure (LBFGS).
        TypeError: for an optimizer that is none.
    """

    prune_fraction: float | None = None

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
        check_whole("seed", seed, 0, "0 or more")
        self.momentum, self.seed = momentum, seed
        maps = list(linear_maps(model, tied_embeddings=tied_embeddings))
        if not maps:
            raise ValueError(
                f"{type(model).__name__} has no Linear or Conv layer, nor one register_linear was told of, whose "
                "weights could be sparse and are not frozen"
            )
        check_optimizer(optimizer, [weight for _, weight, _ in maps])
        self.optimizer = optimizer
        self._elementwise = inspect.unwrap(type(optimizer).step) in _ELEMENTWISE
        self.layers = draw_layers(maps, density, distribution, generator(seed, "masks"))
        dense = dense_weights(model, tied_embeddings=tied_embeddings)
        self.dense_parameters = sum(weight.numel() for weight in dense.values())
        if dense:
            log.warning(describe_dense(model, dense))
        self.steps = self.first_step = 0

    def step(self, take: Callable[[], object] | None = None) -> None:
        """Takes one optimizer step on the active weights, after a topology update if one is due; call after backward.

        Args:
            take: what takes the step in place of ``optimizer.step()``, such as ``lambda: scaler.step(optimizer)`` after
                ``scaler.unscale_(optimizer)``. An update that is due comes even where the scaler skips the step.
        """
        update_due = self.update_due
        self.count_step()
        if update_due:
            self.update()
        self.masked_step(take)

    @property
    def update_due(self) -> bool:
        """Whether the coming :meth:`step` updates the topology."""
        return False

    def update(self) -> None:
        """Leaves the masks as they are."""

    def count_step(self) -> None:
        """Counts a step that is not taken by :meth:`step`, as where a recorded one is replayed."""
        self.steps += 1

    def masked_step(self, take: Callable[[], object] | None = None) -> None:
        """Takes the part of :meth:`step` that is the same every time: no update, nothing counted."""
        self._follow()
        if self.momentum == "masked":  # no gradient, so no optimizer state
            for layer in self.layers:
                layer.mask_gradient()
        (take or self.optimizer.step)()
        if self.momentum == "dense" or not self._elementwise:
            for layer in self.layers:
                layer.mask_weight()

    def _follow(self) -> None:
        """Moves the masks to the device and type that the model has now."""
        for layer in self.layers:
            layer.follow()

    def _set_mask(self, layer: SparseLayer, mask: Tensor) -> None:
        layer.set_mask(mask)
        if self.momentum == "masked":
            for value in self.optimizer.state.get(layer.parameter, {}).values():
                if isinstance(value, Tensor) and value.shape == layer.parameter.shape:
                    layer.apply_mask(layer.own(value))

    @property
    def masks(self) -> dict[str, Tensor]:
        """The bool masks of the active weights by parameter name, of the parameters' shapes."""
        return self._whole("mask")

    @property
    def density(self) -> float:
        """The share of the sparsifiable weights that is active now."""
        return sum(layer.n_active for layer in self.layers) / sum(layer.weight.numel() for layer in self.layers)

    @property
    def model_density(self) -> float:
        """:attr:`density` over all parameters of two or more dimensions, those that stay dense included."""
        sparsifiable = sum(layer.weight.numel() for layer in self.layers)
        active = sum(layer.n_active for layer in self.layers)
        return (active + self.dense_parameters) / (sparsifiable + self.dense_parameters)

    def itop_ratio(self) -> float:
        """The share of the sparsifiable weights ever active so far (Liu et al., 2021); reads from the device."""
        explored = torch.stack([layer.explored.sum() for layer in self.layers]).sum().item()
        return explored / sum(layer.weight.numel() for layer in self.layers)

    @torch.no_grad()
    def set_masks(self, masks: Mapping[str, Tensor]) -> None:
        """Makes ``masks`` the active weights, the only ones ever active so far; the values of active weights stay.

        Args:
            masks: bool, by parameter name, of the parameters' shapes.
        """
        for layer in self.layers:
            layer.restore(masks[layer.parameter_name], masks[layer.parameter_name])

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
        return "every" if self.momentum == "dense" else "never"  # dense: the state goes on for inactive weights

    def pop_updates(self) -> list[dict[str, Any]]:
        """Returns no records of updates."""
        return []

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs to continue: masks, explored weights, step count."""
        return {
            "steps": self.steps,
            "first_step": self.first_step,
            "masks": self.masks,
            "explored": self._whole("explored"),
        }

    def _whole(self, attribute: str) -> dict[str, Tensor]:
        """Returns a bool tensor of the layers by parameter name; of parts, in one."""
        whole: dict[str, list[Tensor]] = {}
        for layer in self.layers:
            whole.setdefault(layer.parameter_name, []).append(getattr(layer, attribute))
        return {name: parts[0] if len(parts) == 1 else torch.cat(parts) for name, parts in whole.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from :meth:`state_dict`; raises ValueError for one of another model."""
        theirs = {name: tuple(mask.shape) for name, mask in state["masks"].items()}
        ours = {layer.parameter_name: tuple(layer.parameter.shape) for layer in self.layers}
        if theirs != ours:
            different = sorted(set(theirs.items()) ^ set(ours.items()))[0][0]
            raise ValueError(f"these masks are of another model: {different} does not match")
        self.steps, self.first_step = state["steps"], state.get("first_step", 0)
        for layer in self.layers:
            layer.restore(state["masks"][layer.parameter_name], state["explored"][layer.parameter_name])
