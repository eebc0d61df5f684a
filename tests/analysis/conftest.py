"""Real runs to analyse: a small planned study on digits, trained once, copied for tests that damage it."""

from __future__ import annotations

import itertools
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from analysis.cli import main
from analysis.collect import Collection, collect
from analysis.source import Source
from dst.train import run
from launch.plan import Plan

SHARED = (
    "dataset=digits",
    "model=small_mlp",
    "tracker=local",
    "device=cpu",
    "recipe.epochs=3",
    "checkpoint.keep=nothing",
)
SEEDS = ("seed=1", "seed=2")
DENSITIES = ("density=d0.1", "density=d0.2")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Path:
    """An ``output_dir`` with the plan ``tiny`` of 26 runs, all of them finished."""
    output_dir = tmp_path_factory.mktemp("study") / "outputs"
    shared = (*SHARED, f"data_dir={data_dir}")
    dynamic = (
        ("update_period.steps=10",),
        ("criterion=magnitude", "criterion=snip"),
        ("growth=random", "growth=gradient"),
    )
    overrides = [
        *itertools.product(("density=dense",), SEEDS),
        *itertools.product(("update_period=never",), DENSITIES, SEEDS),
        *itertools.product(*dynamic, DENSITIES, SEEDS),
        *itertools.product(("update_period.steps=5",), *dynamic[1:2], ("density=d0.1",), SEEDS),
    ]
    plan = Plan.make("tiny", output_dir, [(*shared, *given) for given in overrides])
    plan.write()
    for planned in plan.runs:
        run(OmegaConf.create(planned.config))
    return output_dir


@pytest.fixture
def outputs(trained: Path, tmp_path: Path) -> Path:
    """A copy of the study that a test may change."""
    return Path(shutil.copytree(trained, tmp_path / "outputs"))


@pytest.fixture
def collected(tmp_path: Path) -> Callable[..., Collection]:
    """Collects from an ``output_dir`` into results of the test's own."""

    def start(output_dir: Path, **more: str) -> Collection:
        return collect(Source(output_dir=output_dir, results_dir=tmp_path / "results", **more))  # type: ignore[arg-type]

    return start


@pytest.fixture
def type_in(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Gives a command line to ``python -m analysis`` and returns exit status, stdout and stderr."""

    def start(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["analysis", *arguments])
        status = 0
        try:
            main()
        except SystemExit as ended:
            status = int(ended.code or 0)
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return start
