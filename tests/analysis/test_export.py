"""Trained networks written as safetensors files with a model card."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file

from dst.config import compose, run_id
from dst.run.directory import read_checkpoint
from dst.train import run
from tests.conftest import ROOT

TypeIn = Callable[..., tuple[int, str, str]]
SHORT = ("dataset=digits", "model=small_mlp", "tracker=local", "device=cpu", "recipe.epochs=2", "update_period=5")


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Path:
    """An ``output_dir`` with a sparse and a dense run."""
    folder = tmp_path_factory.mktemp("exported")
    for more in ("density=0.1", "density=dense"):
        run(compose([*SHORT, more, f"data_dir={data_dir}", f"output_dir={folder}"]))
    return folder


@pytest.fixture
def export(outputs: Path, tmp_path: Path, type_in: TypeIn) -> Callable[[str], tuple[dict[str, Any], Path]]:
    """Exports the run of a method; returns its summary and the folder."""

    def start(method: str) -> tuple[dict[str, Any], Path]:
        summaries = [json.loads(path.read_text()) for path in outputs.glob("runs/*/summary.json")]
        (summary,) = [one for one in summaries if one["method"] == method]
        words = (f"run={summary['run_id'][:8]}", f"output_dir={outputs}", f"results_dir={tmp_path}")
        status, out, err = type_in("export", *words)
        folder = tmp_path / "export" / summary["run_id"]
        assert (status, err) == (0, "")
        assert str(folder / "model.safetensors") in out
        return summary, folder

    return start


def test_the_files_have_the_weights_and_masks_of_the_run(export: Any, outputs: Path) -> None:
    summary, folder = export("dst")
    path = outputs / "runs" / summary["run_id"]
    saved, masks = read_checkpoint(path / "checkpoint.pt")["training"]["model"], torch.load(path / "masks.pt")
    for found, expected in ((load_file(folder / f"{name}.safetensors"), tensors) for name, tensors in (
        ("model", saved), ("masks", masks),
    )):  # fmt: skip
        assert set(found) == set(expected)
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_the_card_has_the_facts_of_the_summary_and_the_config_is_the_runs(export: Any) -> None:
    summary, folder = export("dst")
    card = (folder / "README.md").read_text()
    for fact in (
        "magnitude and random",
        f"{summary['parameters_active']:,}",
        f"{100 * summary['test_acc']:.2f} %",
        summary["run_id"],
        "dst.train.run(omegaconf.OmegaConf.load('config.yaml'))",
    ):
        assert fact in card
    config = OmegaConf.load(folder / "config.yaml")
    assert run_id(config) == summary["run_id"]  # type: ignore[arg-type]
    assert (config.data_dir, config.output_dir) == ("data", "outputs")


def test_a_dense_run_has_no_masks(export: Any) -> None:
    _, folder = export("dense")
    assert {path.name for path in folder.iterdir()} == {"model.safetensors", "config.yaml", "README.md"}
    assert "masks" not in (folder / "README.md").read_text()


def test_the_example_loads_an_export(export: Any) -> None:
    summary, folder = export("dst")
    ended = subprocess.run(
        [sys.executable, ROOT / "examples" / "load_export.py", folder], capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    active = [int(line.split()[1].replace(",", "")) for line in ended.stdout.splitlines()]
    assert (len(active), sum(active)) == (3, summary["parameters_active"])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "export: say which run with run=RUN_ID"),
        (("run=zzz",), "zzz: is the id of none of the 2 selected runs"),
        (("run=zzz@best",), "run=zzz@best: the last weights of a run are exported; give run=zzz"),
    ],
)
def test_a_mistake_is_one_line(
    words: tuple[str, ...], told: str, outputs: Path, tmp_path: Path, type_in: TypeIn
) -> None:
    status, _, err = type_in("export", *words, f"output_dir={outputs}", f"results_dir={tmp_path}")
    assert status == 2
    assert err.startswith(f"error: {told}")
    assert err.count("\n") == 1
    assert not (tmp_path / "export").exists()
