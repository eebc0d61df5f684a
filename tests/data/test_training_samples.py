from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from dst.data import load, training_samples
from dst.data.augment import AUGMENTATIONS, AugmentedSamples
from dst.data.batches import TrainBatches
from dst.data.normalise import Normalise
from tests.data.raw import config, write_tree

CPU = torch.device("cpu")


@pytest.mark.parametrize("augment", AUGMENTATIONS)
def test_samples_come_in_order_and_not_augmented(augment: str) -> None:
    images = torch.randint(256, (10, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(10)
    normalise = Normalise([0.5], [0.25], images=True, device=CPU)
    samples = AugmentedSamples(images, AUGMENTATIONS[augment])
    batches = training_samples(TrainBatches(samples, labels, normalise, batch_size=4, seed=1))
    for _ in range(2):
        x, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
        assert torch.equal(x, normalise(images))
        assert torch.equal(y, labels)
    assert [len(y) for _, y in batches] == [4, 4, 2]


def test_streamed_samples_are_those_of_an_evaluation_of_the_same_files(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "imagenet", {"train": 12, "val": 12}, size=48, suffix="JPEG")
    shutil.rmtree(root / "val")
    shutil.copytree(root / "train", root / "val")
    changes = {"image_size": 32, "shape": [3, 32, 32], "num_classes": 10, "workers": 0, "val_size": 0}
    data = load(config("imagenet", **changes), tmp_path, device=CPU, batch_size=8, seed=1)
    found, expected = list(training_samples(data.train)), list(data.test)
    assert len(found) == len(expected) > 0
    for (x, y), (x_test, y_test) in zip(found, expected, strict=True):
        assert torch.equal(x, x_test)
        assert torch.equal(y, y_test)
