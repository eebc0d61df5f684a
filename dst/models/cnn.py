"""Plain convolutional networks: the small CNN, LeNet-5, LeNet-5-Caffe and VGG-16 with and without batch norm."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dst.models.glorot import glorot_uniform


class SmallCNN(nn.Module):
    """3×3 convolutions with ReLU and max-pooling between them, global average pooling, one Linear layer (Table 2).

    Args:
        input_shape: of one image, ``(channels, height, width)``.
        outputs: number of logits.
        widths: output channels of the convolutions.
    """

    def __init__(self, *, input_shape: tuple[int, ...], outputs: int, widths: list[int]) -> None:
        super().__init__()
        channels = [input_shape[0], *widths]
        layers: list[nn.Module] = []
        for fan_in, fan_out in zip(channels, widths, strict=False):
            layers += [nn.Conv2d(fan_in, fan_out, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        self.features = nn.Sequential(*layers[:-1])
        self.classifier = nn.Linear(widths[-1], outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(batch, channels, height, width)`` to logits ``(batch, outputs)``."""
        logits: Tensor = self.classifier(self.features(x).mean(dim=(2, 3)))
        return logits


class LeNet5(nn.Module):
    """LeNet-5 with ReLU and max-pooling (LeCun et al., 1998, as Evci et al., 2022 train it).

    Initial weights are Glorot uniform and biases 0, the default of Keras, in which that paper's code is written.

    Args:
        input_shape: of one image, ``(channels, height, width)``.
        outputs: number of logits.
        widths: output channels of the two 5×5 convolutions, then the widths of the two hidden linear layers.

    Raises:
        ValueError: unless ``widths`` are four.
    """

    def __init__(self, *, input_shape: tuple[int, ...], outputs: int, widths: list[int]) -> None:
        super().__init__()
        if len(widths) != 4:
            raise ValueError(f"widths={widths}: give four, such as [6,16,120,84]")
        first, second, third, fourth = widths
        self.features = nn.Sequential(
            nn.Conv2d(input_shape[0], first, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(first, second, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
        )
        size = self.features(torch.zeros(1, *input_shape)).shape[1]
        self.classifier = nn.Sequential(
            nn.Linear(size, third), nn.ReLU(), nn.Linear(third, fourth), nn.ReLU(), nn.Linear(fourth, outputs)
        )
        glorot_uniform(self)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(batch, channels, height, width)`` to logits ``(batch, outputs)``."""
        logits: Tensor = self.classifier(self.features(x))
        return logits


class LeNet5Caffe(nn.Module):
    """Caffe's LeNet-5: two 5×5 convolutions of 20 and 50 channels, a hidden layer of 500 (as in Liu et al., 2022)."""

    def __init__(self, *, input_shape: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(input_shape[0], 20, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(20, 50, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
        )
        size = self.features(torch.zeros(1, *input_shape)).shape[1]
        self.classifier = nn.Sequential(nn.Linear(size, 500), nn.ReLU(), nn.Linear(500, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(batch, channels, height, width)`` to logits ``(batch, outputs)``."""
        logits: Tensor = self.classifier(self.features(x))
        return logits


_VGG16_WIDTHS = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool", 512, 512, 512, "pool", 512, 512, 512)


def _vgg16_features(channels: int, *, norm: bool, width: float = 1.0) -> nn.Sequential:
    """Returns VGG-16's 3×3 convolutions, without bias, for images of so many channels; ``width`` scales theirs."""
    layers: list[nn.Module] = []
    for layer in _VGG16_WIDTHS:
        if isinstance(layer, int):
            outputs = int(layer * width)
            layers.append(nn.Conv2d(channels, outputs, 3, padding=1, bias=False))
            layers += [nn.BatchNorm2d(outputs), nn.ReLU()] if norm else [nn.ReLU()]
            channels = outputs
        else:
            layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


class VGG16(nn.Module):
    """VGG-16 for small images: batch norm, convolutions without bias, one linear classifier (Liu et al., 2022)."""

    def __init__(self, *, input_shape: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        self.features = _vgg16_features(input_shape[0], norm=True)
        self.classifier = nn.Linear(512, outputs)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(batch, channels, height, width)`` to logits ``(batch, outputs)``."""
        logits: Tensor = self.classifier(self.features(x).mean(dim=(2, 3)))
        return logits


class PlainVGG16(nn.Module):
    """VGG-16 without normalisation and biases, as Evci et al. (2022) train it on ImageNet.

    Its last convolutions are averaged over the image and classified by one linear layer, a 1×1 convolution there; the
    hidden layers of 4,096 of the original network are left out. Weights are He normal by fan-in.

    Args:
        input_shape: of one image, ``(channels, height, width)``.
        outputs: number of logits.
        width: factor of the numbers of channels, rounded down.
    """

    def __init__(self, *, input_shape: tuple[int, ...], outputs: int, width: float = 1.0) -> None:
        super().__init__()
        self.features = _vgg16_features(input_shape[0], norm=False, width=width)
        self.classifier = nn.Linear(int(512 * width), outputs, bias=False)
        for weight in self.parameters():
            nn.init.kaiming_normal_(weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(batch, channels, height, width)`` to logits ``(batch, outputs)``."""
        logits: Tensor = self.classifier(self.features(x).mean(dim=(2, 3)))
        return logits
