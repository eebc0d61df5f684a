"""Gradients of topology updates from other samples than the batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from torch import Tensor, nn
from torch.optim import Optimizer

from dst.config import Config
from dst.data.batches import Batch, TrainLoader
from dst.errors import UserError
from dst.sparsity import DynamicSparsity
from dst.sparsity.hessian_gradient import hessian_gradient
from dst.sparsity.weights import sparsifiable_weights
from dst.tasks import training_loss
from dst.training.growth_gradient import make_growth_gradient
from dst.training.loop import Sparsity
from dst.undisturbed import mean_gradient, undisturbed


class UpdateGradient:
    """The gradient of the training loss over other training samples at each update, in training mode and float32.

    They are drawn anew at each update, without replacement, and augmented; they pass through the model in batches of
    the training's size, which batch norm normalises one by one.

    Args:
        model: in training; unchanged afterwards, as are the random state and each ``grad``.
        train: whose samples are drawn.
        loss_of: returns the mean loss of logits and labels.
        size: number of samples.
        seed: of the run; each update has a random stream of its own.
    """

    def __init__(
        self,
        model: nn.Module,
        train: TrainLoader,
        loss_of: Callable[[Tensor, Tensor], Tensor],
        *,
        size: int,
        seed: int,
    ) -> None:
        self._model, self._train, self._loss_of, self._size, self._seed = model, train, loss_of, size, seed

    def __call__(self, step: int) -> dict[str, Tensor]:
        """Returns the gradient by parameter name.

        Args:
            step: of the topology update.
        """
        with undisturbed(self._model, self._seed, "update batch", step):
            return mean_gradient(self._model, self._batches(step), self._size, self._loss_of)

    def _batches(self, step: int) -> Iterator[Batch]:
        left = self._size
        for raw, y in self._train.raw_batches(-1 - step):  # an epoch that no training sees, nor SCORED_EPOCH
            yield self._train.make_batch(raw[:left], y[:left])
            left -= len(y)
            if left <= 0:
                return

    def hessian_gradient(self, weights: Mapping[str, nn.Parameter], step: int, temperature: float) -> dict[str, Tensor]:
        """Returns the Hessian of that loss times its gradient, summed over the batches, by name.

        Args:
            weights: by which both are taken.
            step: of the topology update.
            temperature: divides the logits.
        """
        with undisturbed(self._model, self._seed, "update batch", step):
            batches = list(self._batches(step))
            return hessian_gradient(self._model, weights, batches, self._loss_of, temperature)


def update_gradients(
    config: Config, model: nn.Module, optimizer: Optimizer, train: TrainLoader
) -> dict[str, Callable[..., dict[str, Tensor]] | None]:
    """Returns the gradients that :class:`dst.sparsity.DynamicSparsity` takes in place of the batch's, by argument.

    Args:
        config: checked.
        model: on its final device.
        optimizer: over the model's parameters.
        train: whose samples are taken.
    """
    size = config.sparsity.update_batch_size or config.recipe.batch_size
    drawn = UpdateGradient(model, train, training_loss(config), size=size, seed=config.seed)
    weights = sparsifiable_weights(model, **config.chosen_weights)
    return {
        "growth_gradient": make_growth_gradient(config, model, optimizer, train),
        "update_gradient": drawn if config.sparsity.update_batch_size else None,
        "hessian_gradient": partial(drawn.hessian_gradient, weights),
    }


def samples_beside(config: Config, sparsity: Sparsity) -> tuple[int, int]:
    """Returns how many samples besides the batch an update takes gradients of: of the active weights alone, and of all.

    The Hessian times the gradient counts as four gradients: one, and a second one that is differentiated again.

    Args:
        config: checked.
        sparsity: of the run.
    """
    if not isinstance(sparsity, DynamicSparsity):
        return 0, 0
    size, held = config.sparsity.update_batch_size or 0, config.growth.get("sample") or 0
    if sparsity.criterion.signal == "hessian_gradient":
        grown_by = held or (size if sparsity.growth.signal == "gradient" else 0)
        return 0, grown_by + 4 * (size or config.recipe.batch_size)
    if sparsity.growth.signal == "gradient" and not held:
        return 0, size
    return size if sparsity.criterion.uses_gradient else 0, held


def check_update_batch(config: Config, samples: int) -> None:
    """Raises UserError where ``sparsity.update_batch_size`` cannot be.

    Args:
        config: checked.
        samples: of the training split.
    """
    size = config.sparsity.update_batch_size
    if size and config.method == "gradual":
        raise UserError(f"sparsity.update_batch_size={size}: procedure=gradual prunes by the batch; leave it null")
    if size and config.method == "dst" and size > samples:
        raise UserError(
            f"sparsity.update_batch_size={size}: the training split of dataset={config.dataset.name} has {samples} "
            f"samples; give {samples} or fewer"
        )
