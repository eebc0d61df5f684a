"""What `make gpu` does where there is no GPU, and with parts that go wrong."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gpu.__main__ import REHEARSAL, ROOT, run_part


def test_without_a_gpu_parts_are_rehearsed_and_the_page_says_so(tmp_path: Path) -> None:
    output = tmp_path / "gpu.json"
    command = [sys.executable, "-m", "tests.gpu", "parts=graph,sync", "device=cpu", f"output={output}"]
    page = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert page.returncode == 0, page.stdout
    lines = page.stdout.splitlines()
    assert lines[0] == lines[-2] == REHEARSAL
    result = json.loads(output.read_text())
    assert result["rehearsal"]
    verdicts = {name: part["verdict"] for name, part in result["parts"].items()}
    assert verdicts == {"graph": "rehearsed", "sync": "not rehearsed"}
    assert "needs CUDA" in result["parts"]["sync"]["why"]
    assert "pass" not in verdicts.values()


def test_a_part_that_crashes_is_a_failure_with_its_reason() -> None:
    part = run_part("no_such_part", "cpu", 60)
    assert part["verdict"] == "fail"
    assert "No module named 'tests.gpu.no_such_part'" in part["why"]


def commands() -> Iterator[bytes]:
    """The command lines of all processes."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has just ended
            yield path.read_bytes()


def test_a_part_that_takes_too_long_is_ended_with_all_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    part = run_part("resume", "cpu", 6.0)
    assert part["verdict"] == "fail"
    assert part["why"].startswith("not done within 6 s")
    assert not [command for command in commands() if os.fsencode(tmp_path) in command]


def test_a_part_that_is_not_there_is_one_line() -> None:
    command = [sys.executable, "-m", "tests.gpu", "parts=speed"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    assert answer.stderr.startswith("error: parts=speed: choose from all, tests, graph")
