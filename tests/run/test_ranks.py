"""Several processes train one run: as one does, through kills and stops, and end together."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import ROOT

Together = Callable[..., subprocess.Popen[str]]
WITH_DROPOUT = ("model.dropout=0.2", "update_period=4", "growth=gradient", "recipe.epochs=20", "checkpoint.minutes=0")


@pytest.fixture
def together(overrides: Callable[..., list[str]], tmp_path: Path) -> Together:
    """Starts several processes on one training with an output folder of its own."""

    def start(processes: int, output: str, *more: str) -> subprocess.Popen[str]:
        launcher = ["-m", "torch.distributed.run", f"--nproc-per-node={processes}", "--standalone"]
        return subprocess.Popen(
            [sys.executable, *launcher, "-m", "dst.train", *overrides(*more), f"output_dir={tmp_path / output}"],
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def only_run(output: Path) -> Path:
    (folder,) = (output / "runs").iterdir()
    return folder


def result(output: Path) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], list[dict[str, Any]]]:
    """Returns masks, weights and the lines of topology.jsonl."""
    folder = only_run(output)
    weights = torch.load(folder / "checkpoint.pt")["training"]["model"]
    lines = [json.loads(line) for line in (folder / "topology.jsonl").read_text().splitlines()]
    return torch.load(folder / "masks.pt"), weights, lines


def wait_for_epoch(output: Path, epoch: int) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        for metrics in output.glob("runs/*/metrics.jsonl"):
            if len(metrics.read_text().splitlines()) >= epoch:
                return
        time.sleep(0.02)
    pytest.fail("did not get so far")


@pytest.mark.parametrize(
    ("processes", "more"),
    [
        (2, ("update_period=4", "growth=gradient", "criterion=snip")),
        pytest.param(
            4,
            ("update_period=5", "growth=random", "model=small_cnn", "procedure=cyclic", "procedure.cycles=2"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_they_train_as_one_does(
    processes: int, more: tuple[str, ...], together: Together, train: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    summary = train("recipe.epochs=3", *more)
    status, out, err = ended(together(processes, "together", "recipe.epochs=3", *more))
    assert status == 0, err
    assert out.count("test accuracy") == 1
    folder = only_run(tmp_path / "together")
    assert folder.name == summary["run_id"]
    alone, shared = result(tmp_path / "outputs"), result(tmp_path / "together")
    assert len(alone[2]) > 4
    assert shared[2] == alone[2]
    assert all(torch.equal(shared[0][name], mask) for name, mask in alone[0].items())
    torch.testing.assert_close(shared[1], alone[1], rtol=1e-4, atol=1e-6)
    told = json.loads((folder / "summary.json").read_text())
    assert told["processes"] == processes
    assert told["test_acc"] == pytest.approx(summary["test_acc"], abs=0.01)
    assert told["flops_training"] == pytest.approx(summary["flops_training"])


def test_a_killed_one_ends_them_all_and_they_go_on_as_if_it_had_not(together: Together, tmp_path: Path) -> None:
    assert ended(together(2, "undisturbed", *WITH_DROPOUT))[0] == 0
    launcher = together(2, "killed", *WITH_DROPOUT)
    wait_for_epoch(tmp_path / "killed", 5)
    children = subprocess.run(["pgrep", "-P", str(launcher.pid)], capture_output=True, text=True).stdout.split()
    os.kill(int(children[-1]), signal.SIGKILL)
    assert ended(launcher)[0] != 0
    assert not (only_run(tmp_path / "killed") / "summary.json").exists()
    status, _, err = ended(together(2, "killed", *WITH_DROPOUT))
    assert status == 0, err
    assert "resuming run" in err
    undisturbed, killed = result(tmp_path / "undisturbed"), result(tmp_path / "killed")
    assert killed[2] == undisturbed[2]
    for ours, theirs in zip(killed[:2], undisturbed[:2], strict=True):
        assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())


@pytest.mark.slow
def test_stopped_ones_go_on_with_other_numbers(together: Together, tmp_path: Path) -> None:
    more = (*WITH_DROPOUT, "recipe.epochs=60", "checkpoint.minutes=100")
    launcher = together(2, "stopped", *more)
    wait_for_epoch(tmp_path / "stopped", 2)
    launcher.send_signal(signal.SIGTERM)
    assert ended(launcher)[0] != 0
    assert (only_run(tmp_path / "stopped") / "checkpoint.pt").exists()
    status, _, err = ended(together(1, "stopped", *more))
    assert status == 0, err
    assert "resuming run" in err
    assert json.loads((only_run(tmp_path / "stopped") / "summary.json").read_text())["processes"] == 1


def test_a_batch_that_does_not_go_round_is_one_line(together: Together, tmp_path: Path) -> None:
    status, _, err = ended(together(2, "refused", "recipe.batch_size=127"))
    assert status != 0
    told = [line for line in err.splitlines() if line.startswith("error: ")]
    assert told == [
        "error: recipe.batch_size=127: 2 processes train this run, each on an equal share; give a multiple of 2"
    ]
    assert "dst/" not in err  # no traceback of ours, beside what torch's launcher prints
    assert not (tmp_path / "refused").exists()


@pytest.mark.parametrize(
    ("more", "environment", "different"),
    [("seed=$RANK", "", "configs"), ("", "PYTHONPATH=copy$RANK", "code")],
    ids=["configs", "code"],
)
def test_processes_that_are_not_alike_are_one_line(
    more: str, environment: str, different: str, overrides: Callable[..., list[str]], tmp_path: Path
) -> None:
    for rank in "01":
        for name in ("conf", "dst"):
            shutil.copytree(ROOT / name, tmp_path / f"copy{rank}" / name)
        with open(tmp_path / f"copy{rank}" / "dst" / "seeds.py", "a") as file:
            file.write(f"# {rank}\n")
    arguments = shlex.join([sys.executable, "-m", "dst.train", *overrides()])
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", "--no-python"]
    process = subprocess.run(
        [*launcher, "bash", "-c", f"{environment} exec {arguments} {more}"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode != 0
    assert [line for line in process.stderr.splitlines() if line.startswith("error: ")] == [
        f"error: the processes of this run have different {different}; start them with equal arguments, in equal "
        "environments"
    ]
    assert not (tmp_path / "outputs").exists()


def test_synchronised_batch_norm_on_the_cpu_is_one_line_and_alone_it_changes_nothing(
    together: Together, train: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    more = ("model=resnet56", "model.depth=8", "recipe.epochs=1", "recipe.sync_batch_norm=true")
    status, _, err = ended(together(2, "refused", *more))
    assert status != 0
    told = [line for line in err.splitlines() if line.startswith("error: ")]
    assert told == [
        "error: recipe.sync_batch_norm=true: torch has it for CUDA only, and 2 processes train this run on cpu; give "
        "recipe.sync_batch_norm=false"
    ]
    assert train(*more)["test_acc"] == train(*more[:-1])["test_acc"]
