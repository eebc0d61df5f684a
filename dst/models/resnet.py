"""Residual networks for small images (He et al., 2016, Section 4.2)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class Block(nn.Module):
    """Two 3×3 convolutions with an identity shortcut, or a 1×1 convolution where the shape changes."""

    def __init__(self, fan_in: int, fan_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(fan_in, fan_out, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(fan_out)
        self.conv2 = nn.Conv2d(fan_out, fan_out, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(fan_out)
        self.shortcut: nn.Module = nn.Identity()
        if fan_in != fan_out:
            self.shortcut = nn.Sequential(nn.Conv2d(fan_in, fan_out, 1, stride, bias=False), nn.BatchNorm2d(fan_out))

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(batch, fan_in, height, width)`` to ``(batch, fan_out, height/stride, width/stride)``."""
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class CifarResNet(nn.Module):
    """Three stages of 16, 32 and 64 channels with (depth − 2) / 6 blocks each.

    Args:
        input_shape: of one image, ``(channels, height, width)``.
        outputs: number of logits.
        depth: 6n + 2; 56 in the paper.
    """

    def __init__(self, *, input_shape: tuple[int, ...], outputs: int, depth: int = 56) -> None:
        super().__init__()
        if depth < 8 or depth % 6 != 2:
            raise ValueError(f"depth={depth}: must be 6n + 2, such as 20, 32, 44, 56, 110")
        widths, blocks = (16, 32, 64), (depth - 2) // 6
        self.conv = nn.Conv2d(input_shape[0], widths[0], 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(widths[0])
        stages, channels = [], widths[0]
        for width in widths:
            for block in range(blocks):
                stages.append(Block(channels, width, stride=2 if block == 0 and width != widths[0] else 1))
                channels = width
        self.stages = nn.Sequential(*stages)
        self.classifier = nn.Linear(channels, outputs)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(batch, channels, height, width)`` to logits ``(batch, outputs)``."""
        x = self.stages(F.relu(self.norm(self.conv(x))))
        logits: Tensor = self.classifier(x.mean(dim=(2, 3)))
        return logits
