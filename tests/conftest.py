"""What tests of whole runs share: the digits prepared once, and how to start a training."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: threads of tests side by side only hinder each other

import hypothesis
import pytest

from dst.config import compose
from dst.train import main, run
from tests.signals import heed_signals

hypothesis.settings.register_profile("untimed", deadline=None)  # how long an example takes says how busy the machine is
hypothesis.settings.load_profile("untimed")

ROOT = Path(__file__).parents[1]
SMALL = ("dataset=digits", "model=small_mlp", "update_period=dt25", "tracker=local", "device=cpu", "recipe.epochs=4")
"""A training of a second or two on real digits, with topology updates in every epoch but the last."""


COSTLY = {"trained", "paper", "small", "networks", "whole", "imagenet", "unreachable", "offline", "installed"}
"""Fixtures of a file or a session that take seconds."""


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Gives tests that share a costly fixture to one worker of pytest-xdist, so that it is made once."""
    for item in items:
        for name in COSTLY.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.xdist_group(f"{item.path.parent.name}.{name}"))


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where prepared data lie, shared by the workers of pytest-xdist."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "data"


@pytest.fixture
def overrides(data_dir: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """Returns the overrides of a small training with an output folder of its own, and more."""

    def make(*more: str) -> list[str]:
        return [*SMALL, f"data_dir={data_dir}", f"output_dir={tmp_path / 'outputs'}", *more]

    return make


@pytest.fixture
def train(overrides: Callable[..., list[str]]) -> Callable[..., dict[str, Any]]:
    """Trains in this process and returns the summary."""

    def start(*more: str) -> dict[str, Any]:
        return run(compose(overrides(*more)))

    return start


@pytest.fixture
def command(overrides: Callable[..., list[str]]) -> Callable[..., subprocess.Popen[str]]:
    """Starts ``python -m dst.train`` with the overrides of a small training."""

    def start(*more: str, cwd: Path = ROOT) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "dst.train", *overrides(*more)],
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=heed_signals,
        )

    return start


@pytest.fixture
def type_in(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Types a line after ``python -m dst.train``, in this process; returns exit status, stdout and stderr."""

    def enter(*line: str) -> tuple[int, str, str]:
        handlers = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
        monkeypatch.setattr(sys, "argv", ["dst.train", *line])
        monkeypatch.setenv("HYDRA_FULL_ERROR", "0")  # so that what main sets ends with the test
        capsys.readouterr()
        try:
            main()
            status = 0
        except SystemExit as ended:
            status = int(ended.code or 0)
        finally:
            for number, handler in handlers:
                signal.signal(number, handler)
            logging.getLogger("dst").handlers.clear()  # which hold this test's stderr
            logging.getLogger("dst").propagate = True
        return status, *capsys.readouterr()

    return enter
