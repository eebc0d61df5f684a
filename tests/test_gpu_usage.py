"""The utilisation of a GPU, here with samples of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
import torch

from dst.training.gpu_usage import GpuUsage

GPU = torch.device("cuda")


def test_the_mean_is_a_share_of_the_samples_within_the_block() -> None:
    samples, all_taken = iter([20, 60, 100]), threading.Event()

    def sample(device: torch.device) -> float:
        if (percent := next(samples, None)) is None:
            all_taken.set()
            raise StopIteration
        return percent

    with GpuUsage(GPU, sample, period_s=0.001) as usage:
        assert all_taken.wait(10)
    assert usage.mean == pytest.approx(0.6)


def missing_package(device: torch.device) -> float:
    raise ModuleNotFoundError("pynvml does not seem to be installed")


@pytest.mark.parametrize(("device", "sample"), [(torch.device("cpu"), lambda device: 50.0), (GPU, missing_package)])
def test_without_a_gpu_or_its_library_it_is_unknown(
    device: torch.device, sample: Callable[[torch.device], float]
) -> None:
    with GpuUsage(device, sample, period_s=0.001) as usage:
        time.sleep(0.05)
    assert usage.mean is None
