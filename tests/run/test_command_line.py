"""``python -m dst.train`` as a person meets it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT

Command = Callable[..., "subprocess.Popen[str]"]


def test_a_run_says_what_it_is_how_it_ended_and_where_its_results_are(command: Command, tmp_path: Path) -> None:
    process = command("criterion=snip", "growth=gradient", cwd=tmp_path)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    assert "snip pruning, gradient growth, density 0.1, Δt 25, seed 1" in stdout
    assert "test accuracy 0." in stdout
    folder = Path(stdout.strip().splitlines()[-1].removeprefix("results in "))
    assert json.loads((folder / "summary.json").read_text())["status"] == "finished"
    assert stderr == ""  # no terminal, no progress bar
    assert {path.name for path in tmp_path.iterdir()} <= {"outputs", "data"}


@pytest.mark.parametrize(
    ("mistake", "told"),
    [
        ("model=huge_mlp", "model=huge_mlp: unknown"),
        ("density.value=7", "density.value=7"),
        ("device=cuda:99", "device=cuda:99"),
        ("model=resnet50", "model=resnet50"),
        ("seeed=1", "seeed"),
        ("density=[", "density=["),
    ],
)
def test_a_mistake_is_one_line_and_exit_status_2(command: Command, tmp_path: Path, mistake: str, told: str) -> None:
    process = command(mistake)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 2, stdout
    assert len(stderr.splitlines()) == 1
    assert stderr.startswith("error: ")
    assert told in stderr
    assert not (tmp_path / "outputs").exists()


def test_output_that_nobody_reads_is_no_traceback(overrides: Callable[..., list[str]], tmp_path: Path) -> None:
    line = f"{sys.executable} -m dst.train {' '.join(overrides('recipe.epochs=1'))} | true; echo ${{PIPESTATUS[0]}}"
    process = subprocess.run(["bash", "-c", line], cwd=ROOT, capture_output=True, text=True)
    assert (process.stdout, process.stderr) == ("141\n", "")


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_a_run_starts_without_importing_what_it_does_not_use(
    overrides: Callable[..., list[str]], optimizer: str
) -> None:
    line = (
        "import sys; from dst.train import main; main(); print({'torch._dynamo', 'wandb', 'pandas'} & {*sys.modules})"
    )
    arguments = overrides("recipe.epochs=1", "checkpoint.minutes=0", f"recipe.optimizer={optimizer}")
    for _ in range(2):  # train; then return what is finished
        process = subprocess.run(
            [sys.executable, "-c", line, *arguments],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert process.stdout.splitlines()[-1] == "set()", process.stderr


def test_hydras_multirun_trains_the_grid(command: Command, tmp_path: Path) -> None:
    process = command("criterion=magnitude,set", "density=d0.1,dense", "recipe.epochs=1", "--multirun")
    _, stderr = process.communicate(timeout=240)
    assert process.returncode == 0, stderr
    runs = tmp_path / "outputs" / "runs"
    found = {
        (summary["criterion"], summary["density"])
        for summary in (json.loads(path.read_text()) for path in runs.glob("*/summary.json"))
    }
    assert found == {("magnitude", 0.1), ("set", 0.1), (None, 1.0)}  # dense has no criterion: one run for both
