"""Loss and accuracy, summed on the device."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from dst import ranks
from dst.config import RecipeConfig


def loss_of(logits: Tensor, y: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Returns the mean cross-entropy; the binary one for a single logit.

    Args:
        logits: ``(batch, outputs)``.
        y: int64 labels ``(batch,)``.
        label_smoothing: ε: targets are (1 − ε) of the label and ε of a uniform distribution (Szegedy et al., 2016).
    """
    if logits.shape[1] > 1:
        return F.cross_entropy(logits, y, label_smoothing=label_smoothing)
    target = y.to(logits.dtype)
    if label_smoothing:
        target = (1 - label_smoothing) * target + label_smoothing / 2
    return F.binary_cross_entropy_with_logits(logits[:, 0], target)


def training_loss(recipe: RecipeConfig) -> Callable[[Tensor, Tensor], Tensor]:
    """Returns the loss that a recipe trains by: :func:`loss_of` with its label smoothing."""
    return partial(loss_of, label_smoothing=recipe.label_smoothing)


@dataclass
class RunningMetrics:
    """Loss and correct predictions, summed on the device; only :meth:`means` synchronises with the host."""

    device: torch.device
    samples: Tensor = field(init=False)
    loss: Tensor = field(init=False)
    correct: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.loss = torch.zeros((), device=self.device)
        self.samples, self.correct = (torch.zeros((), dtype=torch.int64, device=self.device) for _ in range(2))

    def add(self, loss: Tensor, logits: Tensor, y: Tensor) -> None:
        """Adds a batch.

        Args:
            loss: its mean loss, a scalar.
            logits: ``(batch, outputs)``.
            y: int64 labels ``(batch,)``.
        """
        self.samples.add_(len(y))
        self.loss.add_(loss.detach(), alpha=len(y))
        predicted = (logits[:, 0] > 0).long() if logits.shape[1] == 1 else logits.argmax(dim=1)
        self.correct.add_((predicted == y).sum())

    def means(self) -> tuple[float, float]:
        """Returns the mean loss and the accuracy, NaN for no samples."""
        samples = int(self.samples.item())
        if not samples:
            return math.nan, math.nan
        return self.loss.item() / samples, self.correct.item() / samples

    def pop_means(self) -> tuple[float, float]:
        """Returns :meth:`means` over the shares of all processes and resets the sums, in place."""
        ranks.add_up(self.state_dict().values())
        means = self.means()
        self.reset()
        return means

    def collect(self) -> None:
        """Moves the sums of all processes into the first one's."""
        ranks.add_up(self.state_dict().values())
        if ranks.rank():
            self.reset()

    def reset(self) -> None:
        """Sets the sums to 0, in place."""
        for total in self.state_dict().values():
            total.zero_()

    def state_dict(self) -> dict[str, Tensor]:
        """The sums so far."""
        return {"samples": self.samples, "loss": self.loss, "correct": self.correct}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continues from :meth:`state_dict`."""
        for name, total in self.state_dict().items():
            total.copy_(state[name])
