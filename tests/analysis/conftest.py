"""Fixtures: a small planned study on digits, trained once per session."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from analysis.cli import main
from analysis.collect import Collection, collect
from analysis.report import write_report
from analysis.source import Source
from dst.train import run

ROOT = Path(__file__).parents[2]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
Page = Any
SWEEP = """
setups: [small_mlp/digits]
overrides: [tracker=local, device=cpu, recipe.epochs=3, checkpoint.keep=nothing, data_dir={data_dir}]
blocks:
  - overrides: [density=dense]
    axes: {{seed: [1, 2]}}
  - overrides: [update_period=never]
    axes: {{density: [d0.1, d0.2], seed: [1, 2]}}
  - overrides: [update_period.steps=10]
    axes: {{criterion: [magnitude, snip], growth: [random, gradient], density: [d0.1, d0.2], seed: [1, 2]}}
  - overrides: [update_period.steps=5, density=d0.1]
    axes: {{criterion: [magnitude, snip], seed: [1, 2]}}
"""


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Path:
    """An ``output_dir`` with the plan ``tiny`` of 26 finished runs."""
    folder = tmp_path_factory.mktemp("study")
    sweep, output_dir = folder / "tiny.yaml", folder / "outputs"
    sweep.write_text(SWEEP.format(data_dir=data_dir))
    command = [sys.executable, "-m", "launch", "plan", f"sweep={sweep}", f"output_dir={output_dir}"]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True, stdout=subprocess.DEVNULL)
    for line in (output_dir / "sweeps" / "tiny" / "plan.jsonl").read_text().splitlines()[1:]:
        run(OmegaConf.create(json.loads(line)["config"]))
    return output_dir


@pytest.fixture
def outputs(trained: Path, tmp_path: Path) -> Path:
    """A copy of the study that a test may modify."""
    return Path(shutil.copytree(trained, tmp_path / "outputs"))


@pytest.fixture
def collected(tmp_path: Path) -> Callable[..., Collection]:
    """Collects an ``output_dir`` into a results folder in ``tmp_path``."""

    def start(output_dir: Path, **more: str) -> Collection:
        return collect(Source(output_dir=output_dir, results_dir=tmp_path / "results", **more))  # type: ignore[arg-type]

    return start


@pytest.fixture(scope="session")
def report(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the study, written once."""
    results = tmp_path_factory.mktemp("report")
    return write_report(collect(Source(output_dir=trained, results_dir=results, sweep="tiny")))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Headless Chromium; of a module, as Playwright's event loop is in the way of others."""
    if CHROMIUM is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("no Chromium: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def page(chromium: Any, report: Path) -> Iterator[Page]:
    """The report in a window of its own; the test fails if the page logs an error."""
    complaints: list[str] = []
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, offline=True)
    opened = context.new_page()
    opened.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", lambda request: complaints.append(request.url) if request.url[:4] == "http" else None)
    opened.goto(report.as_uri())
    opened.wait_for_selector("body[data-ready]")
    yield opened
    context.close()
    assert complaints == []


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
