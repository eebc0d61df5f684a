"""Each dataset read from its publisher's files; errors that name missing and damaged files."""

from __future__ import annotations

import hashlib
import os
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dst.data import DatasetConfig, prepare
from dst.data.sources import torchvision as source
from dst.data.store import Arrays
from dst.errors import UserError
from tests.data.raw import (
    config,
    higgs_like,
    pictures,
    write_cifar,
    write_idx,
    write_openml,
    write_tiny_imagenet,
    write_tree,
)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*args: Any, **kwargs: Any) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unreachable)


def error_of(cfg: DatasetConfig, data_dir: Path) -> str:
    with pytest.raises(UserError) as error:
        prepare(cfg, data_dir)
    assert "\n" not in str(error.value)
    return str(error.value)


def as_channels_first(images: np.ndarray) -> np.ndarray:
    return images.transpose(0, 3, 1, 2)


@pytest.mark.parametrize(
    ("dataset", "place", "obtain"),
    [
        ("cifar10", "cifar-10-batches-py", "cifar-10-python.tar.gz"),
        ("cifar100", "cifar-100-python", "cifar-100-python.tar.gz"),
        ("fashion_mnist", "FashionMNIST/raw", "zalandoresearch/fashion-mnist"),
        ("mnist", "MNIST/raw", "the four files of"),
        ("tiny_imagenet", "tiny-imagenet-200", "tiny-imagenet-200.zip"),
        ("higgs", "openml", "fetch_openml(data_id=44129"),
        ("image_folder", "image_folder", "train/<class>/<image>"),
    ],
)
def test_missing_data_without_network_raise_one_line_with_path_and_remedy(
    dataset: str, place: str, obtain: str, tmp_path: Path
) -> None:
    line = error_of(config(dataset), tmp_path)
    assert line.startswith(f"dataset={dataset}: nothing usable at {tmp_path / place}")
    assert all(words in line for words in (obtain, "data_dir=", "dataset.root=", "dataset=digits needs neither"))


def test_digits_are_complete_and_their_test_set_ignores_the_split_seed(tmp_path: Path) -> None:
    arrays, meta = prepare(config("digits"), tmp_path / "a")
    other, _ = prepare(config("digits", split_seed=7), tmp_path / "b")
    assert (arrays.train_x.shape, arrays.test_x.shape) == ((1527, 1, 8, 8), (270, 1, 8, 8))
    assert (meta.num_classes, arrays.train_x.dtype, arrays.train_x.max()) == (10, np.uint8, 255)
    assert np.array_equal(arrays.test_x, other.test_x)
    assert np.bincount(arrays.test_y).min() >= 26


