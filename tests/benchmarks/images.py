"""Training images per second and core, from original files of ImageNet's typical size and from their resized store.

python -m tests.benchmarks.images [images=3000] [rounds=3] [folder=…]

Pixels are synthetic: smooth colours and fine noise, 500 × 375, about 105 KB a file. Files lie in the file cache:
processor time alone is measured, which other work on the machine makes longer.
"""

from __future__ import annotations

import logging
import math
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision import transforms
from torchvision.transforms import functional

from dst.config import DatasetConfig, checked, compose
from dst.data.class_folders import Images
from dst.data.image_files import ImageFiles
from dst.data.imagenet import find_images
from dst.data.resized_images import SHORTER_SIDE, ResizedImages
from dst.data.resized_store import prepare_resized

NODE_RATE = 8 * 2500
"""Images per second of eight A100s that train ResNet-50 in mixed precision."""

IMAGENET = 1_281_167 + 50_000
_CLASSES = 10


def main(*arguments: str) -> None:
    given = {"images": "3000", "rounds": "3", "folder": ""}
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key not in given:
            sys.exit(f"error: {argument}: choose from {', '.join(f'{name}=…' for name in given)}")
        given[key] = value
    torch.set_num_threads(1)
    logging.basicConfig(format="%(message)s")
    with tempfile.TemporaryDirectory(dir=given["folder"] or None) as folder:
        report(Path(folder), int(given["images"]), int(given["rounds"]))


def report(folder: Path, count: int, rounds: int) -> None:
    """Writes ``count`` images and their store to ``folder``, measures and prints the table."""
    root = write_photos(folder / "photos", count)
    cfg: DatasetConfig = checked(
        compose(["dataset=imagenet", "model=resnet50", f"dataset.num_classes={_CLASSES}", f"dataset.root={root}",
                 "dataset.workers=0", "dataset.store=resized"])
    ).dataset  # fmt: skip
    _, train, _ = find_images(cfg, folder)
    began = time.process_time()
    store = prepare_resized(cfg, folder, lambda: find_images(cfg, folder))
    seconds = time.process_time() - began
    pixels = raw_pixels(train, folder / "raw.npy")
    raw_transform = transforms.Compose(
        [transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip(), transforms.PILToTensor()]
    )
    files, resized = ImageFiles(train, 224, augment=True), ResizedImages(store.train, 224, augment=True)
    samples: dict[str, tuple[float, Callable[[int], Any]]] = {
        "original files": (sum(path.stat().st_size for path in train.paths), lambda index: files[index, index]),
        "resized, JPEG": (float(store.train.rows["length"].sum()), lambda index: resized[index, index]),
        "resized, uint8": (pixels.nbytes, lambda index: raw_transform(Image.fromarray(pixels[index]))),
    }
    print(f"{count} images; prepared {count / seconds:.0f} a second and core\n")
    print(f"{'':16}{'KB/image':>10}{'ImageNet':>10}{'images/s/core':>15}{f'cores for {NODE_RATE:,}/s':>22}")
    for name, (size, sample) in samples.items():
        rate = count / min(_seconds(sample, count) for _ in range(rounds))
        told = f"{size / count / 1e3:>10.0f}{size / count * IMAGENET / 1e9:>7.0f} GB{rate:>15.0f}"
        print(f"{name:16}{told}{math.ceil(NODE_RATE / rate):>22}", flush=True)


def write_photos(root: Path, count: int) -> Path:
    """Writes ``count`` training images of 500 × 375 pixels in class folders, and one of each class for testing."""
    random = np.random.default_rng(0)
    noise = random.normal(0, 9, (600, 700, 3)).astype(np.float32)
    for index in range(count + _CLASSES):
        folder = root / ("train" if index < count else "val") / f"class{index % _CLASSES}"
        folder.mkdir(parents=True, exist_ok=True)
        y, x = random.integers(0, (225, 200))
        total = 128 + noise[y : y + 375, x : x + 500]
        for columns, amplitude in ((8, 60), (32, 40), (128, 25)):
            coarse = random.normal(0, amplitude, (3, columns * 3 // 4, columns)).astype(np.float32)
            total += np.stack([Image.fromarray(c).resize((500, 375), Image.Resampling.BICUBIC) for c in coarse], 2)
        Image.fromarray(total.clip(0, 255).astype(np.uint8)).save(folder / f"{index:05}.JPEG", quality=93)
    return root


def raw_pixels(images: Images, path: Path) -> np.ndarray[Any, Any]:
    """Returns the images resized, memory-mapped uint8 ``(N, 256, 341, 3)``: what a store without JPEG would hold."""
    width = SHORTER_SIDE * 500 // 375
    shape = (len(images.paths), SHORTER_SIDE, width, 3)
    pixels = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
    for index, file in enumerate(images.paths):
        pixels[index] = np.asarray(functional.resize(Image.open(file), SHORTER_SIDE))
    return pixels


def _seconds(sample: Callable[[int], Any], count: int) -> float:
    """Returns the processor time of ``count`` samples."""
    began = time.process_time()
    for index in range(count):
        sample(index)
    return time.process_time() - began


if __name__ == "__main__":
    main(*sys.argv[1:])
