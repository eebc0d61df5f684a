"""A training step recorded once as a CUDA graph and replayed: one launch in place of hundreds.

The step of a small model is a hundred kernels of a few microseconds each, which the host launches more slowly than the
GPU computes them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import torch
from torch import Tensor

log = logging.getLogger("dst")

WARM_UP = 3
"""Ordinary steps on equal shapes before one is recorded: they allocate and choose what is allocated and chosen once."""

_TOLERANCE = 1e-2
"""By how much a replayed step may differ, relative to the ordinary one, in a run that is not deterministic."""


class Recorder(Protocol):
    """What can record work on a device."""

    def rehearsal(self) -> AbstractContextManager[object]:
        """In here work is done where it will be recorded."""

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Returns what does ``work`` again, on the same memory; raises RuntimeError where that is not possible."""

    def random_state(self) -> Tensor:
        """Returns the state of the random numbers that work draws."""

    def set_random_state(self, state: Tensor) -> None:
        """Takes the random numbers back to a state."""


class StepGraph:
    """Takes training steps by replaying a recorded one.

    The recording is made after a few ordinary steps and believed once it led to the same numbers as an ordinary step
    from the same state, bit for bit in a deterministic run. Whatever stands in its way, the steps are taken one kernel
    at a time and the log says why.

    Args:
        recorder: of the device that takes the steps.
        deterministic: whether equal steps lead to equal bits.
    """

    def __init__(self, recorder: Recorder, *, deterministic: bool) -> None:
        self._recorder, self._deterministic = recorder, deterministic
        self.forget()

    def forget(self) -> None:
        """Drops the recording, as one must where a tensor of the state has moved; another one will be made."""
        self._inputs: list[Tensor] = []
        self._replay: Callable[[], None] | None = None
        self._shape, self._warmth = torch.Size(), 0
        self.impossible = False

    @property
    def recorded(self) -> bool:
        """Whether steps are replayed."""
        return self._replay is not None

    def take(self, step: Callable[..., None], state: Callable[[], list[Tensor]], *inputs: Tensor) -> bool:
        """Takes a step and returns True; False where it has to be taken the ordinary way.

        Args:
            step: takes a step on ``inputs``, for its effect on ``state`` alone.
            state: returns all tensors that a step changes.
            inputs: of this step.
        """
        shape = inputs[0].shape
        if self._replay is not None:
            if shape != self._inputs[0].shape:  # the last batch of an epoch may be smaller
                return False
            self._fill(inputs)
            self._replay()
            return True
        self._shape, self._warmth = shape, self._warmth + 1 if shape == self._shape else 1
        if self.impossible or self._warmth <= WARM_UP:
            return False
        self._record(step, state, inputs)
        return True

    def _fill(self, inputs: tuple[Tensor, ...]) -> None:
        for mine, given in zip(self._inputs, inputs, strict=True):
            mine.copy_(given)

    def _record(self, step: Callable[..., None], state: Callable[[], list[Tensor]], inputs: tuple[Tensor, ...]) -> None:
        """Takes an ordinary step, takes it back, and takes it again by replay."""
        self._inputs = [tensor.clone() for tensor in inputs]
        before = self._snapshot(state())
        with self._recorder.rehearsal():
            step(*self._inputs)
        after = self._snapshot(state())
        try:
            self._restore(state(), before)
            replay = self._recorder.record(lambda: step(*self._inputs))
            self._restore(state(), before)
            replay()
            if different := self._differences(self._snapshot(state()), after):
                raise RuntimeError(f"replayed, {different} of {len(after)} tensors came out different")
            self._replay = replay
            log.debug("the training step is recorded and will be replayed")
        except RuntimeError as error:
            self._restore(state(), after)
            self.impossible = True
            reason = str(error).strip().splitlines()[0]
            log.warning("the training step cannot be recorded as a CUDA graph, so it takes longer (%s)", reason)

    @torch.no_grad()
    def _snapshot(self, state: list[Tensor]) -> list[Tensor]:
        return [*(tensor.clone() for tensor in state), self._recorder.random_state()]

    @torch.no_grad()
    def _restore(self, state: list[Tensor], snapshot: list[Tensor]) -> None:
        *values, random_state = snapshot
        for tensor, value in zip(state, values, strict=True):
            tensor.copy_(value)
        self._recorder.set_random_state(random_state)

    @torch.no_grad()
    def _differences(self, found: list[Tensor], expected: list[Tensor]) -> int:
        tolerance = 0.0 if self._deterministic else _TOLERANCE
        return sum(
            not torch.allclose(one, other, rtol=tolerance, atol=tolerance, equal_nan=True)
            for one, other in zip(found, expected, strict=True)
        )


class CudaRecorder:
    """Records work on a GPU.

    Args:
        device: the GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)

    @contextmanager
    def rehearsal(self) -> Iterator[None]:
        """In here work is launched on the stream that will be recorded, after everything launched before."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            yield
        current.wait_stream(self._stream)

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Returns what launches ``work`` again; raises RuntimeError where that is not possible."""
        torch.cuda.synchronize(self._device)
        self._check_memory()
        graph = torch.cuda.CUDAGraph()
        index = torch.cuda.current_device() if self._device.index is None else self._device.index
        generator = torch.cuda.default_generators[index]
        untouched = generator.graphsafe_get_state()
        generator.graphsafe_set_state(generator.clone_state())
        try:
            with (
                torch.cuda.stream(torch.cuda.current_stream(self._device)),  # to be back on it if recording fails
                torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"),
            ):
                work()
        except RuntimeError:
            generator.graphsafe_set_state(untouched)  # the other one would think for ever that it is being recorded
            raise
        return graph.replay

    def random_state(self) -> Tensor:
        """Returns the state of the GPU's random numbers."""
        return torch.cuda.get_rng_state(self._device)

    def set_random_state(self, state: Tensor) -> None:
        """Takes the GPU's random numbers back to a state."""
        torch.cuda.set_rng_state(state, self._device)

    def _check_memory(self) -> None:
        """A recording keeps the memory of one step for itself, beside that of the ordinary steps and of validation."""
        needed = 2 * torch.cuda.max_memory_allocated(self._device)
        kept_free = torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(self._device)
        free = torch.cuda.mem_get_info(self._device)[0] + kept_free
        if free < needed:
            raise RuntimeError(f"{needed / 2**30:.1f} GiB of memory should be free for it, {free / 2**30:.1f} GiB are")
