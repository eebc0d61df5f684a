"""Nobody trains what another process is at work on, and what the dead leave is taken over."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest

from dst.attempt import Stopped
from dst.config import compose
from dst.files import lock as locks
from dst.files.lock import Locked, holder, last_heartbeat, locked
from dst.train import run

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["dst.train"])  # processes that have it imported start in milliseconds


def hold(directory: Path, held: Any, asked: Any, answer: Any, host: str) -> None:
    """Holds ``directory`` as a process of the machine ``host`` whose heart beats once; then says whether it still does.

    Of another machine nobody can see which processes live there.
    """
    if host:
        socket.gethostname = lambda: host
    locks.HEARTBEAT_S = 3600.0
    with locked(directory) as lock:
        held.set()
        asked.wait()
        try:
            lock.confirm()
            answer.put("ours")
        except Locked as error:
            answer.put(str(error))


def compete(directory: Path, barrier: Barrier, winners: Any) -> None:
    barrier.wait()
    try:
        with locked(directory):
            winners.put(os.getpid())
            time.sleep(1.0)
    except Locked:
        pass


class Other:
    """Another process that holds ``directory``."""

    def __init__(self, directory: Path, host: str = "") -> None:
        self.held, self.asked, self.answer = processes.Event(), processes.Event(), processes.Queue()
        arguments = (directory, self.held, self.asked, self.answer, host)
        self.process = processes.Process(target=hold, args=arguments, daemon=True)
        self.process.start()
        assert self.held.wait(60)

    def end(self) -> None:
        self.process.kill()
        self.process.join()

    def ask(self) -> str:
        """Whether it can confirm its claim."""
        self.asked.set()
        return str(self.answer.get(timeout=60))


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Other]:
    there = Other(tmp_path)
    yield there
    there.end()


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Other]:
    there = Other(tmp_path, "elsewhere")
    yield there
    there.end()


def age(path: Path, seconds: float) -> None:
    moment = time.time() - seconds
    os.utime(path, (moment, moment))


class FailingFileSystem:
    """Fails with ``number`` whoever lists a directory or dates a file, as a file server does that is restarted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
        self.fails, self.failed, self.number = False, 0, number
        for name in ("listdir", "scandir", "utime"):
            monkeypatch.setattr(os, name, self._wrapped(getattr(os, name)))

    def _wrapped(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*arguments: Any, **options: Any) -> Any:
            if self.fails:
                self.failed += 1
                raise OSError(self.number, os.strerror(self.number))
            return call(*arguments, **options)

        return wrapper


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_locked_directory_is_refused_and_its_owner_named(tmp_path: Path, other: Other) -> None:
    with pytest.raises(Locked, match=f"process {other.process.pid}"), locked(tmp_path):
        pass
    assert holder(tmp_path)[1]


def test_the_lock_of_a_killed_process_is_taken_over_at_once(tmp_path: Path, other: Other) -> None:
    other.end()
    with locked(tmp_path) as lock:
        lock.check()
        assert len(list(tmp_path.glob("claim.*"))) == 1


def test_one_of_many_concurrent_processes_gets_the_lock(tmp_path: Path) -> None:
    barrier, winners = processes.Barrier(4), processes.Queue()
    competitors = [processes.Process(target=compete, args=(tmp_path, barrier, winners)) for _ in range(4)]
    for competitor in competitors:
        competitor.start()
    for competitor in competitors:
        competitor.join()
    assert winners.get(timeout=5)
    assert winners.empty()


def test_a_stale_lock_is_taken_over_and_its_owner_notices(tmp_path: Path, elsewhere: Other) -> None:
    with pytest.raises(Locked, match="on elsewhere"), locked(tmp_path):
        pass
    age(tmp_path / "claim.0", locks.SILENT_S + 1)
    with locked(tmp_path) as successor:
        assert "taken over" in elsewhere.ask()
        successor.confirm()


def test_an_owner_whose_lock_file_was_deleted_and_taken_by_another_notices(tmp_path: Path, other: Other) -> None:
    (tmp_path / "claim.0").unlink()
    with locked(tmp_path) as second:
        assert "taken over" in other.ask()
        second.confirm()


