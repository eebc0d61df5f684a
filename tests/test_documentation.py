"""The examples of the documentation, pasted into a checkout as a reader would, and trained."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT

_FILE = re.compile(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", re.DOTALL)
_DIFF = re.compile(r"```diff\n(.*?)```", re.DOTALL)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the code and configs with every example file and diff of the documentation applied."""
    folder = tmp_path / "checkout"
    for part in ("dst", "launch", "analysis", "conf"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        text = page.read_text()
        for name, content in _FILE.findall(text):
            (folder / name).write_text(content)
        for diff in _DIFF.findall(text):
            command(folder, "git", "apply", "--recount", "-", given=diff)
    return folder


def command(folder: Path, *words: str, given: str = "") -> str:
    """Runs a command in ``folder`` with ``given`` as its standard input; returns what it printed."""
    ended = subprocess.run(words, cwd=folder, input=given, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def trained(checkout: Path, *overrides: str) -> dict[str, object]:
    short = ("recipe.epochs=2", "update_period=5", "tracker=local")
    command(checkout, sys.executable, "-m", "dst.train", *overrides, *short)
    (summary,) = (checkout / "outputs" / "runs").glob("*/summary.json")
    return json.loads(summary.read_bytes())  # type: ignore[no-any-return]


def test_the_documented_components_train_together_and_the_documented_figure_is_drawn(
    checkout: Path, data_dir: Path
) -> None:
    components = ("criterion=movement", "growth=noisy", "prune_fraction=exponential", "model=wide", "recipe=adamw_50")
    summary = trained(checkout, *components, "dataset=digits", f"data_dir={data_dir}")
    assert (summary["criterion"], summary["growth"], summary["model"]) == ("movement", "noisy", "wide")
    assert summary["status"] == "finished"
    assert summary["topology_updates"]
    command(checkout, sys.executable, "-m", "analysis", "figures", "fig=cost")
    assert (checkout / "results" / "figures" / "figure_cost.png").read_bytes().startswith(b"\x89PNG")


def test_the_documented_procedure_prunes_once_and_fine_tunes(checkout: Path, data_dir: Path) -> None:
    chosen = ("procedure=one_shot", "procedure.tuning_epochs=3", "dataset=digits", "model=small_mlp", "density=0.1")
    summary = trained(checkout, *chosen, f"data_dir={data_dir}")
    (path,) = (checkout / "outputs" / "runs").glob("*/phases.jsonl")
    (pruning,) = [json.loads(line) for line in path.with_name("topology.jsonl").read_text().splitlines()]
    phases = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(phase["name"], phase["epochs"]) for phase in phases] == [("dense", 2), ("fine-tuning", 3)]
    assert [phase["density"] for phase in phases] == [1.0, pytest.approx(0.1, abs=1e-4)]
    assert (summary["procedure"], summary["epochs"], summary["topology_updates"]) == ("one_shot", 5, 1)
    dense = 2 * 84_480  # small_mlp on digits: a multiplication and an addition a weight
    sparse = sum(2 * counts["active"] for counts in pruning["layers"].values())
    samples = 1_257
    assert summary["flops_inference"] == sparse
    assert summary["flops_training"] == pytest.approx(3 * samples * (2 * dense + 3 * sparse), rel=0.01)


def test_the_documented_probe_sees_the_masks_turn_over(checkout: Path, data_dir: Path) -> None:
    probes = ("probes=[gradient_flow,turnover]", "probes.turnover.every=5")
    trained(checkout, *probes, "dataset=digits", "model=small_mlp", f"data_dir={data_dir}")
    (path,) = (checkout / "outputs" / "runs").glob("*/probes/turnover.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 5, 10, 15, 20]
    assert [line["turnover"] > 0 for line in lines] == [False, False, True, True, True]  # updates at 5, 10, 15
    assert len(lines[0]["layers"]) == 3


def test_the_documented_data_source_trains(checkout: Path) -> None:
    summary = trained(checkout, "model=small_mlp", "dataset=breast_cancer")
    assert (summary["dataset"], summary["status"]) == ("breast_cancer", "finished")


def test_the_documented_sweep_plans_jobs_for_the_documented_cluster(checkout: Path) -> None:
    scripts = command(
        checkout, sys.executable, "-m", "launch", "submit", "sweep=movement", "cluster=slurm_h100", "dry_run=true"
    )
    assert all(f"#SBATCH --{flag}" in scripts for flag in ("partition=gpu", "account=mine", "constraint=h100"))
    assert "18 runs" in scripts


@pytest.mark.parametrize("like", ["null", "cifar10"])
def test_a_dataset_of_folders_as_in_the_documentation_trains(like: str, checkout: Path, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for split, count in (("train", 20), ("test", 5)):
        for kind in ("crow", "dove", "owl"):
            folder = tmp_path / "birds" / split / kind
            folder.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(draw.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    birds = ("dataset=birds", f"dataset.root={tmp_path / 'birds'}", f"dataset.like={like}")
    summary = trained(checkout, "model=small_mlp", *birds)
    assert (summary["dataset"], summary["status"]) == ("birds", "finished")


def test_the_plain_loop_of_the_examples_learns() -> None:
    ended = subprocess.run(
        [sys.executable, "examples/plain_loop.py"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    assert "density 0.100" in ended.stdout
    assert float(ended.stdout.split()[-1]) > 0.8


def test_the_sweep_of_the_examples_trains_both_criteria(tmp_path: Path, data_dir: Path) -> None:
    paths = (f"output_dir={tmp_path}", f"data_dir={data_dir}")
    short = ("recipe.epochs=2", "update_period=5", "seed=1")
    ended = subprocess.run(
        [sys.executable, "-m", "launch", "submit", "sweep=examples/movement.yaml", "cluster=local", *short, *paths],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    summaries = [json.loads(path.read_bytes()) for path in tmp_path.glob("runs/*/summary.json")]
    found = sorted((summary["criterion"], summary["density"]) for summary in summaries)
    assert found == [(criterion, density) for criterion in ("magnitude", "movement") for density in (0.05, 0.1)]
