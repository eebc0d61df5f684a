"""The tests of the suite that need a GPU."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import torch

from tests.gpu.cases import Case, Failed, run_case

ROOT = Path(__file__).parents[2]


def cases(device: torch.device) -> Iterator[Case]:
    yield run_case("pytest", _case, device)


def _case(device: torch.device) -> Case:
    for module in ("pytest", "hypothesis"):
        if importlib.util.find_spec(module) is None:
            raise Failed(f"{module} is not installed")
    files = [
        str(path) for path in sorted((ROOT / "tests").rglob("test_*.py")) if "cuda.is_available" in path.read_text()
    ]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-k", "gpu or cuda", f"--junitxml={report}", *files]
        subprocess.run(command, cwd=ROOT, check=False)
        suite = ElementTree.parse(report).getroot()[0]
    count = {key: int(suite.attrib[key]) for key in ("tests", "failures", "errors", "skipped")}
    ran = count["tests"] - count["skipped"]
    bad = [case.attrib["name"] for case in suite.iter("testcase") if case.find("failure") is not None]
    told = f"{count['tests']} tests, {ran} ran, {count['failures'] + count['errors']} failed {' '.join(bad)}".strip()
    on_gpu = ran > 0 and not count["skipped"] if device.type == "cuda" else count["tests"] > 0
    return Case("pytest", on_gpu and not count["failures"] + count["errors"], told, count)
