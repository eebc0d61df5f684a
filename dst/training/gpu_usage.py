"""How busy a GPU is during a training."""

from __future__ import annotations

import threading
from collections.abc import Callable

import torch

_PERIOD_S = 5.0


class GpuUsage:
    """The mean utilisation of a GPU within a ``with`` block, sampled by a thread beside the training.

    Args:
        device: of the training; nothing is sampled on one that is no GPU.
        sample: returns the utilisation in percent, by default that of NVIDIA's management library, which needs the
            package ``nvidia-ml-py``; once it raises an exception, no more samples are taken.
        period_s: seconds between samples.
    """

    def __init__(
        self,
        device: torch.device,
        sample: Callable[[torch.device], float] = torch.cuda.utilization,
        period_s: float = _PERIOD_S,
    ) -> None:
        self._device, self._sample, self._period_s = device, sample, period_s
        self._total, self._count, self._over = 0.0, 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    @property
    def mean(self) -> float | None:
        """The share of the time in which a kernel ran, from 0 to 1; None if it is not known."""
        return self._total / self._count if self._count else None

    def __enter__(self) -> GpuUsage:
        if self._device.type == "cuda":
            self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()

    def _watch(self) -> None:
        while not self._over.wait(self._period_s):
            try:
                percent = self._sample(self._device)
            except Exception:  # no package, no permission, or a driver that does not tell
                return
            self._total, self._count = self._total + percent / 100, self._count + 1
