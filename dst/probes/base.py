"""The interface of a probe, and what it is shown of a training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from dst.errors import UserError
from dst.sparsity import Criterion

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class View:
    """A training at one step: after backward, before the topology update and the optimizer step.

    Attributes:
        step: of the optimizer, from 1, as in ``topology.jsonl``.
        epoch: under way, from 1.
        model: in training mode; each ``grad`` is the batch's own, unscaled, of inactive weights too.
        weights: the sparsifiable weights by parameter name; inactive ones are 0.
        masks: bool, the active weights by parameter name; empty for a dense run.
        criterion: decides what is pruned; None for dense and static runs.
        would_prune: returns the weights that the topology update due now prunes, bool, by parameter name: by the run's
            own criterion (None) or another one. None where none is due, or where it prunes by no prune fraction.
        loss: of the batch, a scalar; None before the first step.
        loss_of: returns the mean loss of logits ``(batch, outputs)`` and labels ``(batch,)``.
        samples: number of samples of the training split.
        sample: yields batches ``(x, y)`` of the first ``n`` samples of the training split, in the order of the dataset
            and without augmentation; of the size of a training batch, the last one may be smaller.
        memory: what :meth:`Probe.start` returned; the probe may change it, checkpoints hold it. Empty where the probe
            was added to a run under way.
    """

    step: int
    epoch: int
    model: nn.Module
    weights: Mapping[str, nn.Parameter]
    masks: Mapping[str, Tensor]
    criterion: Criterion | None
    would_prune: Callable[[Criterion | None], Mapping[str, Tensor]] | None
    loss: Tensor | None
    loss_of: Callable[[Tensor, Tensor], Tensor]
    samples: int
    sample: Callable[[int], Iterator[Batch]]
    memory: dict[str, Tensor]


@dataclass(frozen=True)
class Probe:
    """Measures at the first step and at every multiple of ``every``; the fields are the keys of its YAML file.

    Batch-norm statistics, training mode and random state are restored after each measurement, and random numbers come
    from a stream of the probe's own. A probe must not change weights or their ``grad``: it computes gradients with
    ``torch.autograd.grad``.

    Attributes:
        name: its key in ``probes`` and the name of its log, ``probes/<name>.jsonl``.
        every: period in optimizer steps.
    """

    name: str
    every: int = 100

    of_updates: ClassVar[bool] = False
    """Whether what it measures is a topology update, whose state it must see before the optimizer step."""

    after_updates: ClassVar[bool] = False
    """Whether it measures after a topology update too, by :meth:`measure_update`, where it did before it."""

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"probes.{self.name}.every={self.every}: must be 1 step or more")

    def due(self, step: int, update: int) -> bool:
        """Whether to measure at a step.

        Args:
            step: from 1.
            update: how many update periods of the phase end with it, if it updates the topology; else 0.
        """
        return step == 1 or step % self.every == 0

    def start(self, view: View) -> dict[str, Tensor]:
        """Returns what the probe has to remember, by default nothing; called before the first step.

        Raises:
            UserError: for a setting that this run does not allow.
        """
        return {}

    def measure(self, view: View) -> dict[str, Any]:
        """Returns measures by name: those of the whole network, and ``layers``, the same of each layer by name.

        They are scalars or lists; tensors may stay on the device: they are read when the epoch is logged, bool ones as
        :func:`~dst.probes.bits.to_text` has them.
        """
        raise NotImplementedError

    def measure_update(self, view: View, before: Mapping[str, Any]) -> dict[str, Any]:
        """Returns further measures right after a topology update, before the optimizer step; by default none.

        Args:
            view: with the new masks; newly grown weights are 0.
            before: what :meth:`measure` returned right before the update.
        """
        return {}


def check_sample(probe: Probe, sample: int, view: View) -> None:
    """Checks that the training split has as many samples as a probe measures on.

    Args:
        probe: with the key ``sample``.
        sample: its value.
        view: of the training.

    Raises:
        UserError: if it has fewer.
    """
    if sample > view.samples:
        raise UserError(
            f"probes.{probe.name}.sample={sample}: the training split has {view.samples} samples; give "
            f"{view.samples} or fewer"
        )
