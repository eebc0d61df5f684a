"""A run interrupted in any way ends like one that never was."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import random
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dst.attempt import Stopped
from dst.config import compose
from dst.data import store
from dst.errors import UserError
from dst.train import run
from tests.run.outcomes import outcomes

METHODS = {
    "dense": ["density=dense"],
    "static": ["update_period=never"],
    "random growth": ["criterion=set", "growth=random"],
    "convolutions": ["criterion=rsensitivity", "growth=gradient", "model=small_cnn"],
    "gradient growth": ["criterion=snip", "growth=gradient", "model=large_mlp_dropout"],
    "cyclic": ["procedure=cyclic", "procedure.cycles=4", "procedure.budget=30", "criterion=running_snip"],
    "imp": ["procedure=imp", "procedure.budget=30", "density.value=0.4", "lr_schedule=triangular"],
    "wr": ["procedure=wr", "procedure.budget=30", "procedure.rewind_epoch=2", "density.value=0.6", "criterion=mest"],
    "lrr": ["procedure=lrr", "procedure.budget=30", "procedure.scope=local", "density.value=0.4", "criterion=random"],
    "sculpt": ["procedure=sculpt", "procedure.budget=30", "procedure.cycles=2", "initial_mask=synflow"],
    "gradual": ["procedure=gradual", "criterion=mest", "sparsity.scope=global", "lr_schedule.warmup=2"],
    "parent and child": [
        "parent=[procedure=gradual,recipe.epochs=4]",
        *("initial_mask=parent", "weight_init=parent", "weight_init.step=30", "checkpoint.snapshots=[0,40]"),
    ],
}
IN_SHORT = ("gradient growth", "convolutions", "gradual", "sculpt", "wr", "parent and child")
"""Those that are killed and stopped in a quick test run; all of them are in a slow one."""
LONG = ["recipe.epochs=30", "checkpoint.minutes=0"]

Overrides = Callable[..., list[str]]


def in_a_process(target: Callable[..., Any], *arguments: Any) -> Any:
    """Starts ``target`` in a process forked from one that has imported everything, within milliseconds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["dst.train"])
    process = context.Process(target=target, args=arguments)
    process.start()
    return process


def undisturbed(overrides: Overrides, tmp_path: Path, *more: str) -> tuple[dict[str, Any], float]:
    cfg = compose(overrides(*more, f"output_dir={tmp_path / 'undisturbed'}"))
    warm_up = compose(overrides("recipe.epochs=0", f"output_dir={tmp_path / 'warm up'}"))
    in_a_process(run, warm_up).join()  # the first one waits for the imports and may have data to prepare
    began = time.monotonic()
    process = in_a_process(run, cfg)
    process.join()
    assert process.exitcode == 0
    return outcomes(tmp_path / "undisturbed"), time.monotonic() - began


def kill_again_and_again(overrides: Overrides, tmp_path: Path, *more: str, kills: int, seed: int = 0) -> None:
    """Kills a run at random moments, finishes it, and compares it with one that was not disturbed."""
    expected, duration = undisturbed(overrides, tmp_path, *more)
    cfg = compose(overrides(*more, f"output_dir={tmp_path / 'killed'}"))
    moments = random.Random(seed)
    killed = 0
    for _ in range(kills):
        process = in_a_process(run, cfg)
        process.join(timeout=moments.uniform(0, duration / 4))
        killed += process.is_alive()
        process.kill()
        process.join()
    run(cfg)
    assert killed >= 2
    assert outcomes(tmp_path / "killed") == expected


@pytest.mark.parametrize("method", IN_SHORT)
def test_kill_9_at_random_moments_changes_nothing(overrides: Overrides, tmp_path: Path, method: str) -> None:
    kill_again_and_again(overrides, tmp_path, *METHODS[method], *LONG, kills=8)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("method", METHODS)
def test_kill_9_at_many_random_moments_changes_nothing(
    overrides: Overrides, tmp_path: Path, method: str, seed: int
) -> None:
    kill_again_and_again(overrides, tmp_path, *METHODS[method], *LONG, kills=20, seed=seed + 1)


@pytest.mark.parametrize(
    "method", [method if method in IN_SHORT else pytest.param(method, marks=pytest.mark.slow) for method in METHODS]
)
def test_stopping_in_the_middle_of_an_epoch_changes_nothing(overrides: Overrides, tmp_path: Path, method: str) -> None:
    more = [*METHODS[method], "recipe.epochs=6"]
    expected, _ = undisturbed(overrides, tmp_path, *more)
    cfg = compose(overrides(*more, f"output_dir={tmp_path / 'stopped'}"))
    for steps in (13, 1, 27):
        asked = iter(range(steps))
        with pytest.raises(Stopped):
            run(cfg, should_stop=lambda asked=asked: next(asked, None) is None)  # type: ignore[misc]
    run(cfg)
    assert outcomes(tmp_path / "stopped") == expected


