"""Damaged files that ``launch`` reads: each is reported in one line, and the command continues."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from analysis.collect import collect
from analysis.source import Source
from dst.errors import UserError
from dst.files.lock import locked
from dst.run.outcome import clear_failure, read_summary
from dst.run.plan import plan_path
from dst.train import run
from launch.jobs import runs_to_submit, submitted
from launch.plan import Plan
from launch.state import is_settled, states, summaries
from launch.status import status_text
from launch.timing import Timing, measure, write_timing
from tests.launch.study import Study

NOT_JSON = {
    "a list": b"[]",
    "a number": b"3",
    "text": b'"x"',
    "an empty object": b"{}",
    "empty": b"",
    "no text": b"\xff\xfe\x00",
    "deeply nested": b"[" * 200_000,
    "a huge number": b'{"error": ' + b"9" * 5000 + b"}",
    "other types": b'{"error": 1, "job_id": [], "cluster": {}, "runs": 5, "where": 3, "time": "x"}',
}
STRANGE: dict[str, Callable[[Path], object]] = {
    **{name: lambda path, content=content: path.write_bytes(content) for name, content in NOT_JSON.items()},  # type: ignore[misc]
    "a folder": Path.mkdir,
    "a pipe": os.mkfifo,
    "a link to itself": lambda path: path.symlink_to(path),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Study:
    """A sweep of two finished runs."""
    study = Study(tmp_path_factory.mktemp("whole"), data_dir)
    study.plan("sweep", "recipe.epochs=1", "checkpoint.keep=nothing", "seed=1,2")
    for planned in Plan.read("sweep", study.output_dir).runs:
        run(OmegaConf.create(planned.config))
    return study


@pytest.fixture
def study(whole: Study, tmp_path: Path) -> Study:
    """A copy of it that a test may damage."""
    study = Study(tmp_path, whole.data_dir)
    study.adopt(whole, "sweep")
    shutil.copytree(whole.output_dir / "runs", study.output_dir / "runs")
    return study


@pytest.fixture
def plan(study: Study) -> Plan:
    return Plan.read("sweep", study.output_dir)


def status_of(plan: Plan) -> str:
    return status_text(plan, states(plan))


@pytest.mark.parametrize("strange", STRANGE)
def test_a_damaged_summary_is_reported_and_its_run_counts_as_unfinished(strange: str, plan: Plan) -> None:
    damaged, other = plan.runs
    path = plan.run_dir(damaged.run_id) / "summary.json"
    path.unlink()
    STRANGE[strange](path)
    assert {name: state.state for name, state in states(plan).items()} == {
        damaged.run_id: "waiting",
        other.run_id: "finished",
    }
    assert [line for line in status_of(plan).splitlines() if damaged.run_id in line and "summary.json" in line]
    assert [run.run_id for run in runs_to_submit(plan, states(plan), retry_failed=False)] == [damaged.run_id]
    assert not is_settled(plan.run_dir(damaged.run_id))
    assert list(measure(summaries(plan.output_dir))) == ["small_mlp/digits"]


@pytest.mark.parametrize("strange", STRANGE)
def test_a_run_with_a_damaged_failure_file_counts_as_failed_and_can_be_retried(strange: str, plan: Plan) -> None:
    failed = plan.runs[0].run_id
    (plan.run_dir(failed) / "summary.json").unlink()
    STRANGE[strange](plan.run_dir(failed) / "failure.json")
    assert states(plan)[failed].state == "failed"
    assert is_settled(plan.run_dir(failed))
    assert (
        len([line for line in status_of(plan).splitlines() if line.startswith(f"failed {failed}: failure.json")]) == 1
    )
    assert [run.run_id for run in runs_to_submit(plan, states(plan), retry_failed=True)] == [failed]
    clear_failure(plan.run_dir(failed))
    assert os.path.lexists(plan.run_dir(failed) / "failure.json.damaged")
    assert not is_settled(plan.run_dir(failed))


@pytest.mark.parametrize("place", [Path.touch, os.mkfifo, lambda path: path.symlink_to(path)])
def test_a_file_in_place_of_a_run_directory_is_a_failed_run_and_affects_no_other(
    place: Callable[[Path], object], plan: Plan
) -> None:
    damaged, other = (run.run_id for run in plan.runs)
    shutil.rmtree(plan.run_dir(damaged))
    place(plan.run_dir(damaged))
    assert (states(plan)[damaged].state, states(plan)[other].state) == ("failed", "finished")
    assert f"{plan.run_dir(damaged)} is no directory" in status_of(plan)
    for _ in range(2):  # clearing a failure that does not exist is no error
        clear_failure(plan.run_dir(damaged))
    assert states(plan)[damaged].state == "waiting"


ENDLESS = b'{"epoch": 9999, "epoch_s": Infinity}\n'


@pytest.mark.parametrize("damage", [*STRANGE.values(), lambda path: path.write_bytes(ENDLESS)])
def test_status_ignores_a_damaged_metrics_file_of_a_running_run(damage: Callable[[Path], object], plan: Plan) -> None:
    begun = plan.run_dir(plan.runs[0].run_id)
    (begun / "summary.json").unlink()
    (begun / "metrics.jsonl").unlink()
    damage(begun / "metrics.jsonl")
    with locked(begun):
        assert states(plan)[begun.name].state == "running"
        assert "running" in status_of(plan)


@pytest.mark.parametrize("strange", STRANGE)
def test_damaged_records_of_jobs_and_problems_are_skipped_with_a_warning(
    strange: str, plan: Plan, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("jobs.jsonl", "problems.jsonl"):
        STRANGE[strange](plan.directory / name)
        with caplog.at_level(logging.WARNING):
            assert "2 of 2 ended" in status_of(plan)
        assert submitted(plan) == []
    assert ("problems.jsonl" in caplog.text) == (strange != "empty")


def test_intact_records_among_damaged_ones_are_read(plan: Plan) -> None:
    job = {"job_id": "7_0", "cluster": "slurm", "runs": [plan.runs[0].run_id]}
    problem = {"error": "no GPU", "where": "node1", "time": 1.0}
    for name, record in (("jobs.jsonl", job), ("problems.jsonl", problem)):
        lines = [*(content for content in NOT_JSON.values() if content), json.dumps(record).encode()]
        (plan.directory / name).write_bytes(b"\n".join(lines) + b"\n")
    assert [job.job_id for job in submitted(plan)] == ["7_0"]
    assert "could not train at node1: no GPU" in status_of(plan)


@pytest.mark.parametrize("strange", STRANGE)
def test_a_damaged_timing_file_is_ignored_and_renamed_when_a_new_one_is_written(
    strange: str, plan: Plan, caplog: pytest.LogCaptureFixture
) -> None:
    path = plan.output_dir / "timing.yaml"
    STRANGE[strange](path)
    shipped = Timing.read(Path("nowhere"))
    assert Timing.read(plan.output_dir) == shipped
    assert ("timing.yaml" in caplog.text) == (strange != "an empty object")
    write_timing(measure(summaries(plan.output_dir)), plan.output_dir)
    assert Timing.read(plan.output_dir).seconds(plan.runs[0]) is not None
    assert os.path.lexists(path.with_name("timing.yaml.damaged")) == (strange != "an empty object")


DAMAGED_PLANS: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "a line missing": lambda lines: lines[:-1],
    "a line too many": lambda lines: [*lines, lines[-1]],
    "the header alone": lambda lines: lines[:1],
    "the header missing": lambda lines: lines[1:],
    "the header a number": lambda lines: [b"3", *lines[1:]],
    "a list for a run": lambda lines: [*lines[:-1], b"[1, 2]"],
    "a run cut short": lambda lines: [*lines[:-1], lines[-1][:-9]],
    "a run without config": lambda lines: [*lines[:-1], b'{"run_id": "x", "overrides": [], "config": {}}'],
    "a run that is a path": lambda lines: [*lines[:-1], lines[-1].replace(b'"run_id": "', b'"run_id": "../')],
    "no runs": lambda lines: [json.dumps(json.loads(lines[0]) | {"runs": 0}).encode()],
    "empty": lambda lines: [],
    "no text": lambda lines: [lines[0], b"\xff\xfe", *lines[2:]],
}


@pytest.mark.parametrize("damage", DAMAGED_PLANS)
def test_a_damaged_plan_is_a_one_line_error_with_the_command_that_restores_it(damage: str, plan: Plan) -> None:
    path = plan_path(plan.name, plan.output_dir)
    path.write_bytes(b"".join(line + b"\n" for line in DAMAGED_PLANS[damage](path.read_bytes().splitlines())))
    damaged = path.read_bytes()
    with pytest.raises(UserError, match="is damaged.*python -m launch plan sweep=sweep replace=true") as caught:
        Plan.read(plan.name, plan.output_dir)
    assert "\n" not in str(caught.value)
    plan.write()
    assert Plan.read(plan.name, plan.output_dir) == plan
    assert path.with_name("plan.jsonl.damaged").read_bytes() == damaged


def test_a_damaged_plan_of_the_command_line_names_the_command_that_made_it(study: Study) -> None:
    overrides = ("model=small_mlp", "dataset=digits", "density=d0.1,d0.2", f"data_dir={study.data_dir}")
    study.launch("plan", "name=mine", *overrides)
    path = study.output_dir / "sweeps" / "mine" / "plan.jsonl"
    path.write_bytes(path.read_bytes()[:-9])
    answer = study.launch("status", "sweep=mine", rc=2)
    command = answer.strip().partition("again with: python -m launch ")[2].split()
    assert command == ["plan", "name=mine", *overrides, "replace=true"]
    study.launch(*command)
    assert "0 of 2 ended" in study.launch("status", "sweep=mine")


def test_a_sweep_without_runs_is_rejected_and_creates_no_folder(study: Study) -> None:
    answer = study.launch("plan", "name=none", "model=small_mlp", "dataset=digits", "seed=range(5,1)", rc=2)
    assert answer.startswith("error: ")
    assert answer.count("\n") == 1
    assert "seed=range(5,1)" in answer
    assert not (study.output_dir / "sweeps" / "none").exists()
    with pytest.raises(UserError, match="no runs"):
        Plan.make("none", study.output_dir, [])


def test_a_run_with_a_damaged_summary_is_trained_again_by_the_same_command(study: Study) -> None:
    damaged, other = study.planned("sweep")
    expected = study.results(damaged)
    (study.run_dir(damaged) / "summary.json").write_text("[]")
    (study.run_dir(other) / "log.txt").write_bytes(b"caf\xe9\n")
    status = study.launch("status", "sweep=sweep")
    assert f"damaged {damaged}: summary.json" in status
    assert "2 of 2 ended" in study.launch("submit", "sweep=sweep", "cluster=local")
    assert study.results(damaged) == expected
    assert (study.run_dir(damaged) / "summary.json.damaged").read_text() == "[]"
    assert read_summary(study.run_dir(damaged)) == study.summary(damaged)
    assert "caf" in study.launch("logs", other)


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system that cannot be written to, with an empty folder ``sweeps/sweep`` in it."""
    folder = tmp_path / "mounted"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("mounting needs root")
    try:
        (folder / "sweeps" / "sweep").mkdir(parents=True)
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_read_only_file_system_is_a_one_line_error(plan: Plan, read_only: Path) -> None:
    attempts: list[Callable[[], object]] = [
        replace(plan, output_dir=read_only).write,
        replace(plan, output_dir=read_only, name="other").write,
        lambda: write_timing(measure(summaries(plan.output_dir)), read_only),
        lambda: collect(Source(output_dir=plan.output_dir, results_dir=read_only)),
        lambda: collect(Source(output_dir=plan.output_dir, results_dir=read_only / "new")),
    ]
    for attempt in attempts:
        with pytest.raises(UserError, match="Read-only file system") as caught:
            attempt()
        assert "\n" not in str(caught.value)
