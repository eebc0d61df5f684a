"""A fault of the machine or a folder is a one-line error of the worker; the runs stay unfinished."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dst.errors import PlaceError
from dst.files.atomic import atomic_file
from tests.data.raw import write_tree
from tests.launch.study import Study
from tests.slurm.cluster import wait_until

SUBMIT = ("submit", "sweep=sweep", "cluster=local", "cluster.runs_per_gpu=2")


@contextlib.contextmanager
def file_size_limit(limit: int) -> Iterator[None]:
    """Processes started in the block cannot write files of more than ``limit`` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_runs_without_data_or_disk_space_stay_unfinished_and_train_once_it_is_there(study: Study) -> None:
    images = study.folder / "images"
    folder = ("dataset=image_folder", f"dataset.root={images}", "dataset.name=mine", "recipe.epochs=1")
    runs = study.plan("sweep", *folder, f"data_dir={study.folder / 'data'}", "model.hidden=[64]", "seed=range(1,6)")

    def refused(told: str) -> None:
        answer = study.launch(*SUBMIT, rc=2).strip().splitlines()
        assert answer[-1].startswith("error: ")
        assert told in answer[-1]
        assert not [line for line in answer if "Traceback" in line or "failed" in line]
        assert not list(study.output_dir.glob("runs/*/failure.json"))
        assert not list(study.output_dir.glob("runs/*/claim.*"))

    refused("there is no such folder")
    write_tree(images, {"train": 200, "test": 100})
    with file_size_limit(60_000):
        refused("no space left to write")
    assert study.launch(*SUBMIT).count("Traceback") == 0
    assert all(map(study.is_finished, runs))


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder of a file system that is mounted read-only."""
    folder = tmp_path / "read only"
    folder.mkdir()
    mount = shutil.which("mount")
    if not mount or subprocess.run([mount, "-t", "tmpfs", "-o", "ro", "none", folder], capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_read_only_file_system_is_a_one_line_error(read_only: Path) -> None:
    with pytest.raises(PlaceError, match=r"^cannot write .*summary\.json \(Read-only file system\)"):  # noqa: SIM117
        with atomic_file(read_only / "summary.json"):
            pass


@pytest.mark.parametrize("how", ["terminal closed", "worker terminated", "worker killed"])
def test_training_processes_without_worker_or_terminal_write_a_checkpoint_and_no_traceback(
    study: Study, how: str
) -> None:
    (run_id,) = study.plan("sweep", "recipe.epochs=100000")
    process = study.start(*SUBMIT)
    wait_until(lambda: (study.run_dir(run_id) / "metrics.jsonl").exists(), "the run to be under way")
    if how == "terminal closed":
        os.killpg(process.pid, signal.SIGHUP)
    else:
        process.send_signal(signal.SIGTERM if how == "worker terminated" else signal.SIGKILL)
    out, err = process.communicate(timeout=60)  # until the training processes have closed both
    assert "Traceback" not in out + err + study.log(run_id)
    assert (study.run_dir(run_id) / "checkpoint.pt").exists()
    assert not list(study.run_dir(run_id).glob("claim.*"))
