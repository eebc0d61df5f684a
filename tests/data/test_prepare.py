"""Preparation of a dataset: once for all runs, atomic, safe for concurrent and killed processes."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, TimeoutError
from pathlib import Path

import numpy as np
import pytest

from dst.data import DatasetConfig, prepare
from dst.data.__main__ import main
from dst.errors import UserError
from dst.files.flock import file_lock
from tests.conftest import ROOT
from tests.data.raw import config, write_tree


def folder_config(root: Path) -> DatasetConfig:
    return config("image_folder", name="pictures", root=str(root))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 800 images."""
    return write_tree(tmp_path_factory.mktemp("raw"), {"train": 600, "test": 200}, size=32, suffix="jpg")


@pytest.fixture(scope="module")
def whole(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of images, prepared without interruption."""
    data_dir = tmp_path_factory.mktemp("data")
    prepare(folder_config(root), data_dir)
    return data_dir / "pictures"


@pytest.fixture(scope="module")
def fingerprint(root: Path, whole: Path) -> str:
    return fingerprint_after_prepare(root, whole.parent)


def fingerprint_of_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".npy", ".json")}


def command(*overrides: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "dst.data", "prepare", *overrides],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_decoded_data_are_reused_without_the_raw_data(tmp_path: Path) -> None:
    raw = write_tree(tmp_path / "raw", {"train": 20, "test": 10})
    first, meta = prepare(folder_config(raw), tmp_path / "data")
    raw.rename(tmp_path / "gone")
    second, meta_again = prepare(config("image_folder", name="pictures"), tmp_path / "data")
    assert meta == meta_again
    assert isinstance(second.train_x, np.memmap)
    for part in ("train_x", "train_y", "test_x", "test_y"):
        assert np.array_equal(getattr(first, part), getattr(second, part))


def test_a_second_process_waits_for_the_first_and_logs_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "dst")
    folder, elsewhere = tmp_path / "digits", prepare(config("digits"), tmp_path / "elsewhere")
    folder.mkdir()
    with ThreadPoolExecutor() as threads:
        with file_lock(folder / ".lock") as is_alone:
            assert is_alone
            second = threads.submit(prepare, config("digits"), tmp_path)
            with pytest.raises(TimeoutError):
                second.result(timeout=1)  # ample time to decode the digits
            assert [path.name for path in folder.iterdir()] == [".lock"]
        assert second.result()[1] == elsewhere[1]
    assert caplog.messages == [f"waiting for the process that prepares {folder}"]


def test_the_command_line_prepares_a_dataset(tmp_path: Path) -> None:
    out, _ = command("dataset=digits", f"data_dir={tmp_path}").communicate(timeout=300)
    counts = "1,257 train, 270 validation and 270 test samples of 1×8×8, 10 classes"
    assert out == f"digits: {counts}, in {tmp_path / 'digits'}\n"


def test_concurrent_processes_all_get_the_complete_dataset(root: Path, fingerprint: str, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    with context.Pool(3) as pool:
        found = pool.starmap(fingerprint_after_prepare, [(root, tmp_path)] * 6, chunksize=1)
    assert found == [fingerprint] * 6
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == sorted(
        [".lock", "meta.json", *(f"{part}.npy" for part in ("train_x", "train_y", "test_x", "test_y"))]
    )


def fingerprint_after_prepare(root: Path, data_dir: Path) -> str:
    return prepare(folder_config(root), data_dir)[1].fingerprint


def test_a_process_killed_at_any_moment_leaves_no_partial_dataset(root: Path, fingerprint: str, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    began = time.monotonic()
    fingerprint_after_prepare(root, tmp_path / "undisturbed")
    duration, kills = time.monotonic() - began, 8
    for kill in range(kills):
        process = context.Process(target=fingerprint_after_prepare, args=(root, tmp_path / str(kill)))
        process.start()
        process.join(timeout=1.2 * duration * (kill + 1) / kills)
        process.kill()
        process.join()
        arrays, meta = prepare(folder_config(root), tmp_path / str(kill))
        assert meta.fingerprint == fingerprint
        assert arrays.train_x.shape == (600, 3, 32, 32)
        assert not list((tmp_path / str(kill)).rglob("*.tmp"))


@pytest.fixture
def prepared(whole: Path, tmp_path: Path) -> Path:
    """A copy of the prepared folder, which a test may damage."""
    return Path(shutil.copytree(whole, tmp_path / "pictures"))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def change_one_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def replace_array(path: Path) -> None:
    np.save(path, np.zeros(7))


def replace_by_text(path: Path) -> None:
    path.write_text("hello")


@pytest.mark.parametrize("damage", [truncate, change_one_byte, replace_array, replace_by_text, Path.unlink])
@pytest.mark.parametrize("name", ["train_x.npy", "test_y.npy"])
def test_a_damaged_decoded_file_is_reported_and_decoded_again(
    damage: Callable[[Path], object],
    name: str,
    prepared: Path,
    root: Path,
    fingerprint: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    before = fingerprint_of_files(prepared)
    damage(prepared / name)
    _, meta = prepare(folder_config(root), prepared.parent)
    assert meta.fingerprint == fingerprint
    assert fingerprint_of_files(prepared) == before
    (message,) = caplog.messages
    assert message.startswith(str(prepared / name))
    assert message.endswith("; decoding the dataset anew")


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"format": 1}'])
def test_a_damaged_meta_json_is_reported_and_the_dataset_decoded_again(
    content: str, prepared: Path, root: Path, fingerprint: str, caplog: pytest.LogCaptureFixture
) -> None:
    (prepared / "meta.json").write_text(content)
    assert prepare(folder_config(root), prepared.parent)[1].fingerprint == fingerprint
    assert caplog.messages[0].startswith(str(prepared / "meta.json"))


@pytest.mark.parametrize("key", ["digests", "shape", "num_classes"])
def test_a_meta_json_without_a_value_is_reported_and_the_dataset_decoded_again(
    key: str, prepared: Path, root: Path, fingerprint: str, caplog: pytest.LogCaptureFixture
) -> None:
    whole = json.loads((prepared / "meta.json").read_text())
    (prepared / "meta.json").write_text(json.dumps({**whole, key: None}))
    assert prepare(folder_config(root), prepared.parent)[1].fingerprint == fingerprint
    assert caplog.messages[0].startswith(str(prepared / "meta.json"))


def test_other_raw_data_under_the_same_name_raise_and_leave_the_files_unchanged(prepared: Path, tmp_path: Path) -> None:
    other = write_tree(tmp_path / "other", {"train": 20, "test": 10})
    before = fingerprint_of_files(prepared)
    with pytest.raises(UserError, match=r"^dataset\.root=[^\n]*give the new data a dataset\.name of their own"):
        prepare(folder_config(other), prepared.parent)
    with pytest.raises(UserError, match=r"^dataset\.image_size=16: [^\n]*image_size=None"):
        prepare(config("image_folder", name="pictures", image_size=16), prepared.parent)
    with pytest.raises(UserError, match=r"^dataset\.source=digits: [^\n]*source=image_folder"):
        prepare(config("digits", name="pictures"), prepared.parent)
    assert fingerprint_of_files(prepared) == before


def test_an_unwritable_data_dir_raises_a_one_line_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match=r"^data_dir=[^\n]*Not a directory; choose a data_dir of your own[^\n]*$"):
        prepare(config("digits"), tmp_path / "file")


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ("image_folder", "error: dataset=image_folder: nothing usable at "),
        ("digit", "error: dataset=digit: unknown; did you mean digits?"),
    ],
)
def test_the_command_line_prints_user_errors_in_one_line_and_exits_with_2(
    dataset: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["prepare", f"dataset={dataset}", f"data_dir={tmp_path}"])
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert err.startswith(message)


def test_the_command_line_counts_the_images_of_a_streamed_dataset(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_tree(tmp_path / "imagenet", {"train": 20, "val": 10})
    main(["prepare", "dataset=imagenet", f"data_dir={tmp_path}", "dataset.num_classes=10"])
    assert capsys.readouterr().out == f"imagenet: 20 train and 10 test images, decoded as runs go, in {root}\n"
