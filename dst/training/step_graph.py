"""A training step recorded once as a CUDA graph and replayed: one launch in place of hundreds.

The step of a small model is a hundred kernels of a few microseconds each, which the host launches more slowly than the
GPU computes them.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import Protocol

import torch
from torch import Tensor

log = logging.getLogger("dst")

WARM_UP = 3
"""Ordinary steps on equal shapes before one is recorded: they allocate and choose what is allocated and chosen once."""

_TOLERANCE = 1e-2
"""By what share of its change a tensor may come out different, in a run that is not deterministic."""

Step = Callable[..., None]
State = Callable[[], list[Tensor]]


class Recorder(Protocol):
    """What can record work on a device."""

    def check(self) -> None:
        """Raises RuntimeError where there is no room for a recording."""

    def rehearsal(self) -> AbstractContextManager[object]:
        """In here work is done where it will be recorded; raises RuntimeError for what cannot be."""

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

    def take(self, step: Step, state: State, *inputs: Tensor) -> bool:
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
            for mine, given in zip(self._inputs, inputs, strict=True):
                mine.copy_(given)
            self._replay()
            return True
        self._shape, self._warmth = shape, self._warmth + 1 if shape == self._shape else 1
        if self.impossible or self._warmth <= WARM_UP:
            return False
        return self._record(step, state, inputs)

    def _record(self, step: Step, state: State, inputs: tuple[Tensor, ...]) -> bool:
        """Takes an ordinary step, takes it back, and takes it again by replay; returns whether the step is taken."""
        before = after = None
        try:
            self._recorder.check()
            self._inputs = [tensor.clone() for tensor in inputs]
            before = self._snapshot(state())
            with self._recorder.rehearsal():
                step(*self._inputs)
            after = self._snapshot(state())
            self._restore(state(), before)
            replay = self._recorder.record(lambda: step(*self._inputs))
            self._restore(state(), before)
            replay()
            if different := self._differences(before, self._snapshot(state()), after):
                raise RuntimeError(f"replayed, {different} of {len(after)} tensors came out different")
            self._replay = replay
            log.debug("the training step is recorded and will be replayed")
        except RuntimeError as error:
            self.impossible = True
            if known := after or before:
                self._restore(state(), known)
            log.warning("the training step cannot be recorded as a CUDA graph, so it takes longer (%s)", _cause(error))
        return after is not None

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
    def _differences(self, before: list[Tensor], found: list[Tensor], expected: list[Tensor]) -> int:
        different = 0
        for start, one, other in zip(before, found, expected, strict=True):
            change = 0.0 if self._deterministic else float((other.double() - start.double()).abs().max())
            different += not torch.allclose(one, other, rtol=0.0, atol=_TOLERANCE * change, equal_nan=True)
        return different


class CudaRecorder:
    """Records work on a GPU.

    Args:
        device: the GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._index = torch.cuda.current_device() if device.index is None else device.index
        self._stream = _recording_stream(self._index)
        torch.cuda.reset_peak_memory_stats(device)

    def check(self) -> None:
        """A recording keeps the memory of one step for itself, beside that of the ordinary steps and of validation."""
        needed = 2 * torch.cuda.max_memory_allocated(self._device)
        kept_free = torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(self._device)
        free = torch.cuda.mem_get_info(self._device)[0] + kept_free
        if free < needed:
            raise RuntimeError(f"{needed / 2**30:.1f} GiB of memory should be free for it, {free / 2**30:.1f} GiB are")

    @contextmanager
    def rehearsal(self) -> Iterator[None]:
        """In here work is launched on the stream that will be recorded, and must not wait for the GPU."""
        current, mode = torch.cuda.current_stream(self._device), torch.cuda.get_sync_debug_mode()
        self._stream.wait_stream(current)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Synchronization debug mode is a prototype")
            torch.cuda.set_sync_debug_mode("error")
        try:
            with torch.cuda.stream(self._stream):
                yield
        finally:
            torch.cuda.set_sync_debug_mode(mode)
            current.wait_stream(self._stream)

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Returns what launches ``work`` again; raises RuntimeError where that is not possible."""
        torch.cuda.synchronize(self._device)
        graph = torch.cuda.CUDAGraph()
        generator = torch.cuda.default_generators[self._index]
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


@cache
def _recording_stream(index: int) -> torch.cuda.Stream:
    """Returns the stream on which steps are recorded, one a GPU, as cuBLAS keeps memory for every stream it met."""
    return torch.cuda.Stream(index)


def _cause(error: BaseException) -> str:
    """Returns the first line of what came first; what follows it says only that something did."""
    while error.__context__ is not None:
        error = error.__context__
    return (str(error).strip() or type(error).__name__).splitlines()[0]
