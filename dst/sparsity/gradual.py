"""Gradual pruning: dense at first, then fewer and fewer active weights, none ever grown (Zhu & Gupta, 2017)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dst.seeds import stream_seed
from dst.sparsity.checks import check_choice, check_fraction, check_integer
from dst.sparsity.criteria import Criterion
from dst.sparsity.distribution import kept_count, layer_densities
from dst.sparsity.layer import SparseLayer
from dst.sparsity.masked import MaskedModel
from dst.sparsity.one_shot import kept_masks
from dst.sparsity.registry import resolve
from dst.sparsity.scores import effective_normalisation, layer_scores
from dst.sparsity.weights import Patterns


class GradualPruning(MaskedModel):
    """Prunes a dense model while it trains, until its density is D.

    At steps Δt, 2Δt, … the weights with the lowest scores go, so that the density is D + (1 − D)(1 − τ)³, where τ runs
    from 0 at ``start_step`` to 1 at ``stop_step``. The last update comes at the first of these steps at or after
    ``stop_step``; where the training has none left by then, at its last step. Counts are rounded as those of drawn
    masks, so the model ends with exactly the weights that :class:`~dst.sparsity.MaskedModel` would have.

    Args:
        model: on its final device; see :class:`~dst.sparsity.DynamicSparsity`.
        optimizer: any torch optimizer over the model's parameters.
        density: the density D at the end, in (0, 1].
        distribution: how D is spread over the layers, see :func:`~dst.sparsity.layer_densities`; scores compete within
            a layer. With ``scope="global"`` they compete across all layers, and this has no effect.
        criterion: what to prune: an object or its name in the config group.
        update_period: Δt in optimizer steps.
        total_steps: optimizer steps of the whole training.
        start: when pruning begins, as a share of ``total_steps``.
        stop: when D is reached, as a share of ``total_steps``.
        scope: ``local`` or ``global``.
        normalise: see :class:`~dst.sparsity.DynamicSparsity`.
        update_order: likewise.
        momentum: see :class:`~dst.sparsity.DynamicSparsity`.
        seed: of the criterion ``random``.
        include: glob patterns of the parameters that become sparse, see :func:`~dst.sparsity.sparsifiable_weights`.
        exclude: glob patterns of those that stay dense.

    Raises:
        ValueError: for values outside these, and as :class:`~dst.sparsity.MaskedModel`.
        TypeError: for a criterion or optimizer that is none.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        density: float = 0.1,
        distribution: str = "erk",
        criterion: Criterion | str = "magnitude",
        update_period: int = 100,
        total_steps: int,
        start: float = 0.25,
        stop: float = 0.75,
        scope: str = "local",
        normalise: str = "none",
        update_order: str = "before",
        momentum: str = "masked",
        seed: int = 0,
        include: Patterns = None,
        exclude: Patterns = None,
    ) -> None:
        self.criterion: Criterion = resolve("criterion", Criterion, criterion)
        if self.criterion.signal != "gradient":
            raise ValueError(
                f"criterion={type(self.criterion).__name__}: gradual pruning scores by the batch's gradient"
            )
        check_choice("scope", scope, ("local", "global"))
        check_choice("update_order", update_order, ("before", "after"))
        check_fraction("density", density, above_zero=True)
        check_fraction("start", start)
        check_fraction("stop", stop)
        check_integer("total_steps", total_steps, 1, "1 step or more")
        check_integer("update_period", update_period, 1, "1 step or more")
        if not start < stop:
            raise ValueError(f"start={start!r}: must be below stop={stop!r}")
        shared: dict[str, Any] = {"momentum": momentum, "seed": seed, "include": include, "exclude": exclude}
        super().__init__(model, optimizer, density=1.0, distribution="uniform", **shared)
        self.update_period, self.scope, self.update_order = update_period, scope, update_order
        self.normalise = effective_normalisation(normalise, scope)
        self.start_step, self.stop_step = round(start * total_steps, 6), round(stop * total_steps, 6)
        self.last_step = min(total_steps, -(-self.stop_step // update_period) * update_period)
        sizes = [layer.weight.numel() for layer in self.layers]
        if scope == "global":
            self._kept = [kept_count(sum(sizes), density)]
        else:
            densities = layer_densities([layer.weight.shape for layer in self.layers], density, distribution)
            self._kept = [max(1, round(share * size)) for share, size in zip(densities, sizes, strict=True)]
        self.updates: list[dict[str, Any]] = []
        self._generator = torch.Generator(self.layers[0].weight.device)

    @property
    def update_due(self) -> bool:
        """Whether the coming :meth:`step` prunes."""
        step = self.steps + 1 - self.first_step
        return self.start_step <= step <= self.last_step and (step % self.update_period == 0 or step == self.last_step)

    def density_left(self, step: int) -> float:
        """Returns (1 − τ)³ at a step counted from 1: the share of what is to be pruned that is still active."""
        progress = (step - self.start_step) / (self.stop_step - self.start_step)
        return float((1 - min(1.0, max(0.0, progress))) ** 3)

    @torch.no_grad()
    def update(self) -> None:
        """Prunes now, at the current weights and gradients."""
        self._match_model()
        self._generator.manual_seed(stream_seed(self.seed, "growth", self.steps))
        left = self.density_left(self.steps - self.first_step)
        groups = [self.layers] if self.scope == "global" else [[layer] for layer in self.layers]
        before = self.density
        counts: dict[str, dict[str, Any]] = {}
        for layers, kept in zip(groups, self._kept, strict=True):
            size = sum(layer.weight.numel() for layer in layers)
            active = sum(layer.n_active for layer in layers)
            self._prune(layers, max(0, active - (kept + round(left * (size - kept)))), counts)
        fraction = 1 - self.density / before
        self.updates.append({"step": self.steps, "prune_fraction": fraction, "layers": counts})

    def _prune(self, layers: list[SparseLayer], count: int, counts: dict[str, dict[str, Any]]) -> None:
        """Prunes ``count`` weights of the layers together; the host then reads how many are left in each."""
        scores = [
            layer_scores(self.criterion, layer, _gradient(layer), self._generator, self.normalise) for layer in layers
        ]
        kept = kept_masks(layers, self.criterion, scores, count)
        for layer, mask in zip(layers, kept, strict=True):
            before = layer.n_active
            self._set_mask(layer, mask)
            layer.n_active = int(mask.sum())
            counts[layer.name] = {"active": layer.n_active, "pruned": before - layer.n_active, "grown": 0}

    def pop_updates(self) -> list[dict[str, Any]]:
        """Returns and forgets the records of the updates since the last call, see :class:`DynamicSparsity`."""
        updates, self.updates = self.updates, []
        return updates


def _gradient(layer: SparseLayer) -> Tensor:
    """Returns the gradient of a layer; 0 where the loss does not depend on it."""
    return torch.zeros_like(layer.weight) if layer.parameter.grad is None else layer.gradient
