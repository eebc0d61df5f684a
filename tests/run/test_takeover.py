"""Two processes believe they have a run: the results are those of one."""

from __future__ import annotations

import json
import os
import pkgutil
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dst.config import compose
from dst.files import lock as locks
from dst.files.lock import Locked
from dst.train import run
from tests.run.test_lock import age, processes, until

EPOCHS = 40


def train_unheard(cfg: Any, told: Any) -> None:
    """Trains as on a machine whose signs of life do not reach the file system."""
    socket.gethostname = lambda: "elsewhere"
    os.utime = lambda *_, **__: None
    locks.HEARTBEAT_S = 3600.0
    tell_how_it_ends(cfg, told)


def train_and_sleep(cfg: Any, told: Any, place: str, method: str) -> None:
    """Trains, but is stopped by a signal after ``method`` was called: for the tenth time if that is each epoch."""
    where = pkgutil.resolve_name(place)
    original, calls = getattr(where, method), []

    def call(*arguments: Any) -> Any:
        result = original(*arguments)
        calls.append(method)
        if len(calls) == (10 if method == "run_epoch" else 1):
            os.kill(os.getpid(), signal.SIGSTOP)
        return result

    setattr(where, method, call)
    tell_how_it_ends(cfg, told)


def tell_how_it_ends(cfg: Any, told: Any) -> None:
    try:
        run(cfg)
        told.put("finished")
    except Locked as error:
        told.put(str(error))


def lines(folder: Path, name: str) -> list[dict[str, Any]]:
    path = folder / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def check(folder: Path, summary: dict[str, Any]) -> None:
    assert json.loads((folder / "summary.json").read_text()) == summary
    assert [line["epoch"] for line in lines(folder, "metrics.jsonl")] == list(range(1, EPOCHS + 1))
    steps = [line["step"] for line in lines(folder, "topology.jsonl")]
    assert steps == sorted(set(steps))
    assert summary["topology_updates"] == len(steps) == (10 * EPOCHS - 1) // 25
    assert not list(folder.glob("claim.*"))


def started(target: Callable[..., None], *arguments: Any) -> tuple[Any, Any]:
    told = processes.Queue()
    process = processes.Process(target=target, args=(arguments[0], told, *arguments[1:]), daemon=True)
    process.start()
    return process, told


def test_an_owner_without_heartbeats_writes_nothing_after_another_took_over(
    overrides: Callable[..., list[str]], tmp_path: Path
) -> None:
    cfg = compose(overrides(f"recipe.epochs={EPOCHS}", "checkpoint.minutes=0"))
    process, told = started(train_unheard, cfg)
    until(lambda: any(len(lines(log.parent, log.name)) > 5 for log in tmp_path.rglob("metrics.jsonl")))
    folder = next((tmp_path / "outputs" / "runs").iterdir())
    age(folder / "claim.0", locks.SILENT_S + 1)
    summary = run(cfg)
    assert "process" in told.get(timeout=60)
    process.join()
    check(folder, summary)


@pytest.mark.parametrize(("where", "method"), [("dst.attempt", "run_epoch"), ("dst.attempt:Attempt", "_about")])
def test_an_owner_that_wakes_up_after_another_finished_changes_nothing(
    overrides: Callable[..., list[str]], tmp_path: Path, where: str, method: str
) -> None:
    cfg = compose(overrides(f"recipe.epochs={EPOCHS}", "checkpoint.minutes=0"))
    process, told = started(train_and_sleep, cfg, where, method)
    until(lambda: Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
    folder = next((tmp_path / "outputs" / "runs").iterdir())
    age(folder / "claim.0", locks.SILENT_S + 1)
    summary = run(cfg)
    before = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}
    os.kill(process.pid, signal.SIGCONT)
    assert "taken over" in told.get(timeout=60)
    process.join()
    assert {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()} == before
    check(folder, summary)


def test_a_directory_removed_in_the_middle_is_one_line(command: Callable[..., Any], tmp_path: Path) -> None:
    process = command("recipe.epochs=100000")
    until(lambda: bool(list(tmp_path.rglob("metrics.jsonl"))))
    (folder,) = (tmp_path / "outputs" / "runs").iterdir()
    folder.rename(tmp_path / "removed")
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 2
    assert stderr.splitlines() == [f"error: {folder} was removed while a process was at work there"]
    assert not folder.exists()
