"""``logs``: what runs printed, while they train and after they failed."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from dst.files.lock import locked
from dst.run.outcome import write_failure
from launch.plan import Plan
from launch.run_logs import failed_logs, follow_log
from tests.launch.study import Study

_WRITER = """\
import sys, time, pathlib, dst.files.lock as lock, dst.run.outcome as outcome
folder = pathlib.Path(sys.argv[1])
with open(folder / "log.txt", "a", buffering=1) as log, lock.locked(folder):
    for epoch in range(1, 4):
        time.sleep(0.7)
        print(f"epoch {epoch}: ü", file=log)
    if sys.argv[2] == "fails":
        outcome.write_failure(folder, "no luck", "here")
time.sleep(0.3)
print("last words", file=open(folder / "log.txt", "a"))
"""


def test_following_a_log_ends_with_the_run_and_misses_nothing(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text("began\n")
    with subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path), "fails"]) as training:
        pieces = [(text, training.poll() is None) for text in follow_log(tmp_path) if text]
    assert "".join(text for text, _ in pieces) == (tmp_path / "log.txt").read_text()
    assert "".join(text for text, _ in pieces).endswith("last words\n")
    assert any("epoch 1" in text and "epoch 3" not in text and running for text, running in pieces)


def test_following_the_log_of_a_run_that_nobody_trains_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("launch.run_logs._START_S", 1.0)
    (tmp_path / "log.txt").write_text("began\n")
    with locked(tmp_path):
        following = follow_log(tmp_path)
        assert next(following) == "began\n"
    began = time.monotonic()
    assert "".join(following) == ""
    assert 0.5 < time.monotonic() - began < 30


def test_the_logs_of_failed_runs_are_their_last_lines_under_id_command_and_error(study: Study) -> None:
    study.plan("sweep", "recipe.epochs=0", "seed=1,2,3")
    plan = Plan.read("sweep", study.output_dir)
    for run in plan.runs[:2]:
        write_failure(plan.run_dir(run.run_id), f"no luck with {run.config['seed']}", "here")
    (plan.run_dir(plan.runs[0].run_id) / "log.txt").write_text("".join(f"line {number}\n" for number in range(30)))
    first, second = failed_logs(plan)
    lines = first.splitlines()
    assert lines[:3] == [f"run {plan.runs[0].run_id} failed: no luck with 1", plan.runs[0].command, "    line 10"]
    assert lines[-1] == "    line 29"
    assert "log.txt: not there" in second
    assert list(failed_logs(plan.select("seed == 3"))) == []
    shown = study.launch("logs", "sweep=sweep", "failed", "where=seed == 2")
    assert shown == second
