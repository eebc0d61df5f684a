"""Takes the measurements of probes, and leaves the training as it found it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dst.probes.base import Batch, Probe, View
from dst.probes.bits import to_text
from dst.sparsity import DynamicSparsity, sparsifiable_weights
from dst.undisturbed import undisturbed

if TYPE_CHECKING:
    from dst.training.loop import Training

Records = dict[str, list[dict[str, Any]]]
"""The lines of each probe's log, by the probe's name."""


class Observer:
    """The probes of a training and what they measured since it was last logged.

    Args:
        probes: with different names.
        training: at its first step.
        loss_of: returns the mean loss of logits and labels.
        seed: of the run; each measurement has a random stream of its own.

    Raises:
        UserError: for a setting of a probe that the training does not allow.
    """

    def __init__(
        self, probes: Sequence[Probe], training: Training, loss_of: Callable[[Tensor, Tensor], Tensor], *, seed: int
    ) -> None:
        self._probes, self._loss_of, self._seed = probes, loss_of, seed
        self._device = training.device
        self._samples: dict[int, Batch] = {}
        self._memories: dict[str, dict[str, Tensor]] = {}
        self._records: Records = {probe.name: [] for probe in probes}
        for probe in probes:
            with self._undisturbed(probe, training):
                self._memories[probe.name] = probe.start(self._view(probe, training, None))

    def due(self, training: Training) -> bool:
        """Whether any probe measures at the step under way."""
        return any(_due(probe, training) for probe in self._probes)

    def observe(self, training: Training, loss: Tensor) -> None:
        """Takes the measurements due at the step under way; does not synchronise with the host.

        Args:
            training: after backward, before the topology update and the optimizer step.
            loss: of the batch.
        """
        for probe in self._probes:
            if _due(probe, training):
                view = self._view(probe, training, loss)
                with self._undisturbed(probe, training):
                    measures = probe.measure(view)
                self._records[probe.name].append({"step": view.step, "epoch": view.epoch, **measures})

    def observe_update(self, training: Training) -> None:
        """Takes the measurements that follow a topology update.

        Args:
            training: right after it, before the optimizer step.
        """
        for probe in self._probes:
            if probe.after_updates:
                record = self._records[probe.name][-1]
                with self._undisturbed(probe, training):
                    record.update(probe.measure_update(self._view(probe, training, None), record))

    def pop_records(self) -> Records:
        """Returns and clears what was measured, read back from the device."""
        records, self._records = self._records, {name: [] for name in self._records}
        return {name: [_read(record) for record in found] for name, found in records.items() if found}

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """Returns what each probe remembers; tensors are shared, not copied."""
        return self._memories

    def load_state_dict(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Continues from :meth:`state_dict`; a probe that it lacks, added to a run under way, remembers nothing."""
        for name in self._memories:
            self._memories[name] = {key: value.to(self._device) for key, value in state.get(name, {}).items()}

    def _view(self, probe: Probe, training: Training, loss: Tensor | None) -> View:
        train = training.data.train
        samples, _ = train.sizes
        sparsity = training.sparsity

        def sample(n: int) -> Iterator[Batch]:
            if n not in self._samples:
                self._samples[n] = train.raw_sample(n)
            yield from train.split(*self._samples[n])

        return View(
            step=training.step + 1,
            epoch=training.epoch + 1,
            model=training.model,
            weights=sparsifiable_weights(training.model),
            masks=sparsity.masks,
            criterion=getattr(sparsity, "criterion", None),
            would_prune=sparsity.would_prune if isinstance(sparsity, DynamicSparsity) and sparsity.update_due else None,
            loss=loss,
            loss_of=self._loss_of,
            samples=samples,
            sample=sample,
            memory=self._memories.get(probe.name, {}),
        )

    def _undisturbed(self, probe: Probe, training: Training) -> AbstractContextManager[None]:
        return undisturbed(training.model, self._seed, "probe", probe.name, training.step + 1)


def _due(probe: Probe, training: Training) -> bool:
    return probe.due(training.step + 1, _update(training.sparsity))


def _update(sparsity: Any) -> int:
    """Returns how many update periods end with the step under way, 0 where it updates no topology."""
    return math.ceil((sparsity.steps + 1 - sparsity.first_step) / sparsity.update_period) if sparsity.update_due else 0


def _read(value: Any) -> Any:
    """Returns a measure with its tensors as plain numbers."""
    if isinstance(value, Mapping):
        return {str(key): _read(item) for key, item in value.items()}
    if isinstance(value, Tensor):
        return to_text(value) if value.dtype == torch.bool else value.tolist()
    return value