CIFAR = {
    "cifar10": (
        "CIFAR10",
        "cifar-10-batches-py",
        [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"],
        "batches.meta",
    ),
    "cifar100": ("CIFAR100", "cifar-100-python", ["train", "test"], "meta"),
}


def cifar(dataset: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> DatasetConfig:
    """Writes a small dataset in CIFAR's format and makes torchvision accept its MD5 sums."""
    import torchvision

    kind, folder, names, meta = CIFAR[dataset]
    reader = getattr(torchvision.datasets, kind)
    write_cifar(root / folder, names, 30, meta, "labels" if dataset == "cifar10" else "fine_labels")
    sums = {name: hashlib.md5((root / folder / name).read_bytes()).hexdigest() for name in [*names, meta]}
    monkeypatch.setattr(reader, "train_list", [[name, sums[name]] for name in names[:-1]])
    monkeypatch.setattr(reader, "test_list", [[names[-1], sums[names[-1]]]])
    monkeypatch.setattr(reader, "meta", reader.meta | {"md5": sums[meta]})
    return config(dataset, num_classes=10)


@pytest.mark.parametrize("dataset", CIFAR)
@pytest.mark.parametrize("is_root", [False, True], ids=["data_dir", "root"])
def test_cifar_is_read_in_file_order_with_channels_first(
    dataset: str, is_root: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = cifar(dataset, tmp_path, monkeypatch)
    cfg.root = str(tmp_path) if is_root else None
    arrays, _ = prepare(cfg, tmp_path / "prepared" if is_root else tmp_path)
    count = 30 * (len(CIFAR[dataset][2]) - 1)
    images, labels = pictures(count + 30, 32)
    assert np.array_equal(arrays.train_x, as_channels_first(images[:count]))
    assert np.array_equal(arrays.test_x, as_channels_first(images[count:]))
    assert np.array_equal(np.concatenate([arrays.train_y, arrays.test_y]), labels)


@pytest.mark.parametrize("is_root", [False, True], ids=["data_dir", "root"])
def test_wrong_truncated_or_missing_cifar_files_are_named(
    is_root: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = cifar("cifar10", tmp_path, monkeypatch)
    cfg.root = str(tmp_path) if is_root else None
    folder = tmp_path / "cifar-10-batches-py"
    (folder / "data_batch_2").write_bytes((folder / "data_batch_2").read_bytes()[:-1])
    (folder / "data_batch_4").write_bytes((folder / "data_batch_3").read_bytes())
    (folder / "test_batch").unlink()
    line = error_of(cfg, tmp_path)
    assert "data_batch_2 is not the original, or not whole, data_batch_4 is not the original" in line
    assert "test_batch is missing" in line
    assert "data_batch_1" not in line
    assert not list(tmp_path.rglob("*.npy"))


IDX = {"fashion_mnist": "FashionMNIST/raw", "mnist": "MNIST/raw"}


def idx(dataset: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Writes a small dataset in the format of MNIST and makes the reader accept its sizes and first labels."""
    headers, firsts = {}, {}
    for first, part, count in ((0, "train", 200), (200, "t10k", 50)):
        images, labels = pictures(count, 28, first, channels=1)
        for name, kind, array in (("images-idx3", 0x803, images[..., 0]), ("labels-idx1", 0x801, labels)):
            write_idx(root / IDX[dataset] / f"{part}-{name}-ubyte", array.astype(np.uint8))
            headers[f"{part}-{name}-ubyte"] = (kind, *array.shape)
        firsts[f"{part}-labels-idx1-ubyte"] = labels[:10].astype(np.uint8).tobytes()
    monkeypatch.setattr(source, "_IDX_HEADERS", headers)
    monkeypatch.setattr(source, "_MNIST_LABELS", firsts)
    return root / IDX[dataset]


@pytest.mark.parametrize("dataset", IDX)
@pytest.mark.parametrize("is_root", [False, True], ids=["data_dir", "root"])
def test_mnist_and_fashion_mnist_are_read_from_their_four_files(
    dataset: str, is_root: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    idx(dataset, tmp_path, monkeypatch)
    cfg = config(dataset, root=str(tmp_path) if is_root else None)
    arrays, _ = prepare(cfg, tmp_path / "prepared" if is_root else tmp_path)
    images, labels = pictures(250, 28, channels=1)
    assert np.array_equal(np.concatenate([arrays.train_x, arrays.test_x]), as_channels_first(images))
    assert np.array_equal(np.concatenate([arrays.train_y, arrays.test_y]), labels)


@pytest.mark.parametrize("dataset", IDX)
def test_mnist_and_fashion_mnist_files_must_have_the_published_sizes(dataset: str, tmp_path: Path) -> None:
    write_idx(tmp_path / IDX[dataset] / "train-images-idx3-ubyte", np.zeros((60_000, 28, 28), np.uint8))
    write_idx(tmp_path / IDX[dataset] / "t10k-images-idx3-ubyte", np.zeros((10_000, 28, 28), np.uint8))
    line = error_of(config(dataset), tmp_path)
    assert "train-labels-idx1-ubyte is missing, t10k-labels-idx1-ubyte is missing" in line
    assert "train-images-idx3-ubyte is" not in line


@pytest.mark.parametrize("dataset", IDX)
def test_wrong_or_truncated_mnist_and_fashion_mnist_files_are_named(
    dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = idx(dataset, tmp_path, monkeypatch)
    cut, foreign = folder / "train-images-idx3-ubyte", folder / "t10k-labels-idx1-ubyte"
    cut.write_bytes(cut.read_bytes()[:-1])
    foreign.write_bytes(b"\0" * foreign.stat().st_size)
    line = error_of(config(dataset), tmp_path)
    assert "train-images-idx3-ubyte is not the original of 156,816 bytes" in line
    assert "t10k-labels-idx1-ubyte is not the original of 58 bytes" in line


def test_other_data_in_the_format_of_mnist_are_not_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = dict(source._MNIST_LABELS)
    idx("mnist", tmp_path, monkeypatch)
    monkeypatch.setattr(source, "_MNIST_LABELS", published)
    line = error_of(config("mnist"), tmp_path)
    assert "train-labels-idx1-ubyte is not the original" in line
    assert "t10k-labels-idx1-ubyte is not the original" in line


def test_higgs_is_read_from_the_scikit_learn_cache_and_split_70_15_15(tmp_path: Path) -> None:
    features, labels = higgs_like()
    write_openml(tmp_path, features, labels)
    arrays, meta = prepare(config("higgs"), tmp_path)
    assert (len(arrays.train_y), len(arrays.test_y), meta.shape, meta.num_classes) == (340, 60, [24], 2)
    assert arrays.train_x.dtype == np.float32
    rows = {(*row, label) for row, label in zip(features.astype(np.float32).tolist(), labels, strict=True)}
    for x, y in ((arrays.train_x, arrays.train_y), (arrays.test_x, arrays.test_y)):
        assert {(*row, label) for row, label in zip(x.tolist(), y.tolist(), strict=True)} <= rows
        assert y.mean() == pytest.approx(labels.mean(), abs=0.02)


def test_a_damaged_download_of_higgs_is_named(tmp_path: Path) -> None:
    path = write_openml(tmp_path, *higgs_like())
    path.write_bytes(path.read_bytes()[:-100])
    assert f"Invalid cache, redownloading file to {path}" in error_of(config("higgs"), tmp_path)


TINY = ["n03", "n01", "n02"]


def tiny(**changes: Any) -> DatasetConfig:
    return config("tiny_imagenet", num_classes=3, val_size=0.2, **changes)


@pytest.mark.parametrize("is_sorted", [False, True], ids=["as unpacked", "val sorted into classes"])
def test_tiny_imagenet_is_read_with_validation_as_test(is_sorted: bool, tmp_path: Path) -> None:
    root = write_tiny_imagenet(tmp_path / "tiny-imagenet-200", TINY, train=10, val=4)
    labels = {}
    for line in (root / "val" / "val_annotations.txt").read_text().splitlines():
        labels[line.split("\t")[0]] = sorted(TINY).index(line.split("\t")[1])
    pixels = {name: np.asarray(Image.open(root / "val" / "images" / name)) for name in labels}
    if is_sorted:
        for name, label in labels.items():
            folder = root / "val" / sorted(TINY)[label]
            folder.mkdir(exist_ok=True)
            (root / "val" / "images" / name).rename(folder / name)
        (root / "val" / "images").rmdir()
        (root / "val" / "val_annotations.txt").unlink()
    arrays, _ = prepare(tiny(), tmp_path)
    assert (arrays.train_x.shape, arrays.test_x.shape) == ((30, 3, 64, 64), (12, 3, 64, 64))
    assert arrays.train_y.tolist() == [0] * 10 + [1] * 10 + [2] * 10
    names = sorted(labels, key=lambda name: (labels[name], name)) if is_sorted else sorted(labels)
    assert arrays.test_y.tolist() == [labels[name] for name in names]
    assert np.array_equal(arrays.test_x, as_channels_first(np.stack([pixels[name] for name in names])))


def test_an_incompletely_unpacked_tiny_imagenet_raises(tmp_path: Path) -> None:
    root = write_tiny_imagenet(tmp_path / "tiny-imagenet-200", TINY, train=10, val=4)
    (root / "train" / "n02" / "images" / "n02_3.JPEG").unlink()
    assert "every class has 10 images, but n02 has 9" in error_of(tiny(), tmp_path)
    assert "dataset.num_classes=200: " in error_of(config("tiny_imagenet"), write_few(tmp_path / "part"))


def write_few(data_dir: Path) -> Path:
    write_tiny_imagenet(data_dir / "tiny-imagenet-200", TINY, train=2, val=1)
    return data_dir


def test_damaged_annotations_of_tiny_imagenet_are_named(tmp_path: Path) -> None:
    root = write_tiny_imagenet(tmp_path / "tiny-imagenet-200", TINY, train=2, val=2)
    annotations = root / "val" / "val_annotations.txt"
    annotations.write_text(annotations.read_text()[:-30])
    assert str(annotations) in error_of(tiny(), tmp_path) or "images, but" in error_of(tiny(), tmp_path)
    annotations.unlink()
    assert str(annotations) in error_of(tiny(), tmp_path)


def folder_of(root: Path | None, **changes: Any) -> DatasetConfig:
    return config("image_folder", root=None if root is None else str(root), **changes)


def read(root: Path, data_dir: Path, **changes: Any) -> Arrays:
    return prepare(folder_of(root, **changes), data_dir)[0]


def test_an_image_folder_is_read_class_by_class_in_the_order_of_names(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "raw", {"train": 40, "test": 20})
    arrays = read(root, tmp_path / "data")
    for part, x, y in (("train", arrays.train_x, arrays.train_y), ("test", arrays.test_x, arrays.test_y)):
        paths = sorted((root / part).rglob("*.png"))
        assert y.tolist() == [int(path.parent.name.removeprefix("digit")) for path in paths]
        assert np.array_equal(x, as_channels_first(np.stack([np.asarray(Image.open(path)) for path in paths])))


def test_an_image_folder_is_found_in_data_dir_or_its_subfolder_of_that_name(tmp_path: Path) -> None:
    write_tree(tmp_path / "a", {"train": 20, "test": 10})
    write_tree(tmp_path / "b" / "mine", {"train": 20, "test": 10})
    found = [prepare(folder_of(None, name="mine"), tmp_path / place)[1] for place in ("a", "b")]
    assert found[0].fingerprint == found[1].fingerprint


def test_grey_images_have_one_channel_and_mixed_images_three(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "raw", {"train": 20, "test": 10}, channels=1)
    assert read(root, tmp_path / "grey").train_x.shape == (20, 1, 8, 8)
    Image.fromarray(pictures(1, 8)[0][0]).save(root / "train" / "digit0" / "colour.png")
    assert read(root, tmp_path / "mixed").train_x.shape == (21, 3, 8, 8)


def test_images_of_different_sizes_raise_unless_image_size_is_set(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "raw", {"train": 20, "test": 10})
    odd = root / "train" / "digit3" / "large.png"
    Image.fromarray(pictures(1, 20)[0][0]).save(odd)
    line = error_of(folder_of(root), tmp_path / "data")
    assert f"{odd} (20×20 pixels, not 8×8)" in line
    assert "dataset.image_size=" in line
    assert read(root, tmp_path / "data", image_size=16).train_x.shape == (21, 3, 16, 16)


def test_damaged_and_unsupported_files_are_named_with_the_reason(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "raw", {"train": 200, "test": 100}, size=32, suffix="jpg")
    cut, text, deep = (root / "train" / "digit5" / name for name in ("cut.jpg", "notes.txt", "deep.png"))
    whole = next((root / "train" / "digit5").glob("*.jpg")).read_bytes()
    cut.write_bytes(whole[:-60])
    text.write_text("to do")
    Image.fromarray(np.full((32, 32), 40_000, np.uint16)).save(deep)
    line = error_of(folder_of(root), tmp_path / "data")
    assert line.startswith("3 of 303 files cannot be used: ")
    assert f"{cut} (" in line
    assert "truncated" in line
    assert f"{text} (cannot identify image file)" in line
    assert f"{deep} (pixels of mode I;16, not 8 bits a channel)" in line
    assert "image_size" not in line
    assert not list((tmp_path / "data").rglob("*.npy"))


def test_named_pipes_and_newlines_in_file_names_are_reported_in_one_line(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "raw", {"train": 20, "test": 10})
    os.mkfifo(root / "train" / "digit3" / "0000.png")
    (root / "train" / "digit3" / "to\ndo.txt").write_text("to do")
    line = error_of(folder_of(root), tmp_path / "data")
    assert line.startswith("2 of 32 files cannot be used: ")
    assert "0000.png (no regular file)" in line
    assert "to\\ndo.txt (cannot identify image file)" in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: (root / "train" / "readme.md").write_text("x"), "train/readme.md"),
        (lambda root: (root / "train" / "cats").mkdir(), "train/cats: holds no images"),
        (lambda root: (root / "test" / "digit9").rename(root / "test" / "nine"), "only one of them has digit9, nine"),
    ],
    ids=["a file beside the classes", "an empty class", "other classes in test"],
)
def test_an_image_folder_with_ambiguous_classes_raises(damage: Any, message: str, tmp_path: Path) -> None:
    root = write_tree(tmp_path / "raw", {"train": 20, "test": 20})
    damage(root)
    assert message in error_of(folder_of(root), tmp_path / "data")


def test_hidden_files_are_ignored(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "raw", {"train": 20, "test": 10})
    for folder in (root / "train", root / "train" / "digit1"):
        (folder / ".DS_Store").write_text("x")
    assert len(read(root, tmp_path / "data").train_y) == 20


def test_a_missing_root_is_named(tmp_path: Path) -> None:
    assert "dataset.root=/nowhere/at/all: there is no such folder" in error_of(
        folder_of(Path("/nowhere/at/all")), tmp_path
    )