def test_a_lock_dated_in_the_future_is_taken_over(tmp_path: Path, elsewhere: Other) -> None:
    age(tmp_path / "claim.0", -86400)
    with locked(tmp_path) as successor:
        successor.confirm()


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO])
def test_one_error_of_the_file_system_does_not_end_the_heartbeat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(locks, "HEARTBEAT_S", 0.02)
    file_system = FailingFileSystem(monkeypatch, number)
    with locked(tmp_path) as lock:
        file_system.fails = True
        until(lambda: file_system.failed > 2)
        assert holder(tmp_path)[1], "what cannot be read is not known to be dead"
        assert last_heartbeat(tmp_path) is None
        with pytest.raises(OSError), locked(tmp_path):  # noqa: PT011
            pass
        file_system.fails = False
        age(tmp_path / "claim.0", 1000)
        until(lambda: (tmp_path / "claim.0").stat().st_mtime > time.time() - 500)
        lock.check()
        lock.confirm()


def test_an_owner_without_heartbeats_stops_with_a_checkpoint_before_others_may_take_over(
    overrides: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr(locks, "HEARTBEAT_S", 0.02)
    monkeypatch.setattr(locks, "GIVE_UP_S", 0.5)
    file_system = FailingFileSystem(monkeypatch, errno.ESTALE)

    def fail() -> bool:
        file_system.fails = True
        return False

    with pytest.raises(Stopped):
        run(compose(overrides("recipe.epochs=100000")), should_stop=fail)
    file_system.fails = False
    assert caplog.text.count("no sign of life could be left") == 1
    assert next(tmp_path.rglob("claim.0")).stat().st_mtime > time.time() - locks.SILENT_S
    assert list(tmp_path.rglob("checkpoint.pt"))


@pytest.mark.parametrize("content", [b"", b"[1]", b"garbage", b"\xff\xfe", b'{"host": "x"}', b"[" * 99999])
def test_a_lock_file_with_invalid_content_belongs_to_an_unknown_process(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "claim.0").write_bytes(content)
    (tmp_path / "claim.\u00b2").touch()
    (tmp_path / "claim.7").mkdir()
    with pytest.raises(Locked, match="unknown process"), locked(tmp_path):
        pass
    age(tmp_path / "claim.0", locks.SILENT_S + 1)
    with locked(tmp_path) as lock:
        lock.confirm()


def test_a_lock_of_a_later_version_names_its_owner(tmp_path: Path) -> None:
    owner = {"host": "node7", "pid": 5, "space": "", "job": "", "token": "new"}
    (tmp_path / "claim.0").write_text(json.dumps(owner))
    assert str(holder(tmp_path)[0]) == "process 5 on node7"


def claim_on_a_full_disk(directory: Path, told: Any) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    try:
        with locked(directory):
            pass
    except OSError as error:
        told.put(error.errno)


def test_a_lock_that_could_not_be_written_is_not_left_behind(tmp_path: Path) -> None:
    told = processes.Queue()
    process = processes.Process(target=claim_on_a_full_disk, args=(tmp_path, told))
    process.start()
    assert told.get(timeout=60) == errno.EFBIG
    process.join()
    assert not list(tmp_path.iterdir())


def test_a_living_owner_sends_heartbeats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "HEARTBEAT_S", 0.05)
    with locked(tmp_path):
        path = next(tmp_path.glob("claim.*"))
        os.utime(path, (0, 0))
        deadline = time.monotonic() + 30
        while path.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert holder(tmp_path)[1]
    assert not list(tmp_path.glob("claim.*"))
    assert holder(tmp_path) == (None, False)


def test_a_locked_run_is_not_trained_a_second_time(overrides: Callable[..., list[str]], tmp_path: Path) -> None:
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
        with pytest.raises(Locked, match=f"process {os.getpid()}"):
            run(cfg)
    finally:
        enough.set()
        first.join()
    assert not list(tmp_path.rglob("claim.*"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_stopped_process_leaves_no_lock(command: Callable[..., Any], tmp_path: Path, number: int) -> None:
    process = command("recipe.epochs=5000")
    deadline = time.monotonic() + 120
    while not list(tmp_path.rglob("metrics.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "stopped: run" in stderr
    assert "give the same command again" in stderr
    assert not list(tmp_path.rglob("claim.*"))
    assert list(tmp_path.rglob("checkpoint.pt"))
