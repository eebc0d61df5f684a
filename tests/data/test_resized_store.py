"""The store of resized images: the samples of the original files, prepared once, safe to kill and to share."""

from __future__ import annotations

import io
import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from dst.attempt import Stopped
from dst.config import compose, run_id
from dst.data import Data, DatasetConfig, load, resized_store
from dst.data.__main__ import main
from dst.errors import PlaceError, UserError
from dst.train import run
from tests.data.raw import config
from tests.run.outcomes import outcomes

CPU = torch.device("cpu")
TRAIN, TEST = 36, 8


def small(**changes: Any) -> DatasetConfig:
    size = {"image_size": 64, "shape": [3, 64, 64], "num_classes": 4}
    return config("imagenet", **({**size, "workers": 0, "store": "resized"} | changes))


def data_of(data_dir: Path, seed: int = 1, **changes: Any) -> Data:
    return load(small(**changes), data_dir, device=CPU, batch_size=8, seed=seed)


def write_photos(root: Path) -> Path:
    """Writes ``train`` and ``val``: smooth images of several sizes, one of them grey, some small."""
    random = np.random.default_rng(0)
    for index in range(TRAIN + TEST):
        coarse = random.integers(0, 256, (6, 8, 3)).astype(np.uint8)
        size = [(400, 300), (300, 420), (333, 500), (120, 90)][index // 4 % 4]
        image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
        folder = root / ("train" if index < TRAIN else "val") / f"class{index % 4}"
        folder.mkdir(parents=True, exist_ok=True)
        image.convert("L" if index == 5 else "RGB").save(folder / f"{index:03}.JPEG", quality=95)
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resized_store, "IMAGES_PER_SHARD", 5)


