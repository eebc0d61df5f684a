"""``status --watch`` on a terminal."""

from __future__ import annotations

import io
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from fcntl import ioctl

import pytest
from rich.console import Console

from launch.cli import _look
from launch.plan import Plan
from launch.watch import picture
from tests.launch.study import Study
from tests.signals import heed_signals
from tests.slurm.cluster import wait_until


def test_a_terminal_shows_the_runs_in_training_until_ctrl_c_and_then_the_plain_status(study: Study) -> None:
    (run_id,) = study.plan("sweep", "recipe.epochs=100000")
    study.start("submit", "sweep=sweep", "cluster=local")
    wait_until(lambda: (study.run_dir(run_id) / "metrics.jsonl").exists(), "the run to be under way")
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    command = [sys.executable, "-m", "launch", "status", "sweep=sweep", "--watch"]
    environment = {**study.environment, "TERM": "xterm"}
    watching = subprocess.Popen(
        command, cwd=study.folder, env=environment, stdout=theirs, start_new_session=True, preexec_fn=heed_signals
    )
    os.close(theirs)
    shown = ""
    while "/100000" not in shown:
        shown += os.read(ours, 4096).decode()
    watching.send_signal(signal.SIGINT)
    while f"running {run_id} epoch" not in shown:
        shown += os.read(ours, 4096).decode()
    assert watching.wait(20) == 0
    assert shown.index("\x1b[?1049h") < shown.index("/100000") < shown.index("\x1b[?1049l") < shown.index("running ")
    assert "Traceback" not in shown


def test_a_picture_of_many_runs_has_no_more_lines_than_the_terminal(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = study.plan("sweep", "seed=range(1,41)", "recipe.epochs=1")
    for run_id in runs[:20]:
        study.run_dir(run_id).mkdir(parents=True)
        (study.run_dir(run_id) / "failure.json").write_text('{"error": "ValueError: far too warm for this"}')
    monkeypatch.chdir(study.folder)
    snapshot = _look(Plan.read("sweep", study.output_dir))
    page = io.StringIO()
    Console(file=page, width=60, height=24).print(picture(snapshot, 24))
    lines = page.getvalue().splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 60
    assert "20 of 40 ended (50%)" in page.getvalue()
    assert "far too warm" in page.getvalue()
