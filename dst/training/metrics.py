"""Loss and accuracy, summed on the device."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from dst import ranks


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

    def add(self, loss: Tensor, correct: Tensor, samples: int) -> None:
        """Adds a batch.

        Args:
            loss: its mean loss, a scalar.
            correct: the number of its correct predictions, an integer scalar.
            samples: their number.
        """
        self.samples.add_(samples)
        self.loss.add_(loss.detach(), alpha=samples)
        self.correct.add_(correct)

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