@pytest.fixture(scope="module")
def data_dir(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a complete store, prepared without interruption."""
    data_dir = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resized_store, "IMAGES_PER_SHARD", 5)
        data_of(data_dir, root=str(root))
    return data_dir


def contents(data_dir: Path) -> dict[str, bytes]:
    folder = data_dir / "imagenet" / "resized"
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


def concatenate(batches: Any) -> tuple[Tensor, Tensor]:
    parts = list(batches)
    return torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])


def prepare(data_dir: Path, root: Path, **changes: Any) -> str:
    return data_of(data_dir, root=str(root), **changes).fingerprint


@pytest.mark.parametrize("part", ["train", "val"])
def test_samples_are_those_of_the_original_files_in_order_label_and_crop(part: str, root: Path, data_dir: Path) -> None:
    stored, original = data_of(data_dir), data_of(data_dir, root=str(root), store="original")
    for epoch in range(2 if part == "train" else 1):
        x, y, expected_x, expected_y = (
            tensor
            for data in (stored, original)
            for tensor in concatenate(data.train.raw_batches(epoch) if part == "train" else data.val)
        )
        assert torch.equal(y, expected_y)
        scale = 1.0 if part == "train" else 255 * 0.225
        difference = (x.float() - expected_x.float()).abs().mean((1, 2, 3)) * scale
        assert difference.max() < 4  # of 255; another crop of these images differs by tens
        unlike = (x.float() - expected_x.float().roll(1, 0)).abs().mean((1, 2, 3)) * scale
        assert unlike.median() > 20


def test_worker_processes_yield_the_batches_of_a_single_process(data_dir: Path) -> None:
    alone, workers = data_of(data_dir), data_of(data_dir, workers=2)
    for expected, found in zip(alone.train.raw_batches(3, 2), workers.train.raw_batches(3, 2), strict=True):
        assert torch.equal(expected[0], found[0])
        assert torch.equal(expected[1], found[1])


def test_the_shorter_side_is_256_pixels_and_smaller_images_are_not_enlarged(root: Path, data_dir: Path) -> None:
    found = resized_store.prepare_resized(small(), data_dir, pytest.fail)
    paths = sorted((root / "train").rglob("*.JPEG"))
    for index, path in enumerate(paths):
        with Image.open(path) as original, Image.open(io.BytesIO(found.train.jpeg(index))) as image:
            assert min(image.size) == min(256, *original.size)
            assert (found.train.rows[index]["width"], found.train.rows[index]["height"]) == original.size


def test_a_complete_store_needs_no_original_images(data_dir: Path) -> None:
    assert len(concatenate(data_of(data_dir, root=None).train.raw_batches(0))[1]) == TRAIN


@pytest.mark.parametrize("workers", [1, 3])
def test_any_number_of_processes_writes_the_same_files(
    workers: int, root: Path, data_dir: Path, tmp_path: Path
) -> None:
    prepare(tmp_path, root, workers=workers)
    assert contents(tmp_path) == contents(data_dir)


def test_preparation_killed_at_any_moment_goes_on_with_the_finished_shards(
    root: Path, data_dir: Path, tmp_path: Path
) -> None:
    context, kept_some = multiprocessing.get_context("fork"), False
    for kill in range(4):
        place = tmp_path / str(kill)
        folder = place / "imagenet" / "resized"
        process = context.Process(target=prepare, args=(place, root), kwargs={"workers": int(kill == 2)})
        process.start()
        while process.is_alive() and len(list(folder.glob("*.shard"))) < 2 * kill:
            time.sleep(0.002)
        assert process.pid
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        finished = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.shard")}
        prepare(place, root)
        kept_some |= 0 < len(finished) < 10
        assert all((folder / name).stat().st_mtime_ns == written for name, written in finished.items())
        assert contents(place) == contents(data_dir)
    assert kept_some


def test_concurrent_preparations_end_with_one_complete_store(root: Path, data_dir: Path, tmp_path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(3) as pool:
        found = pool.starmap(prepare, [(tmp_path, root)] * 3, chunksize=1)
    assert found == [data_of(data_dir).fingerprint] * 3
    assert contents(tmp_path) == contents(data_dir)


@pytest.mark.parametrize("workers", [0, 2])
def test_all_unusable_images_are_named_together_and_repairing_them_keeps_the_other_shards(
    workers: int, data_dir: Path, tmp_path: Path
) -> None:
    root = write_photos(tmp_path / "photos")
    broken = [root / "train" / "class0" / "000.JPEG", root / "val" / "class3" / "043.JPEG"]
    sound = [path.read_bytes() for path in broken]
    broken[0].write_bytes(sound[0][:400])
    broken[1].write_text("no image")
    with pytest.raises(UserError, match=r"^2 of 44 images cannot be used: [^\n]*give the same command again$") as error:
        prepare(tmp_path, root, workers=workers)
    listed = (tmp_path / "imagenet" / "resized" / "unusable.txt").read_text()
    assert all(str(path) in text for path in broken for text in (listed, str(error.value)))
    before = contents(tmp_path)
    assert "meta.json" not in before
    for path, content in zip(broken, sound, strict=True):
        path.write_bytes(content)
    prepare(tmp_path, root)
    after = contents(tmp_path)
    shards = [name for name in before if name.endswith(".shard")]
    assert len(shards) == 8
    assert all(after[name] == before[name] for name in shards)
    sizes = [
        sorted(len(found[name]) for name in found if name.endswith(".shard")) for found in (after, contents(data_dir))
    ]
    assert sizes[0] == sizes[1]


def copy_of(data_dir: Path, to: Path) -> Path:
    folder = to / "imagenet" / "resized"
    folder.mkdir(parents=True)
    for name, content in contents(data_dir).items():
        (folder / name).write_bytes(content)
    return folder


def a_shard(folder: Path) -> Path:
    return min(folder.glob("*.shard"))


def truncate(folder: Path) -> None:
    a_shard(folder).write_bytes(a_shard(folder).read_bytes()[:-7])


def empty(folder: Path) -> None:
    a_shard(folder).write_bytes(b"")


def remove(folder: Path) -> None:
    a_shard(folder).unlink()


def damage_the_index(folder: Path) -> None:
    content = bytearray(a_shard(folder).read_bytes())
    content[-40] ^= 1
    a_shard(folder).write_bytes(content)


def remove_the_meta(folder: Path) -> None:
    (folder / "meta.json").unlink()


def cut_the_meta(folder: Path) -> None:
    (folder / "meta.json").write_text((folder / "meta.json").read_text()[:100])


@pytest.mark.parametrize("damage", [truncate, empty, remove, damage_the_index, remove_the_meta, cut_the_meta])
def test_an_incomplete_store_is_refused_without_the_original_images_and_completed_with_them(
    damage: Callable[[Path], None], root: Path, data_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = copy_of(data_dir, tmp_path)
    damage(folder)
    with pytest.raises(
        PlaceError, match=rf"^{folder} is not complete, and finishing it needs the original images: [^\n]*$"
    ):
        data_of(tmp_path, root=None)
    prepare(tmp_path, root)
    assert contents(tmp_path) == contents(data_dir)
    assert all(record.levelno == logging.WARNING for record in caplog.records)


def test_a_damaged_image_is_told_in_one_line_when_it_is_read(data_dir: Path, tmp_path: Path) -> None:
    shard = a_shard(copy_of(data_dir, tmp_path))
    content = bytearray(shard.read_bytes())
    content[500] ^= 1
    shard.write_bytes(content)
    data = data_of(tmp_path, workers=2)
    with pytest.raises(UserError, match=rf"^{shard} is damaged; remove it, and the same command makes this file anew$"):
        list(data.train.raw_batches(0)), list(data.val)


@pytest.mark.parametrize("damage", [None, truncate])
def test_a_store_of_another_tree_is_refused_and_kept(
    damage: Callable[[Path], None] | None, data_dir: Path, tmp_path: Path
) -> None:
    other, folder = write_photos(tmp_path / "other"), copy_of(data_dir, tmp_path)
    if damage:
        damage(folder)
    before = contents(tmp_path)
    with pytest.raises(UserError, match=r"^dataset\.root=[^\n]* was made from [^\n]* a dataset\.name of their own"):
        prepare(tmp_path, other)
    assert contents(tmp_path) == before


def test_the_command_line_prepares_the_store(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    size = ("dataset.image_size=64", "dataset.num_classes=4", "dataset.workers=2")
    main(
        ["prepare", "dataset=imagenet", "dataset.store=resized", *size, f"dataset.root={root}", f"data_dir={tmp_path}"]
    )
    told = capsys.readouterr().out
    assert told.startswith("imagenet: 36 train and 8 test images, resized to a shorter side of 256 pixels, 0.0")
    assert told.endswith(f" GB in {tmp_path / 'imagenet' / 'resized'}\n")


def test_a_run_stopped_and_resumed_ends_as_one_that_prepared_the_store_and_was_never_stopped(
    root: Path, tmp_path: Path
) -> None:
    def config_of(name: str) -> Any:
        size = ("dataset.image_size=32", "dataset.num_classes=4", "dataset.workers=0", "recipe.batch_size=8")
        data = ("dataset=imagenet", "dataset.store=resized", f"dataset.root={root}", *size)
        short = ("model=small_cnn", "recipe.epochs=2", "update_period=3", "tracker=local", "device=cpu")
        return compose([*data, *short, f"data_dir={tmp_path}", f"output_dir={tmp_path / name}"])

    run(config_of("undisturbed"))
    asked = iter(range(7))
    with pytest.raises(Stopped):
        run(config_of("stopped"), should_stop=lambda: next(asked, None) is None)
    run(config_of("stopped"))
    assert outcomes(tmp_path / "stopped") == outcomes(tmp_path / "undisturbed")


def test_the_store_enters_the_identity_only_where_it_is_chosen() -> None:
    ids = [run_id(compose(["dataset=imagenet", "model=resnet50", *more])) for more in (
        [], ["dataset.store=original"], ["dataset.store=resized"], ["dataset.store=resized", "dataset.workers=3"],
    )]  # fmt: skip
    assert ids[0] == ids[1]
    assert ids[2] == ids[3]
    assert ids[0] != ids[2]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["dataset=cifar10"], "dataset.store=resized: dataset=cifar10 is decoded once anyway; leave it at original"),
        (["dataset=imagenet", "dataset.image_size=288"], "dataset.image_size=288: dataset.store=resized keeps 256 pix"),
        (["dataset=imagenet", "dataset.store=small"], "dataset.store=small: "),
    ],
)
def test_a_store_without_use_is_refused_in_one_line(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError) as error:
        run_id(compose(["dataset.store=resized", *overrides]))
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