def stopped_run(overrides: Overrides, tmp_path: Path, *more: str) -> tuple[Any, Path]:
    """A run stopped in its fifth epoch, after two checkpoints or more; its config and directory."""
    cfg = compose(overrides("recipe.epochs=8", "checkpoint.minutes=0", f"output_dir={tmp_path / 'stopped'}", *more))
    asked = iter(range(45))
    with pytest.raises(Stopped):
        run(cfg, should_stop=lambda: next(asked, None) is None)
    return cfg, next((tmp_path / "stopped" / "runs").iterdir())


@pytest.mark.parametrize("damage", ["truncated", "one bit", "empty", "foreign"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before_and_says_so(
    overrides: Overrides, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    expected, _ = undisturbed(overrides, tmp_path, "recipe.epochs=8", "checkpoint.minutes=0")
    cfg, folder = stopped_run(overrides, tmp_path)
    content = bytearray((folder / "checkpoint.pt").read_bytes())
    if damage == "one bit":
        content[len(content) // 2] ^= 1
    kept = {"truncated": content[: len(content) // 2], "one bit": content, "empty": b"", "foreign": b"no checkpoint"}
    (folder / "checkpoint.pt").write_bytes(kept[damage])
    with caplog.at_level("INFO", logger="dst"):
        run(cfg)
    assert "checkpoint.pt is damaged and passed over" in caplog.text
    assert "resuming run" in caplog.text
    assert outcomes(folder.parents[1]) == expected


def test_a_checkpoint_from_before_there_were_phases_is_resumed(
    overrides: Overrides, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected, _ = undisturbed(overrides, tmp_path, "recipe.epochs=8")
    cfg, folder = stopped_run(overrides, tmp_path)
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    del (
        state["training"]["best"]["density"],
        state["logs"]["phases.jsonl"],
        state["training"]["phase"],
        state["training"]["sparsity"]["first_step"],
    )
    torch.save(state, folder / "checkpoint.pt")
    with caplog.at_level("INFO", logger="dst"):
        run(cfg)
    assert "resuming run" in caplog.text
    assert "damaged" not in caplog.text
    assert outcomes(folder.parents[1]) == expected


def test_with_no_usable_checkpoint_the_run_begins_again(
    overrides: Overrides, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected, _ = undisturbed(overrides, tmp_path, "recipe.epochs=8")
    cfg, folder = stopped_run(overrides, tmp_path)
    for name in ("checkpoint.pt", "checkpoint.previous.pt"):
        (folder / name).write_bytes(b"no checkpoint")
    with caplog.at_level("INFO", logger="dst"):
        run(cfg)
    assert caplog.text.count("is damaged") == 2
    assert outcomes(folder.parents[1])[folder.name]["epochs"] == expected[folder.name]["epochs"]


def changed(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """Writes ``checkpoint.pt`` anew with a change to what it holds."""

    def write(folder: Path) -> None:
        state = torch.load(folder / "checkpoint.pt")
        change(state)
        torch.save(state, folder / "checkpoint.pt")

    return write


def a_directory(folder: Path) -> None:
    (folder / "checkpoint.pt").unlink()
    (folder / "checkpoint.pt").mkdir()


NOT_OURS: dict[str, Callable[[Path], None]] = {
    "of another model": changed(lambda state: state["training"]["model"].popitem()),
    "of another run": changed(lambda state: state.update(run_id="0123456789abcdef")),
    "without a key": changed(lambda state: state["training"].pop("tally")),
    "at no step": changed(lambda state: state["training"].update(step="12")),
    "in another epoch": changed(lambda state: state["training"].update(epoch=1)),
    "without results": changed(lambda state: state["training"].update(best=None)),
    "no dict": lambda folder: torch.save([1, 2], folder / "checkpoint.pt"),
    "a directory": a_directory,
}


def test_a_checkpoint_that_is_not_this_runs_falls_back_to_the_one_before_and_is_kept_aside(
    overrides: Overrides, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected, _ = undisturbed(overrides, tmp_path, "recipe.epochs=8", "checkpoint.minutes=0")
    cfg, folder = stopped_run(overrides, tmp_path)
    shutil.copytree(folder, tmp_path / "stopped run")
    for damage, spoil in NOT_OURS.items():
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "stopped run", folder)
        spoil(folder)
        caplog.clear()
        with caplog.at_level("INFO", logger="dst"):
            run(cfg)
        assert "checkpoint.pt is damaged and passed over" in caplog.text, damage
        assert "resuming run" in caplog.text, damage
        assert outcomes(folder.parents[1]) == expected, damage
        assert (folder / "checkpoint.damaged.pt").exists(), damage


def edited(name: str, edit: Callable[[list[bytes]], list[bytes]]) -> Callable[[Path], None]:
    """Changes the lines of a log."""

    def write(folder: Path) -> None:
        (folder / name).write_bytes(b"".join(edit((folder / name).read_bytes().splitlines(keepends=True))))

    return write


FOREIGN = [b"\xff\xfe\n", b"[]\n", b"7\n", b'{"epoch": "two"}\n', b"{}\n", b"[" * 99999 + b"\n", b'{"epoch": 2, "st']
LOGS: dict[str, tuple[Callable[[Path], None], bool]] = {
    "foreign lines": (edited("metrics.jsonl", lambda lines: [lines[0], *FOREIGN[:-1], *lines[1:], FOREIGN[-1]]), True),
    "doubled lines": (edited("metrics.jsonl", lambda lines: [line for line in lines for _ in range(2)]), True),
    "doubled updates": (edited("topology.jsonl", lambda lines: lines + lines), True),
    "a line lost": (edited("metrics.jsonl", lambda lines: lines[1:]), False),
    "an update changed": (edited("topology.jsonl", lambda lines: [lines[0].replace(b"5", b"6"), *lines[1:]]), False),
    "no log": (lambda folder: (folder / "metrics.jsonl").unlink(), False),
}


def test_log_lines_lost_or_doubled_or_foreign_are_noticed_and_the_results_complete(
    overrides: Overrides, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected, _ = undisturbed(overrides, tmp_path, "recipe.epochs=8", "checkpoint.minutes=0")
    cfg, folder = stopped_run(overrides, tmp_path)
    shutil.copytree(folder, tmp_path / "stopped run")
    for damage, (spoil, can_go_on) in LOGS.items():
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "stopped run", folder)
        spoil(folder)
        caplog.clear()
        with caplog.at_level("INFO", logger="dst"):
            run(cfg)
        assert ("resuming run" in caplog.text) == can_go_on, damage
        assert ("as they were written" in caplog.text) == (not can_go_on), damage
        assert outcomes(folder.parents[1]) == expected, damage


def test_a_checkpoint_that_does_not_say_what_it_stands_on_is_resumed_too(
    overrides: Overrides, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected, _ = undisturbed(overrides, tmp_path, "recipe.epochs=8", "checkpoint.minutes=0")
    cfg, folder = stopped_run(overrides, tmp_path)
    changed(lambda state: (state.pop("run_id"), state.pop("logs")))(folder)
    edited("metrics.jsonl", lambda lines: [*FOREIGN[:-1], *lines])(folder)
    with caplog.at_level("INFO", logger="dst"):
        run(cfg)
    assert "damaged" not in caplog.text
    assert "resuming run" in caplog.text
    assert outcomes(folder.parents[1]) == expected


def test_what_killed_processes_left_is_gone_after_the_next_start(overrides: Overrides, tmp_path: Path) -> None:
    cfg, folder = stopped_run(overrides, tmp_path, "checkpoint.keep=nothing")
    shutil.copytree(folder, tmp_path / "stopped run")
    (folder / ".checkpoint.pt.12345.tmp").touch()
    (folder / "claim.3").write_bytes(b"{}")
    os.utime(folder / "claim.3", (0, 0))
    run(cfg)
    finished = {"config.yaml", "masks.pt", "metrics.jsonl", "phases.jsonl", "summary.json", "topology.jsonl"}
    assert {path.name for path in folder.iterdir()} == finished
    for name in ("checkpoint.pt", "checkpoint.previous.pt"):  # as if it had been killed right after the summary
        shutil.copy(tmp_path / "stopped run" / name, folder)
    (folder / "claim.0").write_bytes(b"{}")
    os.utime(folder / "claim.0", (0, 0))
    run(cfg)
    assert {path.name for path in folder.iterdir()} == finished


def with_little_space(cfg: Any, limit: int, told: Any) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        run(cfg)
    except UserError as error:
        told.put(str(error))


def test_a_full_disk_is_one_line_and_the_last_good_state_is_kept(overrides: Overrides, tmp_path: Path) -> None:
    expected, _ = undisturbed(overrides, tmp_path, "recipe.epochs=8", "checkpoint.minutes=0")
    cfg, folder = stopped_run(overrides, tmp_path)
    before, older = (folder / "checkpoint.pt").read_bytes(), (folder / "checkpoint.previous.pt").read_bytes()
    told = multiprocessing.get_context("forkserver").Queue()
    process = in_a_process(with_little_space, cfg, len(before) // 2, told)
    line = told.get(timeout=60)
    process.join()
    assert line.startswith("no space left to write")
    assert "\n" not in line
    assert (folder / "checkpoint.pt").read_bytes() == before
    assert (folder / "checkpoint.previous.pt").read_bytes() == older
    assert not list(folder.glob("*.tmp")) + list(folder.glob(".*.tmp"))
    run(cfg)
    assert outcomes(folder.parents[1]) == expected


def test_a_run_does_not_go_on_with_other_data(overrides: Overrides, tmp_path: Path, data_dir: Path) -> None:
    mine = tmp_path / "data"
    run(compose(overrides("recipe.epochs=0")))  # prepares the data
    shutil.copytree(data_dir, mine)
    cfg, folder = stopped_run(overrides, tmp_path, f"data_dir={mine}")
    arrays, meta = store.read(mine / "digits") or pytest.fail("the digits were not prepared")
    others = dataclasses.replace(arrays, train_x=255 - np.asarray(arrays.train_x))
    store.write(mine / "digits", others, dataclasses.replace(meta, digests=others.digests()))
    with pytest.raises(UserError, match="dataset=digits: the data differ"):
        run(cfg)
    assert (folder / "checkpoint.pt").exists()
