"""Streamed images: decoded by worker processes in every epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms

from dst.data import Data, DatasetConfig, load
from dst.errors import UserError
from tests.data.raw import config, pictures, write_tree

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``imagenet/train`` and ``imagenet/val`` with images of different sizes."""
    data_dir = tmp_path_factory.mktemp("data")
    root = write_tree(data_dir / "imagenet", {"train": 60, "val": 20}, size=48, suffix="JPEG")
    Image.fromarray(pictures(1, 64)[0][0][:40]).save(root / "val" / "digit0" / "wide.JPEG")
    Image.fromarray(pictures(1, 64, channels=1)[0][0][..., 0]).save(root / "train" / "digit0" / "grey.JPEG")
    return data_dir


def small(**changes: Any) -> DatasetConfig:
    return config("imagenet", **({"image_size": 32, "shape": [3, 32, 32], "num_classes": 10, "workers": 0} | changes))


def data_of(data_dir: Path, seed: int = 1, **changes: Any) -> Data:
    return load(small(**changes), data_dir, device=CPU, batch_size=16, seed=seed)


def concatenate(batches: Any) -> tuple[Tensor, Tensor]:
    parts = list(batches)
    return torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])


def test_worker_processes_yield_the_batches_of_a_single_process(data_dir: Path) -> None:
    alone, workers = data_of(data_dir), data_of(data_dir, workers=2)
    assert len(workers.train) == 4
    for epoch in range(2):
        for expected, found in zip(alone.train.epoch(epoch), workers.train.epoch(epoch), strict=True):
            assert torch.equal(expected[0], found[0])
            assert torch.equal(expected[1], found[1])
    assert torch.equal(concatenate(alone.val)[0], concatenate(workers.val)[0])


def test_an_epoch_depends_only_on_seed_and_epoch_number_and_can_start_at_any_batch(data_dir: Path) -> None:
    data = data_of(data_dir)
    whole, rest = list(data.train.epoch(5)), list(data.train.epoch(5, start=2))
    assert [len(y) for _, y in whole] == [16, 16, 16, 13]
    assert len(rest) == 2
    assert all(torch.equal(a[0], b[0]) for a, b in zip(whole[2:], rest, strict=True))
    assert not torch.equal(concatenate(data.train.epoch(6))[0], concatenate(whole)[0])
    assert not torch.equal(concatenate(data_of(data_dir, seed=2).train.epoch(5))[0], concatenate(whole)[0])


def test_decoding_does_not_change_the_global_random_state(data_dir: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    list(data_of(data_dir, workers=1).train.epoch(0))
    list(data_of(data_dir).train.epoch(0))
    assert torch.equal(torch.rand(2), expected)


def test_evaluation_equals_torchvision_resize_and_center_crop_in_file_order(data_dir: Path) -> None:
    cfg, data = small(), data_of(data_dir)
    assert cfg.mean
    assert cfg.std
    theirs = transforms.Compose(
        [
            transforms.Resize(37),  # 32 · 256 / 224
            transforms.CenterCrop(32),
            transforms.ToTensor(),
            transforms.Normalize(cfg.mean, cfg.std),
        ]
    )
    paths = sorted((data_dir / "imagenet" / "val").rglob("*.JPEG"))
    expected = torch.stack([theirs(Image.open(path).convert("RGB")) for path in paths])
    x, y = concatenate(data.test)
    torch.testing.assert_close(x, expected, rtol=1e-5, atol=1e-5)
    assert y.tolist() == [int(path.parent.name[-1]) for path in paths]
    assert torch.equal(concatenate(data.val)[0], x)  # the official validation images are both validation and test set


def test_training_images_are_randomly_cropped_and_keep_their_labels(data_dir: Path) -> None:
    data = data_of(data_dir)
    epochs = [concatenate(data.train.epoch(epoch)) for epoch in range(2)]
    assert [x.shape for x, _ in epochs] == [(61, 3, 32, 32)] * 2
    assert [torch.bincount(y, minlength=10).tolist() for _, y in epochs] == [[7, *[6] * 9]] * 2
    assert len({x.numpy().tobytes() for x in torch.cat([x for x, _ in epochs])}) > 110


def test_part_of_the_training_images_can_be_held_out_for_validation(data_dir: Path) -> None:
    data = data_of(data_dir, val_size=10)
    assert len(concatenate(data.train.epoch(0))[1]) == 51
    assert torch.bincount(concatenate(data.val)[1], minlength=10).tolist() == [1] * 10


def test_labels_are_wrong_in_the_training_split_alone(data_dir: Path) -> None:
    clean, noisy = (data_of(data_dir, val_size=10, label_noise=share) for share in (0, 0.2))
    first, second = ([concatenate(part)[1] for part in (of.train.epoch(0), of.val, of.test)] for of in (clean, noisy))
    assert int((first[0] != second[0]).sum()) == round(0.2 * 51)
    assert all(torch.equal(one, two) for one, two in zip(first[1:], second[1:], strict=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_image_is_named_in_one_line(workers: int, tmp_path: Path) -> None:
    root = write_tree(tmp_path / "imagenet", {"train": 20, "val": 10}, size=48, suffix="JPEG")
    broken = root / "train" / "digit4" / "broken.JPEG"
    broken.write_bytes(np.zeros(300, np.uint8).tobytes())
    with pytest.raises(
        UserError, match=r"cannot be used \(cannot identify image file[^\n]*\); repair or remove it$"
    ) as error:
        list(data_of(tmp_path, workers=workers).train.epoch(0))
    assert str(error.value).startswith(str(broken))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_classes": 1000}, "dataset.num_classes=1000: the data of dataset=imagenet have 10"),
        ({"augment": "flip"}, "dataset.augment=flip: random resized crops and flips are all there is"),
        ({"mean": None}, "dataset.mean and dataset.std: give them"),
    ],
)
def test_an_unsupported_streaming_setting_raises_a_one_line_error(
    changes: dict[str, Any], message: str, data_dir: Path
) -> None:
    with pytest.raises(UserError) as error:
        data_of(data_dir, **changes)
    assert str(error.value).startswith(message)


def test_a_missing_image_tree_raises_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^dataset=imagenet: nothing usable at [^\n]*dataset=digits needs neither$"):
        data_of(tmp_path)


def test_the_first_training_images_are_decoded_in_file_order_without_augmentation(data_dir: Path) -> None:
    cfg, data = small(), data_of(data_dir)
    assert cfg.mean
    assert cfg.std
    steps = [transforms.Resize(37), transforms.CenterCrop(32), transforms.ToTensor()]
    theirs = transforms.Compose([*steps, transforms.Normalize(cfg.mean, cfg.std)])
    paths = sorted((data_dir / "imagenet" / "train").rglob("*.JPEG"))[:20]  # more than a batch
    x, y = data.train.make_batch(*data.train.raw_sample(20))
    expected = torch.stack([theirs(Image.open(path).convert("RGB")) for path in paths])
    torch.testing.assert_close(x, expected, rtol=1e-5, atol=1e-5)
    assert y.tolist() == [int(path.parent.name[-1]) for path in paths]
    later = data.train.make_batch(*data.train.raw_sample(7, start=13))
    assert torch.equal(later[0], x[13:])
    assert torch.equal(later[1], y[13:])
    chunks = list(data.train.split(*data.train.raw_sample(20)))
    assert [len(labels) for _, labels in chunks] == [16, 4]
    assert torch.equal(torch.cat([chunk for chunk, _ in chunks]), x)
