"""Where the time of a static step goes, part by part."""

from __future__ import annotations

import itertools
import statistics
import time
from collections import defaultdict

import torch

from dst.training.metrics import loss_of
from tests.benchmarks.setups import Setup, loop

PARTS = ("batch", "forward", "backward", "mask", "optimizer", "tally")


class Clock:
    """Milliseconds from one call to the next, by what they were spent on."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.times = device, defaultdict[str, list[float]](list)
        self.began = self.now()

    def now(self) -> float:
        """Waits for the device and returns seconds."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def passed(self, part: str) -> None:
        """Books the time since the last call to ``part``."""
        now = self.now()
        self.times[part].append(1e3 * (now - self.began))
        self.began = now


def measure_parts(setup: Setup, device: torch.device) -> dict[str, float]:
    """Returns the median milliseconds of each part, the device's queue worked off in between."""
    advance, training = loop(setup, "static", device, steps=10)
    assert training.sparsity
    advance()
    clock = Clock(device)
    for pick, labels in itertools.chain.from_iterable(training.data.train.raw_batches(epoch) for epoch in range(1, 4)):
        x, y = training.data.train.make_batch(pick, labels)
        clock.passed("batch")
        logits = training.model(x)
        loss = loss_of(logits, y)
        clock.passed("forward")
        training.optimizer.zero_grad()
        loss.backward()
        clock.passed("backward")
        for layer in training.sparsity.layers:
            layer.mask_gradient()
        clock.passed("mask")
        training.optimizer.step()
        clock.passed("optimizer")
        training.metrics.add(loss, logits, y)
        clock.passed("tally")
    return {part: statistics.median(clock.times[part]) for part in PARTS}
