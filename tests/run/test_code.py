"""Which code made a result: recorded with it, compared when it is asked for again, and trained anew on demand."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dst.run.code import code_version, source_file, user_source
from tests.conftest import ROOT

STUDY = """
from dst.sparsity import Magnitude


class Mine(Magnitude):
    def score(self, weight, grad):
        return {sign}weight.abs()
"""
MINE = ("criterion._target_=my_study.Mine", "criterion.name=mine")
Train = Callable[..., "tuple[str, str]"]


@pytest.fixture
def train_in(overrides: Callable[..., list[str]], tmp_path: Path) -> Train:
    """Trains as typed in a folder that holds ``my_study.py``; returns what it printed and its warnings."""

    def start(*more: str) -> tuple[str, str]:
        process = subprocess.run(
            [sys.executable, "-m", "dst.train", *overrides(*more)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert process.returncode == 0, process.stderr
        return process.stdout, process.stderr

    return start


def test_a_summary_says_which_code_made_it(train: Callable[..., dict[str, object]]) -> None:
    code = {name: train(*more)["code"] for name, more in _METHODS.items()}
    used = {name: set(found["components"]) for name, found in code.items()}  # type: ignore[index, call-overload]
    assert used == {
        "dense": {"model"},
        "static": {"model"},
        "dst": {"model", "criterion", "growth", "prune_fraction"},
        "gradual": {"model", "criterion", "procedure", "lr_schedule"},
    }
    package = {path.relative_to(ROOT / "dst") for path in (ROOT / "dst").rglob("*.py")}
    digest = hashlib.sha256()
    for path in sorted(package):
        digest.update(f"{path.as_posix()}\0".encode() + (ROOT / "dst" / path).read_bytes() + b"\0")
    dst = code["dst"]
    assert dst["hash"] == digest.hexdigest()  # type: ignore[index, call-overload]
    assert isinstance(dst, dict)
    assert code_version().endswith(dst["commit"] or "")
    assert all(len(value) == 64 for value in (dst["hash"], *dst["components"].values()))


_METHODS = {
    "dense": ("density=dense", "recipe.epochs=0"),
    "static": ("update_period=never", "recipe.epochs=0"),
    "dst": ("recipe.epochs=0",),
    "gradual": ("procedure=gradual", "lr_schedule=cosine", "recipe.epochs=0"),
}


def test_a_finished_run_says_that_it_is_and_that_its_criterion_was_edited_and_is_trained_anew_on_demand(
    train_in: Train, tmp_path: Path
) -> None:
    study, runs = tmp_path / "my_study.py", tmp_path / "outputs" / "runs"
    study.write_text(STUDY.format(sign=""))
    assert train_in(*MINE)[1] == ""
    assert train_in(*MINE)[1] == "already finished, not trained now; rerun=true trains it anew\n"
    (directory,) = runs.iterdir()
    before = json.loads((directory / "summary.json").read_text())

    study.write_text(STUDY.format(sign="-"))
    changed = train_in(*MINE)[1]
    assert changed.count("\n") == 1
    assert "the source code of its criterion has changed since; rerun=true trains it anew" in changed
    assert json.loads((directory / "summary.json").read_text()) == before

    told = train_in(*MINE, "rerun=true")[1]
    (archived,) = (runs / ".archive").iterdir()
    assert told == f"the run as it was is kept in {archived}\n"
    assert json.loads((archived / "summary.json").read_text()) == before
    assert not [*archived.glob("claim.*"), *directory.glob("claim.*")]
    after = json.loads((directory / "summary.json").read_text())
    assert after["train_loss"] != before["train_loss"]
    assert after["code"]["components"]["criterion"] != before["code"]["components"]["criterion"]
    assert after["code"]["components"]["growth"] == before["code"]["components"]["growth"]
    assert "rerun: false" in (directory / "config.yaml").read_text()
    assert "changed" not in train_in(*MINE)[1]


def test_rerun_resumes_what_is_unfinished_so_that_a_requeued_job_comes_to_an_end(
    train: Callable[..., dict[str, object]], tmp_path: Path
) -> None:
    train("recipe.epochs=2")
    (directory,) = (tmp_path / "outputs" / "runs").iterdir()
    (directory / "summary.json").unlink()
    lines = (directory / "metrics.jsonl").read_text()
    train("recipe.epochs=2", "rerun=true")
    assert (directory / "metrics.jsonl").read_text() == lines
    assert not (directory.parent / ".archive").exists()


def test_sources_are_found_without_importing_them_and_told_from_installed_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "single.py").write_text("raise SystemExit")
    (tmp_path / "package" / "inner").mkdir(parents=True)
    for name in ("package", "package/inner"):
        (tmp_path / name / "__init__.py").write_text("raise SystemExit")
    monkeypatch.syspath_prepend(tmp_path)
    assert source_file("package.inner") == tmp_path / "package" / "inner" / "__init__.py"
    assert source_file("package.missing") is None
    assert [user_source(name) for name in ("single", "package", "torch", "json", "builtins", "missing")] == [
        tmp_path / "single.py",
        tmp_path / "package",
        *[None] * 4,
    ]
