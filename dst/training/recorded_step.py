"""Training steps by replay: the step of a :class:`~dst.training.loop.Training` as a recorded CUDA graph."""

from __future__ import annotations

from torch import Tensor

from dst.training.device import make_scaler
from dst.training.loop import Training
from dst.training.step_graph import Recorder, StepGraph


class RecordedStep:
    """Takes the steps of a training by replay where it can: not those with a topology update or of another batch size.

    Holds no reference to the training, whose memory is then free as soon as nothing else does.

    Args:
        recorder: of the device that takes the steps.
        deterministic: whether equal steps lead to equal bits.
    """

    def __init__(self, recorder: Recorder, *, deterministic: bool) -> None:
        self.graph = StepGraph(recorder, deterministic=deterministic)

    def replay(self, training: Training, raw: Tensor, y: Tensor) -> bool:
        """Takes a step of the training; returns False, with nothing done, where it cannot be replayed.

        Args:
            training: the same one at every call.
            raw, y: what the batch is made from and its labels, see :meth:`Training.take_step`.
        """
        if training.sparsity.update_due:
            return False
        was_impossible = self.graph.impossible

        def step(raw: Tensor, y: Tensor) -> None:
            training.take_step(raw, y, training.sparsity.masked_step)

        taken = self.graph.take(step, lambda: _changed_by_step(training), raw, y)
        if self.graph.impossible > was_impossible:  # the scaler may have been left in the middle of a step
            training.scaler = make_scaler(training.precision, training.device, training.scaler.state_dict())
        if taken:
            training.sparsity.count_step()
        return taken

    def forget(self) -> None:
        """Drops the recording, as one must where a tensor of the training's state has moved; another one is made."""
        self.graph.forget()


def _changed_by_step(training: Training) -> list[Tensor]:
    """Returns every tensor that a step changes."""
    states = (*training.optimizer.state.values(), vars(training.scaler), training.metrics.state_dict())
    values = (value for state in states for value in state.values() if isinstance(value, Tensor))
    averages = (layer.average for layer in training.sparsity.layers if layer.average is not None)
    return [*training.model.parameters(), *training.model.buffers(), *values, *averages]
