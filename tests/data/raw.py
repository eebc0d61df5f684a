"""Raw data in the formats of their publishers, made from the digits of scikit-learn."""

from __future__ import annotations

import pickle
import struct
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dst.config import checked, compose
from dst.data import DatasetConfig


@cache
def composed(dataset: str) -> DatasetConfig:
    return checked(compose([f"dataset={dataset}"])).dataset


def config(dataset: str, **changes: Any) -> DatasetConfig:
    """Returns the composed ``dataset`` group with some fields replaced."""
    return replace(composed(dataset), **changes)


@cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    """Returns all digits, uint8 ``(1797, 8, 8)``, and their labels; the ten classes alternate."""
    from sklearn.datasets import load_digits

    data = load_digits()
    labels = data.target.astype(np.int64)
    turn = np.array([np.sum(labels[:index] == label) for index, label in enumerate(labels)])
    order = np.lexsort((labels, turn))
    return np.rint(data.images * (255 / 16)).astype(np.uint8)[order], labels[order]


def pictures(count: int, size: int, first: int = 0, channels: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Returns digits enlarged to ``(count, size, size, channels)``, with differing channels, and their labels."""
    images, labels = (array[first : first + count] for array in digits())
    large = images.repeat(-(-size // 8), axis=1).repeat(-(-size // 8), axis=2)[:, :size, :size, None]
    dimmed = [large - np.minimum(large, 40 * channel).astype(np.uint8) for channel in range(channels)]
    return np.concatenate(dimmed, axis=3), labels


def write_tree(root: Path, parts: dict[str, int], size: int = 8, channels: int = 3, suffix: str = "png") -> Path:
    """Writes ``<part>/<digit>/<number>.<suffix>``; ``parts`` gives the number of images of each part."""
    first = 0
    for part, count in parts.items():
        images, labels = pictures(count, size, first, channels)
        for index, (image, label) in enumerate(zip(images, labels, strict=True)):
            folder = root / part / f"digit{label}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image if channels == 3 else image[..., 0]).save(folder / f"{index:04}.{suffix}")
        first += count
    return root


def write_cifar(root: Path, names: list[str], per_file: int, meta: str, label_key: str) -> None:
    """Writes the Python version of CIFAR: pickled rows of 3,072 bytes, channels first."""
    root.mkdir(parents=True)
    for number, name in enumerate(names):
        images, labels = pictures(per_file, 32, number * per_file)
        rows = images.transpose(0, 3, 1, 2).reshape(per_file, -1)
        entry = {"data": rows, label_key: labels.tolist(), "filenames": ["x.png"] * per_file}
        (root / name).write_bytes(pickle.dumps(entry, protocol=2))
    classes = {"label_names": list("0123456789"), "fine_label_names": list("0123456789")}
    (root / meta).write_bytes(pickle.dumps(classes, protocol=2))


def write_idx(path: Path, array: np.ndarray) -> None:
    """Writes the IDX format of MNIST: a header of big-endian integers, then the bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack(f">{array.ndim + 1}i", 0x800 + array.ndim, *array.shape) + array.tobytes())


def write_tiny_imagenet(root: Path, classes: list[str], train: int, val: int) -> Path:
    """Writes the tree of ``tiny-imagenet-200.zip``, with its text files of boxes and annotations."""
    images, _ = pictures(len(classes) * (train + val), 64)
    lines, number = [], 0
    (root / "val" / "images").mkdir(parents=True)
    for name in classes:
        folder = root / "train" / name / "images"
        folder.mkdir(parents=True)
        (folder.parent / f"{name}_boxes.txt").write_text("x_0.JPEG\t0\t0\t63\t63\n")
        for index in range(train):
            Image.fromarray(images[number]).save(folder / f"{name}_{index}.JPEG", quality=95)
            number += 1
        for _ in range(val):
            Image.fromarray(images[number]).save(root / "val" / "images" / f"val_{number}.JPEG", quality=95)
            lines.append(f"val_{number}.JPEG\t{name}\t0\t0\t63\t63\n")
            number += 1
    (root / "val" / "val_annotations.txt").write_text("".join(reversed(lines)))
    return root


def higgs_like() -> tuple[np.ndarray, np.ndarray]:
    """Returns 24 pixels each of 400 digits as features, and whether the digits are odd."""
    images, labels = pictures(400, 8, channels=1)
    return images.reshape(400, -1)[:, 10:34].astype(float) / 7, labels % 2


def write_openml(home: Path, features: np.ndarray, labels: np.ndarray) -> Path:
    """Writes scikit-learn's cache of OpenML 44129; returns the data file."""
    import gzip
    import hashlib
    import json

    names = [f"f{i}" for i in range(features.shape[1])]
    rows = [",".join([*map(repr, row), str(label)]) for row, label in zip(features.tolist(), labels, strict=True)]
    kinds = [*(f"@attribute {name} numeric" for name in names), "@attribute target {0,1}"]
    arff = "\n".join(["@relation higgs", *kinds, "@data", *rows, ""]).encode()

    def column(index: int, name: str, is_target: bool) -> dict[str, Any]:
        kind = {"data_type": "nominal", "nominal_value": ["0", "1"]} if is_target else {"data_type": "numeric"}
        flags = {"is_target": str(is_target).lower(), "is_ignore": "false", "is_row_identifier": "false"}
        return {"index": str(index), "name": name, "number_of_missing_values": "0", **kind, **flags}

    columns = [*(column(i, name, False) for i, name in enumerate(names)), column(len(names), "target", True)]
    description = {
        "id": "44129",
        "name": "Higgs",
        "description": "collisions",
        "version": "2",
        "format": "ARFF",
        "status": "active",
        "url": "https://api.openml.org/data/v1/download/22103275/Higgs.arff",
        "md5_checksum": hashlib.md5(arff).hexdigest(),
    }
    quality = [{"name": "NumberOfInstances", "value": f"{len(labels)}.0"}]
    answers = {
        "api/v1/json/data/44129": {"data_set_description": description},
        "api/v1/json/data/features/44129": {"data_features": {"feature": columns}},
        "api/v1/json/data/qualities/44129": {"data_qualities": {"quality": quality}},
    }
    files = {f"openml.org/{path}": json.dumps(answer).encode() for path, answer in answers.items()}
    files["openml.org/data/v1/download/22103275/Higgs.arff"] = arff
    for path, content in files.items():
        file = home / "openml" / f"{path}.gz"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(gzip.compress(content))
    return file
