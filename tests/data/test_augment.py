"""Augmentation and normalisation of batches against torchvision's transforms of single images."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms import v2
from torchvision.transforms.functional import crop, hflip, normalize, to_tensor

from dst.data.augment import AUGMENTATIONS, PADDING, AugmentationParameters, AugmentedSamples, draw_parameters
from dst.data.normalise import Normalise, statistics
from tests.data.raw import pictures

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


def images(count: int = 40, size: int = 32, channels: int = 3) -> Tensor:
    """Returns digits with random noise, so that no two images or pixels are alike."""
    x = torch.from_numpy(pictures(count, size, channels=channels)[0]).permute(0, 3, 1, 2).contiguous()
    noise = torch.randint(0, 200, x.shape, generator=torch.Generator().manual_seed(0))
    return ((x.int() + noise) % 256).to(torch.uint8)


def expected(image: Tensor, name: str, top: int, left: int, flip: int) -> Tensor:
    """Applies the authors' transforms to one image with the given parameters."""
    size = image.shape[-2:]
    if "crop" in name:
        mode = "reflect" if "reflect" in name else "constant"
        padded = F.pad(image[None].float(), (PADDING,) * 4, mode=mode)[0].to(torch.uint8)
        image = crop(padded, top, left, *size)
    return hflip(image) if "flip" in name and flip else image


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("size", "channels"), [(32, 3), (8, 1), (28, 1)])
def test_augmentation_equals_torchvision_crop_and_flip_for_the_same_parameters(
    name: str, device: str, size: int, channels: int
) -> None:
    x = images(size=size, channels=channels)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(1))
    parameters = draw_parameters(len(x), torch.Generator().manual_seed(2))
    samples = AugmentedSamples(x.to(device), AUGMENTATIONS[name])
    offsets = samples.offsets(order, parameters)
    batch = torch.cat([samples.gather(offsets[:7]), samples.gather(offsets[7:])]).cpu()
    chosen = zip(order.tolist(), *(values.tolist() for values in vars(parameters).values()), strict=True)
    for taken, (index, top, left, flip) in zip(batch, chosen, strict=True):
        assert torch.equal(taken, expected(x[index], name, top, left, flip))


@pytest.mark.parametrize(("name", "mode"), [("crop_flip", "constant"), ("reflect_crop_flip", "reflect")])
def test_possible_augmentations_are_exactly_those_of_torchvision(name: str, mode: str) -> None:
    """Compares all our results with the set of RandomCrop and RandomHorizontalFlip results over many parameters."""
    x = images(1)
    corners = torch.cartesian_prod(torch.arange(9), torch.arange(9), torch.arange(2))
    parameters = AugmentationParameters(*corners.T.contiguous())
    samples = AugmentedSamples(x, AUGMENTATIONS[name])
    ours = samples.gather(samples.offsets(torch.zeros(len(corners), dtype=torch.int64), parameters))
    known = {image.numpy().tobytes() for image in ours}
    assert len(known) == 9 * 9 * 2
    torch.manual_seed(0)
    theirs = v2.Compose([v2.RandomCrop(32, padding=PADDING, padding_mode=mode), v2.RandomHorizontalFlip()])
    assert {theirs(x[0]).numpy().tobytes() for _ in range(1500)} == known


def test_augmentation_parameters_are_uniform_and_reproducible() -> None:
    parameters = draw_parameters(81_000, torch.Generator().manual_seed(0))
    corners = torch.bincount(parameters.top * 9 + parameters.left, minlength=81) / 1000
    assert float((corners - 1).abs().max()) < 0.15
    assert float(parameters.flip.float().mean()) == pytest.approx(0.5, abs=0.01)
    again = draw_parameters(81_000, torch.Generator().manual_seed(0))
    assert all(torch.equal(getattr(parameters, key), getattr(again, key)) for key in ("top", "left", "flip"))


def test_features_are_gathered_unchanged() -> None:
    x = torch.randn(20, 24)
    samples = AugmentedSamples(x, AUGMENTATIONS["none"])
    order = torch.randperm(20)
    assert torch.equal(samples.gather(samples.offsets(order, draw_parameters(20, torch.Generator()))), x[order])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_gathering_a_batch_does_not_modify_the_samples(dtype: torch.dtype) -> None:
    x = images(5).to(dtype)
    samples = AugmentedSamples(x, AUGMENTATIONS["none"])
    normalise = Normalise([0.5], [0.5], images=dtype == torch.uint8, device=torch.device("cpu"))
    offsets = samples.offsets(torch.arange(5), draw_parameters(5, torch.Generator()))
    normalise(samples.gather(offsets)).add_(1)
    assert torch.equal(samples.gather(offsets), images(5).to(dtype))


@pytest.mark.parametrize(("mean", "std"), [([0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]), ([0.5], [0.5])])
def test_normalisation_equals_torchvision_totensor_and_normalize(mean: list[float], std: list[float]) -> None:
    x = images(6)
    ours = Normalise(mean, std, images=True, device=torch.device("cpu"))(x)
    for image, result in zip(x, ours, strict=True):
        picture = Image.fromarray(image.permute(1, 2, 0).numpy())
        theirs: Any = normalize(to_tensor(picture), mean * (3 // len(mean)), std * (3 // len(std)))
        torch.testing.assert_close(result, theirs, rtol=1e-5, atol=1e-6)


def test_statistics_of_images_and_features_are_exact() -> None:
    x = images(30)
    mean, std = statistics(x)
    values = x.double() / 255
    assert mean == pytest.approx(values.mean((0, 2, 3)).tolist(), rel=1e-12)
    assert std == pytest.approx(values.std((0, 2, 3), correction=0).tolist(), rel=1e-12)
    features = torch.cat([torch.randn(50, 3) * 7 + 2, torch.ones(50, 1)], dim=1)
    mean, std = statistics(features)
    normalised = Normalise(mean, std, images=False, device=torch.device("cpu"))(features)
    assert normalised.mean(0).tolist() == pytest.approx([0] * 4, abs=1e-5)
    assert normalised.std(0, correction=0).tolist() == pytest.approx([1, 1, 1, 0], abs=1e-5)
