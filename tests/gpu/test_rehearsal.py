"""``make gpu`` without a GPU, and with parts that fail."""

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


def test_without_a_gpu_the_report_is_marked_as_a_rehearsal(tmp_path: Path) -> None:
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


def test_a_crashed_part_fails_with_its_reason() -> None:
    part = run_part("no_such_part", "cpu", 60)
    assert part["verdict"] == "fail"
    assert "No module named 'tests.gpu.no_such_part'" in part["why"]


def commands() -> Iterator[bytes]:
    """Yields the command lines of all processes."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # the process has just ended
            yield path.read_bytes()


def test_a_part_that_times_out_is_killed_with_its_child_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    part = run_part("resume", "cpu", 6.0)
    assert part["verdict"] == "fail"
    assert part["why"].startswith("not done within 6 s")
    assert not [command for command in commands() if os.fsencode(tmp_path) in command]


def test_an_unknown_part_is_a_one_line_error() -> None:
    command = [sys.executable, "-m", "tests.gpu", "parts=speed"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    assert answer.stderr.startswith("error: parts=speed: choose from all, tests, graph")
