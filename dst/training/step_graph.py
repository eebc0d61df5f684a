"""A training step captured once as a CUDA graph and replayed: one launch instead of hundreds.

A step of a small model is about a hundred kernels of a few microseconds each; launching them takes the host longer than
computing them takes the GPU.
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
"""Eager steps on equal shapes before the capture: they make one-time allocations and algorithm choices."""

_TOLERANCE = 1e-2
"""Largest accepted difference of a replayed tensor, as a share of its change; for runs that are not deterministic."""

Step = Callable[..., None]
State = Callable[[], list[Tensor]]


class Recorder(Protocol):
    """Captures work on a device."""

    def check(self) -> None:
        """Raises RuntimeError if memory does not suffice for a capture."""

    def rehearsal(self) -> AbstractContextManager[object]:
        """Runs the block on the capture stream; raises RuntimeError for work that cannot be captured."""

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Captures ``work``; returns a replay callable. Raises RuntimeError if it cannot be captured."""

    def random_state(self) -> Tensor:
        """Returns the state of the device's random number generator."""

    def set_random_state(self, state: Tensor) -> None:
        """Restores the state of the device's random number generator."""


class StepGraph:
    """Takes training steps by replaying a captured one.

    The capture is made after a few eager steps and used only if it leads to the same numbers as an eager step from the
    same state, bit for bit in a deterministic run. If anything prevents it, steps stay eager and the log says why.

    Args:
        recorder: captures work on the device that takes the steps.
        deterministic: whether equal steps lead to equal bits.
    """

    def __init__(self, recorder: Recorder, *, deterministic: bool) -> None:
        self._recorder, self._deterministic = recorder, deterministic
        self.forget()

    def forget(self) -> None:
        """Drops the capture, which is necessary when a tensor of the state has moved; a new one is made later."""
        self._inputs: list[Tensor] = []
        self._replay: Callable[[], None] | None = None
        self._shape, self._warmth = torch.Size(), 0
        self.impossible = False

    @property
    def recorded(self) -> bool:
        """Whether steps are replayed."""
        return self._replay is not None

    def take(self, step: Step, state: State, *inputs: Tensor) -> bool:
        """Takes a step and returns True; returns False if the caller has to take it eagerly.

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
        """Takes an eager step, undoes it, and takes it again by replay; returns whether the step is taken."""
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
    """Captures work on a GPU.

    Args:
        device: the GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._index = torch.cuda.current_device() if device.index is None else device.index
        self._stream = _recording_stream(self._index)
        torch.cuda.reset_peak_memory_stats(device)

    def check(self) -> None:
        """A capture keeps the memory of one step for itself, besides that of eager steps and of validation."""
        needed = 2 * torch.cuda.max_memory_allocated(self._device)
        kept_free = torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(self._device)
        free = torch.cuda.mem_get_info(self._device)[0] + kept_free
        if free < needed:
            raise RuntimeError(f"{needed / 2**30:.1f} GiB of memory should be free for it, {free / 2**30:.1f} GiB are")

    @contextmanager
    def rehearsal(self) -> Iterator[None]:
        """Runs the block on the capture stream; host–device synchronisation raises."""
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
        """Captures ``work``; returns a replay callable. Raises RuntimeError if it cannot be captured."""
        torch.cuda.synchronize(self._device)
        graph = torch.cuda.CUDAGraph()
        generator = torch.cuda.default_generators[self._index]
        untouched = generator.graphsafe_get_state()
        generator.graphsafe_set_state(generator.clone_state())
        try:
            with (
                torch.cuda.stream(torch.cuda.current_stream(self._device)),  # restored if the capture fails
                torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"),
            ):
                work()
        except RuntimeError:
            generator.graphsafe_set_state(untouched)  # the other one would stay in capture mode
            raise
        return graph.replay

    def random_state(self) -> Tensor:
        """Returns the state of the GPU's random number generator."""
        return torch.cuda.get_rng_state(self._device)

    def set_random_state(self, state: Tensor) -> None:
        """Restores the state of the GPU's random number generator."""
        torch.cuda.set_rng_state(state, self._device)


@cache
def _recording_stream(index: int) -> torch.cuda.Stream:
    """Returns the capture stream of a GPU; a single one, as cuBLAS keeps a workspace for every stream it has seen."""
    return torch.cuda.Stream(index)


def _cause(error: BaseException) -> str:
    """Returns the first line of the original error of a chain."""
    while error.__context__ is not None:
        error = error.__context__
    return (str(error).strip() or type(error).__name__).splitlines()[0]
