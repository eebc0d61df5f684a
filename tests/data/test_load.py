"""Loaded datasets: batches of an epoch, and errors for invalid settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dst.config import compose, run_id
from dst.config.checks import check_dataset
from dst.config.tree import options
from dst.data import Data, load
from dst.data.split import stratified_split, validation_count
from dst.errors import UserError
from tests.data.raw import composed, config, higgs_like, write_openml, write_tree

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


def digits(data_dir: Path, seed: int = 1, **changes: Any) -> Data:
    return load(config("digits", **changes), data_dir, device=CPU, batch_size=100, seed=seed)


def concatenate(batches: Any) -> tuple[Tensor, Tensor]:
    parts = list(batches)
    return torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])


def rows(x: Tensor) -> list[bytes]:
    return sorted(image.numpy().tobytes() for image in x)


def test_an_epoch_contains_every_training_sample_once_in_a_new_order(data_dir: Path) -> None:
    data = digits(data_dir)
    batches = list(data.train.epoch(0))
    assert len(data.train) == len(batches) == 13
    assert [len(y) for _, y in batches] == [100] * 12 + [57]
    assert all((x.dtype, y.dtype, x.shape[1:]) == (torch.float32, torch.int64, (1, 8, 8)) for x, y in batches)
    first, second = concatenate(batches), concatenate(data.train.epoch(1))
    assert not torch.equal(first[0], second[0])
    assert rows(first[0]) == rows(second[0])


def test_evaluation_order_is_fixed_and_splits_share_no_samples(
    data_dir: Path,
) -> None:
    data = digits(data_dir)
    parts = [concatenate(part)[0] for part in (data.train.epoch(0), data.val, data.test)]
    assert [len(part) for part in parts] == [1257, 270, 270]
    for batches in (data.val, data.test):
        assert torch.equal(concatenate(batches)[0], concatenate(batches)[0])
    every, unique = rows(torch.cat(parts)), set(rows(torch.cat(parts)))
    assert len(every) - len(unique) <= 1  # the dataset itself contains at most one duplicate


def test_an_epoch_depends_only_on_seed_and_epoch_number_and_can_start_at_any_batch(data_dir: Path) -> None:
    augmented = {"augment": "reflect_crop_flip"}
    data, again, other = (digits(data_dir, seed, **augmented) for seed in (1, 1, 2))
    list(again.train.epoch(0))
    torch.rand(5)
    for (x, y), (x_again, y_again) in zip(data.train.epoch(3), again.train.epoch(3), strict=True):
        assert torch.equal(x, x_again)
        assert torch.equal(y, y_again)
    assert not torch.equal(concatenate(data.train.epoch(3))[1], concatenate(other.train.epoch(3))[1])
    whole, rest = list(data.train.epoch(3)), list(data.train.epoch(3, start=8))
    assert len(rest) == 5
    assert all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(whole[8:], rest, strict=True))


def test_the_order_of_samples_does_not_depend_on_the_augmentation(data_dir: Path) -> None:
    plain, flipped = (concatenate(digits(data_dir, augment=name).train.epoch(2)) for name in ("none", "flip"))
    assert torch.equal(plain[1], flipped[1])
    is_flipped = (plain[0] != flipped[0]).flatten(1).any(1)
    assert 0.4 < float(is_flipped.float().mean()) < 0.6
    assert torch.equal(flipped[0][is_flipped], plain[0][is_flipped].flip(-1))
    assert torch.equal(flipped[0][~is_flipped], plain[0][~is_flipped])


@pytest.mark.parametrize("augment", ["none", "flip", "crop_flip", "reflect_crop_flip"])
def test_the_first_training_samples_are_those_of_the_split_without_augmentation(augment: str, data_dir: Path) -> None:
    plain, augmented = digits(data_dir), digits(data_dir, augment=augment)
    x, y = augmented.train.make_batch(*augmented.train.raw_sample(250))
    split, _ = concatenate(plain.train.epoch(0))
    assert {*rows(x)} <= {*rows(split)}
    later, labels = augmented.train.make_batch(*augmented.train.raw_sample(50, start=200))
    assert torch.equal(later, x[200:])
    assert torch.equal(labels, y[200:])
    decoded = np.load(data_dir / "digits" / "train_x.npy"), np.load(data_dir / "digits" / "train_y.npy")
    kept, _ = stratified_split(decoded[1], validation_count(config("digits").val_size, len(decoded[1])), 0)
    assert y.tolist() == decoded[1][kept[:250]].tolist()
    brightness = torch.from_numpy(decoded[0][kept[:250]]).double().flatten(1).sum(1)
    assert torch.corrcoef(torch.stack([x.double().flatten(1).sum(1), brightness]))[0, 1] > 0.999999


def test_iterating_batches_does_not_change_the_global_random_state(data_dir: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    list(digits(data_dir, augment="crop_flip").train.epoch(0))
    assert torch.equal(torch.rand(2), expected)


def test_without_validation_samples_validation_uses_the_test_set(data_dir: Path) -> None:
    data = digits(data_dir, val_size=0)
    assert len(concatenate(data.train.epoch(0))[1]) == 1527
    assert torch.equal(concatenate(data.val)[0], concatenate(data.test)[0])


def test_another_split_seed_changes_train_and_validation_but_not_the_test_set(data_dir: Path) -> None:
    first, second = digits(data_dir), digits(data_dir, split_seed=1)
    assert rows(concatenate(first.val)[0]) != rows(concatenate(second.val)[0])
    assert torch.equal(concatenate(first.test)[0], concatenate(second.test)[0])


def test_null_mean_and_std_are_computed_from_the_training_samples(data_dir: Path) -> None:
    x = concatenate(digits(data_dir, mean=None, std=None).train.epoch(0))[0]
    assert float(x.mean()) == pytest.approx(0, abs=1e-5)
    assert float(x.std(correction=0)) == pytest.approx(1, abs=1e-5)


def test_higgs_features_are_standardised_by_the_training_samples(tmp_path: Path) -> None:
    write_openml(tmp_path, *higgs_like())
    data = load(config("higgs", val_size=60), tmp_path, device=CPU, batch_size=64, seed=1)
    x, y = concatenate(data.train.epoch(0))
    assert (x.shape, x.dtype, data.num_classes) == ((280, 24), torch.float32, 2)
    assert x.mean(0).tolist() == pytest.approx([0] * 24, abs=1e-5)
    assert set(y.tolist()) == {0, 1}


def test_shape_and_classes_of_an_image_folder_are_inferred(tmp_path: Path) -> None:
    write_tree(tmp_path, {"train": 40, "test": 20}, size=12)
    data = load(config("image_folder"), tmp_path, device=CPU, batch_size=16, seed=1)
    assert (data.shape, data.num_classes) == ((3, 12, 12), 10)
    assert [len(concatenate(part)[1]) for part in (data.train.epoch(0), data.val, data.test)] == [36, 4, 20]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"augment": "rotate"}, "dataset.augment=rotate: unknown; choose one of none, flip"),
        ({"source": "digit"}, "dataset.source=digit: unknown; did you mean digits?"),
        ({"val_size": -1}, "dataset.val_size=-1: "),
        ({"val_size": float("nan")}, "dataset.val_size=nan: "),
        ({"val_size": float("inf")}, "dataset.val_size=inf: "),
        ({"val_size": 1527}, "dataset.val_size=1527: train has 1527 samples"),
        ({"std": [0.0]}, "dataset.std=[0.0]: must be above 0"),
        ({"mean": [0.1, 0.2], "std": [1.0]}, "dataset.mean=[0.1, 0.2]: give 1 numbers"),
        ({"name": "../digits"}, "dataset.name=../digits: must be a folder's name"),
        ({"split_seed": -1}, "dataset.split_seed=-1: "),
        ({"workers": -1}, "dataset.workers=-1: "),
        ({"image_size": 16}, "dataset.image_size=16: only images in folders are resized"),
        ({"shape": [3, 32, 32]}, "dataset.shape=[3, 32, 32]: the data of dataset=digits have [1, 8, 8]"),
        ({"num_classes": 12}, "dataset.num_classes=12: the data of dataset=digits have 10"),
    ],
)
def test_an_invalid_dataset_setting_raises_a_one_line_error(
    changes: dict[str, Any], message: str, data_dir: Path
) -> None:
    with pytest.raises(UserError) as error:
        digits(data_dir, **changes)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_augmenting_features_or_reflecting_tiny_images_raises(tmp_path: Path) -> None:
    write_openml(tmp_path, *higgs_like())
    write_tree(tmp_path / "small", {"train": 20, "test": 10}, size=4)
    with pytest.raises(UserError, match=r"^dataset\.augment=flip: only images can be augmented; choose none$"):
        load(config("higgs", val_size=60, augment="flip"), tmp_path, device=CPU, batch_size=8, seed=1)
    with pytest.raises(UserError, match=r"^dataset\.augment=reflect_crop_flip: needs images larger than 4 pixels"):
        load(config("image_folder", name="small"), tmp_path, device=CPU, batch_size=8, seed=1)


NORMALISATIONS = {
    "cifar10": ([0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]),
    "cifar100": ([0.5071, 0.4865, 0.4409], [0.2673, 0.2564, 0.2762]),
    "fashion_mnist": ([0.5], [0.5]),
    "tiny_imagenet": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    "imagenet": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
}
AUGMENTED = {"cifar10": "reflect_crop_flip", "cifar100": "crop_flip", "tiny_imagenet": "flip"}


@pytest.mark.parametrize("dataset", options("dataset"))
def test_every_dataset_option_is_valid_with_the_authors_transforms(dataset: str) -> None:
    cfg = config(dataset)
    check_dataset(cfg)
    if dataset in NORMALISATIONS:
        assert (cfg.mean, cfg.std) == NORMALISATIONS[dataset]
        assert cfg.augment == AUGMENTED.get(dataset, "none")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_batches_on_a_gpu_equal_those_on_the_cpu(data_dir: Path) -> None:
    cfg = config("digits", augment="reflect_crop_flip")
    on_cpu, on_gpu = (
        load(cfg, data_dir, device=torch.device(name), batch_size=100, seed=1) for name in ("cpu", "cuda")
    )
    for (x, y), (x_gpu, y_gpu) in zip(on_cpu.train.epoch(0), on_gpu.train.epoch(0), strict=True):
        assert x_gpu.device.type == "cuda"
        torch.testing.assert_close(x, x_gpu.cpu(), rtol=1e-6, atol=1e-6)
        assert torch.equal(y, y_gpu.cpu())


def test_dataset_like_copies_normalisation_and_augmentation_only(
    tmp_path: Path,
) -> None:
    root = write_tree(tmp_path / "raw", {"train": 100, "test": 20}, size=32)
    known = composed("cifar10")
    given = {"augment": known.augment, "mean": known.mean, "std": known.std}
    like, explicit = (config("image_folder", root=str(root), **changes) for changes in ({"like": "cifar10"}, given))
    parts = [load(cfg, tmp_path / "data", device=CPU, batch_size=10, seed=1) for cfg in (like, explicit)]
    assert like == explicit
    for one, other in zip(parts[0].train.epoch(0), parts[1].train.epoch(0), strict=True):
        assert torch.equal(one[0], other[0])


def test_dataset_like_gives_the_run_id_of_the_explicit_values() -> None:
    node = composed("cifar10")
    typed = [f"dataset.{key}={getattr(node, key)}" for key in ("augment", "mean", "std")]
    folder = ("dataset=image_folder", "dataset.name=mine")
    assert run_id(compose([*folder, "dataset.like=cifar10"])) == run_id(compose([*folder, *typed]))
    assert run_id(compose([*folder, "dataset.like=cifar10"])) != run_id(compose(folder))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"like": "cifar"}, ["dataset.like=cifar:", "did you mean cifar10?"]),
        ({"like": "image_folder"}, ["dataset.like=image_folder:", "cifar10"]),
        ({"like": "cifar10", "mean": [0.5]}, ["dataset.mean=[0.5]", "dataset.like=cifar10", "one of the two"]),
    ],
)
def test_an_invalid_dataset_like_raises_a_one_line_error(changes: dict[str, Any], message: list[str]) -> None:
    with pytest.raises(UserError) as error:
        check_dataset(config("image_folder", **changes))
    assert all(words in str(error.value) for words in message)
