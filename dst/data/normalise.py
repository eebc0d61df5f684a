"""Normalisation of samples to float32 model inputs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Normalise:
    """``(x / full - mean) / std`` in float32, where ``full`` is 255 for uint8 images and 1 for features.

    Args:
        mean: one value per channel (or feature), or a single value for all.
        std: as ``mean``.
        images: True: ``(B, C, H, W)`` uint8. False: ``(B, features)``.
        device: of the samples.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], *, images: bool, device: torch.device) -> None:
        per_channel = (-1, 1, 1) if images else (-1,)
        mean_, std_ = (torch.tensor(list(values), dtype=torch.float64).view(per_channel) for values in (mean, std))
        self._scale = (1 / (std_ * (255 if images else 1))).float().to(device)
        self._shift = (-mean_ / std_).float().to(device)

    def __call__(self, x: Tensor) -> Tensor:
        """Returns the normalised samples, float32 of the same shape."""
        return x.to(torch.float32, copy=True).mul_(self._scale).add_(self._shift)


def statistics(x: Tensor) -> tuple[list[float], list[float]]:
    """Returns mean and standard deviation per channel of uint8 images, scaled to [0, 1], or per feature.

    Exact for images, by a histogram of their 256 values. The standard deviation of a constant is returned as 1.
    """
    if x.dtype == torch.uint8:
        values = torch.arange(256, dtype=torch.float64) / 255
        counts = torch.stack([x[:, channel].flatten().bincount(minlength=256) for channel in range(x.shape[1])])
        share = counts / counts.sum(1, keepdim=True, dtype=torch.float64)
        mean = share @ values
        std = (share * (values - mean[:, None]) ** 2).sum(1).sqrt()
    else:
        std, mean = torch.std_mean(x.double(), dim=0, correction=0)
    return mean.tolist(), torch.where(std > 1e-8, std, 1.0).tolist()
