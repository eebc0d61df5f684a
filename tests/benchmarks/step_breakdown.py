"""Time of each part of a static step."""

from __future__ import annotations

import itertools
import statistics
import time
from collections import defaultdict

import torch

from dst.tasks import Classification
from tests.benchmarks.setups import Setup, make_loop

PARTS = ("batch", "forward", "backward", "mask", "optimizer", "tally")


class Clock:
    """Records the milliseconds between calls of :meth:`lap`, per part."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.times = device, defaultdict[str, list[float]](list)
        self.began = self.now()

    def now(self) -> float:
        """Synchronises the device and returns the time in seconds."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def lap(self, part: str) -> None:
        """Adds the time since the last call to ``part``."""
        now = self.now()
        self.times[part].append(1e3 * (now - self.began))
        self.began = now


def measure_step_parts(setup: Setup, device: torch.device) -> dict[str, float]:
    """Returns the median milliseconds of each part; the device is synchronised after each."""
    advance, training = make_loop(setup, "static", device, steps=10)
    assert training.sparsity
    advance()
    clock = Clock(device)
    for raw, labels in itertools.chain.from_iterable(training.data.train.raw_batches(epoch) for epoch in range(1, 4)):
        x, y = training.data.train.make_batch(raw, labels)
        clock.lap("batch")
        logits = training.model(x)
        loss = Classification().loss(logits, y)
        clock.lap("forward")
        training.optimizer.zero_grad()
        loss.backward()
        clock.lap("backward")
        for layer in training.sparsity.layers:
            layer.mask_gradient()
        clock.lap("mask")
        training.optimizer.step()
        clock.lap("optimizer")
        training.metrics.add(loss, training.task.correct(logits, y), len(y))
        clock.lap("tally")
    return {part: statistics.median(clock.times[part]) for part in PARTS}
