"""RigL's growth gradient from training samples held for it, in place of the batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dst.config import Config
from dst.data.batches import Batch, TrainLoader
from dst.errors import UserError
from dst.tasks import training_loss
from dst.undisturbed import mean_gradient, undisturbed


class GrowthGradient:
    """The gradient of the training loss over a fixed sample, in training mode and float32.

    The sample are the training samples n + 1 to 2n in the order of the dataset, not augmented: the first n are those of
    the probe ``gradient_flow`` (Evci et al., 2022, whose code has n = 1,000). They pass through the model in batches of
    the training's size. λθ is added for parameters that the optimizer decays by λ, also where the optimizer (AdamW)
    keeps the decay out of the gradient; it only matters for weights pruned in the same update, as others are 0.

    Args:
        model: in training; unchanged afterwards, as are the random state and each ``grad``.
        optimizer: of the model's parameters.
        train: whose samples are taken.
        loss_of: returns the mean loss of logits and labels.
        sample: the number n.
        seed: of the run; each update has a random stream of its own.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        train: TrainLoader,
        loss_of: Callable[[Tensor, Tensor], Tensor],
        *,
        sample: int,
        seed: int,
    ) -> None:
        self._model, self._optimizer, self._train, self._loss_of = model, optimizer, train, loss_of
        self._size, self._seed = sample, seed
        self._held: Batch | None = None

    @torch.no_grad()
    def __call__(self, step: int) -> dict[str, Tensor]:
        """Returns the gradient by parameter name.

        Args:
            step: of the topology update.
        """
        with undisturbed(self._model, self._seed, "growth sample", step):
            if self._held is None:
                self._held = self._train.raw_sample(self._size, start=self._size)
            gradients = mean_gradient(self._model, self._train.split(*self._held), self._size, self._loss_of)
        decay = {weight: group["weight_decay"] for group in self._optimizer.param_groups for weight in group["params"]}
        for name, weight in self._model.named_parameters():
            if name in gradients:
                gradients[name].add_(weight, alpha=decay.get(weight, 0.0))
        return gradients


def make_growth_gradient(
    config: Config, model: nn.Module, optimizer: Optimizer, train: TrainLoader
) -> GrowthGradient | None:
    """Returns what computes the gradient of ``growth.sample``; None where weights are grown by the batch's.

    Args:
        config: checked.
        model: on its final device.
        optimizer: over the model's parameters.
        train: whose samples are taken.
    """
    if not (size := config.growth.get("sample")):
        return None
    return GrowthGradient(model, optimizer, train, training_loss(config), sample=size, seed=config.seed)


def check_growth_sample(config: Config, samples: int) -> None:
    """Raises UserError if the training split is too small for ``growth.sample``.

    Args:
        config: checked.
        samples: of the training split.
    """
    size = config.growth.get("sample")
    if config.method == "dst" and size and 2 * size > samples:
        raise UserError(
            f"growth.sample={size}: takes the training samples {size + 1} to {2 * size}, the training split of "
            f"dataset={config.dataset.name} has {samples}; give {samples // 2} or fewer"
        )
