"""The wheel, built from the files that containers get, works like the checkout once it is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from dst.config import compose, run_id
from tests.conftest import ROOT

CONTAINERS = ROOT / "containers"


def copied_by_docker() -> set[str]:
    lines = (CONTAINERS / "Dockerfile").read_text().splitlines()
    return {name for line in lines if line.startswith("COPY ") for name in line.split()[1:-1]}


def copied_by_apptainer() -> set[str]:
    _, _, rest = (CONTAINERS / "dst.def").read_text().partition("%files\n")
    copies = [line.split() for line in rest.partition("\n\n")[0].splitlines()]
    assert all(target == f"/opt/dst/{name}" for name, target in copies)
    return {name for name, _ in copies}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the contents of a wheel are, away from the checkout, built from the files that the Dockerfile copies."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in copied_by_docker():
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)]
    built = subprocess.run(build, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder / "site")
    return folder / "site"


def python(installed: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    return subprocess.run(
        [sys.executable, "-P", *arguments] if sys.version_info >= (3, 11) else [sys.executable, *arguments],
        cwd=folder, env=environment, capture_output=True, text=True,
    )  # fmt: skip


def test_both_container_recipes_install_the_same() -> None:
    assert copied_by_apptainer() == copied_by_docker()
    lines = [path.read_text().split("pip install", 1)[1].splitlines()[0] for path in sorted(CONTAINERS.iterdir())]
    assert len({line.split()[-1] for line in lines}) == 1


def test_a_wheel_finds_its_own_config(installed: Path, tmp_path: Path) -> None:
    line = "import dst.config as c; print(c.CONF_DIR, c.run_id(c.compose()))"
    found = python(installed, tmp_path, "-c", line)
    assert found.stdout.split() == [str(installed / "dst" / "conf"), run_id(compose())], found.stderr


def test_a_wheel_installs_one_name(installed: Path) -> None:
    assert {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")} == {"dst"}
    assert not list(installed.rglob("*.pyc"))


def test_a_wheel_has_the_hash_of_the_checkout(installed: Path, tmp_path: Path) -> None:
    line = "from dst.run.code import _package_hash; print(_package_hash())"
    hashes = [python(source, tmp_path, "-c", line) for source in (installed, ROOT)]
    assert hashes[0].stdout == hashes[1].stdout != "", hashes[0].stderr


def test_a_wheels_commands_name_themselves_in_their_messages(installed: Path, tmp_path: Path) -> None:
    entry_points = next(installed.glob("*.dist-info/entry_points.txt")).read_text().split("\n\n")[0]
    scripts = dict(line.split(" = ") for line in entry_points.splitlines()[1:])
    usages = {"dst-train": "dst.train [", "dst-launch": "dst.launch COMMAND", "dst-analysis": "dst.analysis COMMAND"}
    assert scripts.keys() == usages.keys()
    for name, usage in usages.items():
        module, function = scripts[name].split(":")
        told = python(installed, tmp_path, "-c", f"from {module} import {function}; {function}()", "--help")
        assert told.stdout.startswith(f"usage: python -m {usage}"), told.stderr
    refused = python(installed, tmp_path, "-m", "dst.launch", "status", "sweep=none")
    assert (refused.returncode, "plan it with: python -m dst.launch plan" in refused.stderr) == (2, True)


def test_a_run_and_a_plan_start_from_a_wheel(installed: Path, tmp_path: Path) -> None:
    trained = python(
        installed, tmp_path, "-m", "dst.train", "dataset=digits", "model=small_mlp", "tracker=local", "recipe.epochs=1"
    )
    assert trained.returncode == 0, trained.stderr
    assert list((tmp_path / "outputs" / "runs").glob("*/summary.json"))
    planned = python(installed, tmp_path, "-m", "dst.launch", "plan", "sweep=demo")
    assert planned.returncode == 0, planned.stderr
    assert (tmp_path / "outputs" / "sweeps" / "demo" / "plan.jsonl").exists()


def test_a_wheel_has_the_published_results(installed: Path, tmp_path: Path) -> None:
    line = (
        "from dst.analysis.gradient_flow.published import published; "
        "print(len(published('lenet5/mnist', {0.05}).similarity))"
    )
    found = python(installed, tmp_path, "-c", line)
    assert found.stdout == "6\n", found.stderr
