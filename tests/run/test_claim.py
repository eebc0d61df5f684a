"""Nobody trains what another process is at work on, and what the dead leave is taken over."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest

from dst import claim as claims
from dst.claim import Claimed, claimed, holder
from dst.config import compose
from dst.run import Stopped
from dst.train import run

processes = multiprocessing.get_context("spawn")


def hold(directory: Path, held: Any) -> None:
    with claimed(directory):
        held.set()
        time.sleep(600)


def compete(directory: Path, barrier: Barrier, winners: Any) -> None:
    barrier.wait()
    try:
        with claimed(directory):
            winners.put(os.getpid())
            time.sleep(1.0)
    except Claimed:
        pass


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Any]:
    """Another process that holds ``tmp_path``."""
    held = processes.Event()
    process = processes.Process(target=hold, args=(tmp_path, held))
    process.start()
    assert held.wait(60)
    yield process
    process.kill()
    process.join()


def test_a_claimed_directory_is_refused_and_its_owner_named(tmp_path: Path, other: Any) -> None:
    with pytest.raises(Claimed, match=f"process {other.pid}"), claimed(tmp_path):
        pass
    assert holder(tmp_path)[1]


def test_what_a_killed_process_held_is_taken_over_at_once(tmp_path: Path, other: Any) -> None:
    other.kill()
    other.join()
    with claimed(tmp_path) as claim:
        claim.check()
        assert len(list(tmp_path.glob("claim.*"))) == 1


def test_of_many_at_once_one_gets_it(tmp_path: Path) -> None:
    barrier, winners = processes.Barrier(4), processes.Queue()
    competitors = [processes.Process(target=compete, args=(tmp_path, barrier, winners)) for _ in range(4)]
    for competitor in competitors:
        competitor.start()
    for competitor in competitors:
        competitor.join()
    assert winners.get(timeout=5)
    assert winners.empty()


def test_a_silent_owner_on_another_machine_is_relieved_and_notices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "HEARTBEAT_S", 3600.0)
    with claimed(tmp_path) as silent:
        path = next(tmp_path.glob("claim.*"))
        silent._text = json.dumps(json.loads(path.read_text()) | {"host": "elsewhere"})
        path.write_text(silent._text)
        with pytest.raises(Claimed), claimed(tmp_path):
            pass
        long_ago = time.time() - claims.SILENT_S - 1
        os.utime(path, (long_ago, long_ago))
        monkeypatch.setattr(claims, "HEARTBEAT_S", 0.05)
        with claimed(tmp_path) as successor:
            silent._beat_once()
            with pytest.raises(Claimed, match="taken over"):
                silent.check()
            successor.check()


def test_a_living_owner_is_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "HEARTBEAT_S", 0.05)
    with claimed(tmp_path):
        path = next(tmp_path.glob("claim.*"))
        os.utime(path, (0, 0))
        deadline = time.monotonic() + 30
        while path.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert holder(tmp_path)[1]
    assert not list(tmp_path.glob("claim.*"))
    assert holder(tmp_path) == (None, False)


def test_a_run_in_work_is_not_trained_a_second_time(overrides: Callable[..., list[str]], tmp_path: Path) -> None:
    cfg = compose(overrides("recipe.epochs=2000"))
    begun, enough = threading.Event(), threading.Event()

    def stop() -> bool:
        begun.set()
        return enough.is_set()

    def train() -> None:
        with pytest.raises(Stopped):
            run(cfg, should_stop=stop)

    first = threading.Thread(target=train)
    first.start()
    try:
        assert begun.wait(60)
        with pytest.raises(Claimed, match=f"process {os.getpid()}"):
            run(cfg)
    finally:
        enough.set()
        first.join()
    assert not list(tmp_path.rglob("claim.*"))


def test_a_stopped_process_leaves_no_claim(command: Callable[..., Any], tmp_path: Path) -> None:
    process = command("recipe.epochs=5000")
    deadline = time.monotonic() + 120
    while not list(tmp_path.rglob("metrics.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "stopped: run" in stderr
    assert "give the same command again" in stderr
    assert not list(tmp_path.rglob("claim.*"))
    assert list(tmp_path.rglob("checkpoint.pt"))
