"""``archive``, ``restore`` and ``delete``: what is asked for goes or comes back whole, and nothing else is touched."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import launch.archive
from dst.errors import UserError
from dst.files.lock import locked
from dst.run.outcome import write_failure
from dst.train import run
from launch.archive import archive_runs, restore
from launch.cancelled import cancelled
from launch.cli import main
from launch.plan import Plan
from launch.removal import check, choose, delete
from launch.state import states
from launch.status import status_text
from tests.launch.study import Study
from tests.launch.test_parents import CHILDREN
from tests.slurm.cluster import wait_until

TypeIn = Callable[..., tuple[int, str]]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Study:
    """A sweep of three finished runs."""
    study = Study(tmp_path_factory.mktemp("removal"), data_dir)
    study.plan("mine", "recipe.epochs=1", "seed=1,2,3", "checkpoint.keep=weights")
    train(study)
    return study


def train(study: Study) -> None:
    """Trains the runs of the sweep ``mine`` in this process."""
    for planned in Plan.read("mine", study.output_dir).runs:
        run(OmegaConf.create({**planned.config, "output_dir": str(study.output_dir)}))


@pytest.fixture
def type_in(
    study: Study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Types a line after ``python -m launch``, in this process; returns exit status and what was printed."""

    def enter(*line: str) -> tuple[int, str]:
        monkeypatch.chdir(study.folder)
        monkeypatch.setattr(sys, "argv", ["launch", *line])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out + printed.err

    return enter


@pytest.fixture
def copied(study: Study, trained: Study) -> Study:
    """A copy of it that a test may modify."""
    study.adopt(trained, "mine")
    shutil.copytree(trained.output_dir / "runs", study.output_dir / "runs")
    return study


def status(study: Study, name: str = "mine") -> str:
    plan = Plan.read(name, study.output_dir)
    return status_text(plan, states(plan))


def test_what_would_be_deleted_is_shown_and_without_a_terminal_nothing_is_touched(
    copied: Study, type_in: TypeIn
) -> None:
    before = contents(copied.output_dir)
    ended, shown = type_in("delete", "sweep=mine", "where=seed > 1")
    assert ended == 2
    assert "small_mlp         2     2" in shown
    assert "2 runs, " in shown
    assert all((run_id in shown) == (copied.summary(run_id)["seed"] > 1) for run_id in copied.planned("mine"))
    assert shown.endswith("error: delete: there is no terminal to ask on; give yes=true to delete these 2 runs\n")
    assert "3 runs would be deleted" in type_in("delete", "sweep=mine", "dry_run=true")[1]
    assert contents(copied.output_dir) == before


@pytest.mark.parametrize(("answer", "left"), [("y", 0), ("", 3)])
def test_on_a_terminal_only_a_yes_deletes(copied: Study, answer: str, left: int) -> None:
    terminal, end = pty.openpty()
    command = [sys.executable, "-m", "launch", "delete", "sweep=mine"]
    with subprocess.Popen(command, cwd=copied.folder, env=copied.environment, stdin=end, stdout=end, stderr=end):
        os.write(terminal, f"{answer}\n".encode())
    os.close(end)
    os.close(terminal)
    assert sum(map(copied.is_finished, copied.planned("mine"))) == left


def test_deleted_runs_are_told_by_status_and_trained_again(copied: Study, type_in: TypeIn) -> None:
    gone = copied.planned("mine")[0]
    before = copied.results(gone)
    assert "1 runs deleted" in type_in("delete", "sweep=mine", "where=seed == 1", "yes=true")[1]
    assert not copied.run_dir(gone).exists()
    assert "1 runs were deleted and are to be trained again: python -m launch submit sweep=mine" in status(copied)
    train(copied)
    assert copied.results(gone) == before
    assert "runs were deleted" not in status(copied)


def test_restored_runs_equal_the_archived_ones(copied: Study, type_in: TypeIn) -> None:
    link = copied.run_dir(copied.planned("mine")[0]) / "latest"
    link.symlink_to("config.yaml")
    before = contents(copied.output_dir / "runs")
    type_in("archive", "sweep=mine", "yes=true")
    assert contents(copied.output_dir / "runs") == {}
    assert "3 runs are in archive mine; bring them back with: python -m launch restore mine" in status(copied)
    type_in("restore", "mine")
    assert contents(copied.output_dir / "runs") == before
    assert os.readlink(link) == "config.yaml"
    assert "bring them back" not in status(copied)


def test_tar_unpacks_an_archive_and_sha256sum_finds_it_whole(copied: Study) -> None:
    before = contents(copied.output_dir / "runs")
    archive_runs(choose(copied.output_dir, "mine", None), "mine", checkpoints=True)
    subprocess.run(["tar", "-xf", "archive/mine.tar"], cwd=copied.output_dir, check=True)
    assert contents(copied.output_dir / "runs") == before
    subprocess.run(["sha256sum", "--check", "--quiet", "archive/mine.sha256"], cwd=copied.output_dir, check=True)


def test_without_checkpoints_finished_runs_leave_theirs_and_unfinished_ones_keep_them(copied: Study) -> None:
    finished, unfinished, _ = copied.planned("mine")
    (copied.run_dir(unfinished) / "summary.json").unlink()
    archive_runs(choose(copied.output_dir, "mine", None), "mine", checkpoints=False)
    restore(copied.output_dir, "mine")
    assert not (copied.run_dir(finished) / "checkpoint.pt").exists()
    assert (copied.run_dir(unfinished) / "checkpoint.pt").exists()
    assert copied.is_finished(finished)


def test_an_archive_of_the_same_name_is_not_overwritten_and_a_run_that_is_there_not_replaced(copied: Study) -> None:
    first, second, _ = copied.planned("mine")
    archive_runs(choose(copied.output_dir, "mine", "seed == 1"), "mine", checkpoints=True)
    shutil.copytree(copied.run_dir(second), copied.run_dir(first))
    done = archive_runs(choose(copied.output_dir, "mine", "seed == 2"), "mine", checkpoints=True)
    assert "restore mine-2" in done
    before = contents(copied.run_dir(first))
    told = restore(copied.output_dir, "mine")
    assert "0 runs restored" in told
    assert f"{first} is there already and stays as it is" in told
    assert contents(copied.run_dir(first)) == before


def test_a_damaged_archive_is_refused_in_one_line_and_no_run_of_it_appears(copied: Study) -> None:
    archive_runs(choose(copied.output_dir, "mine", None), "mine", checkpoints=True)
    path = copied.output_dir / "archive" / "mine.tar"
    whole = path.read_bytes()
    with tarfile.open(path) as tar:
        member = next(member for member in tar if member.name.endswith("summary.json"))
    position = member.offset_data + 5
    path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
    with pytest.raises(UserError, match=r"mine.tar: is damaged \(.*summary.json has another hash"):
        restore(copied.output_dir, "mine")
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="is damaged"):
        restore(copied.output_dir, "mine")
    assert not copied.run_dir(member.name.split("/")[1]).exists()


def test_a_link_out_of_its_run_is_not_archived_and_not_followed(copied: Study, tmp_path: Path) -> None:
    outside = tmp_path / "precious"
    outside.mkdir()
    (outside / "file").write_text("precious")
    (copied.run_dir(copied.planned("mine")[0]) / "link").symlink_to(outside)
    before = contents(copied.output_dir / "runs")
    with pytest.raises(UserError, match="link: is a link to .*precious, out of its run"):
        archive_runs(choose(copied.output_dir, "mine", None), "mine", checkpoints=True)
    assert contents(copied.output_dir / "runs") == before
    delete(choose(copied.output_dir, "mine", None))
    assert contents(outside) == {"file": b"precious"}


def test_a_run_that_failed_before_it_wrote_its_config_is_found_without_its_sweep(study: Study) -> None:
    failed, *_ = study.plan("mine", "seed=1,2")
    write_failure(study.run_dir(failed), "no luck", "here")
    delete(choose(study.output_dir, None, 'state == "failed"'))
    assert not study.run_dir(failed).exists()


def test_a_run_that_changes_while_it_is_archived_stays(copied: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    changing = copied.run_dir(copied.planned("mine")[1])
    removal = choose(copied.output_dir, "mine", None)

    def write_then_verify(path: Path, hashes: dict[str, str]) -> None:
        (changing / "log.txt").write_text("one more line")
        verify(path, hashes)

    verify = launch.archive._verify
    monkeypatch.setattr("launch.archive._verify", write_then_verify)
    told = archive_runs(removal, "mine", checkpoints=True)
    assert f"2 runs archived in {copied.output_dir}/archive/mine.tar" in told
    assert f"{changing.name} has changed meanwhile and stays" in told
    assert [path.name for path in (copied.output_dir / "runs").glob("[!.]*")] == [changing.name]


def test_an_archive_that_does_not_read_back_is_removed_and_the_runs_stay(
    copied: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(copied.output_dir / "runs")
    removal = choose(copied.output_dir, "mine", None)

    def spoil_then_verify(path: Path, hashes: dict[str, str]) -> None:
        text = bytearray(path.read_bytes())
        text[text.index(b'"run_id"')] ^= 1  # in a summary
        path.write_bytes(text)
        verify(path, hashes)

    verify = launch.archive._verify
    monkeypatch.setattr("launch.archive._verify", spoil_then_verify)
    with pytest.raises(UserError, match=r"does not read back as it was written \(its content differs\)"):
        archive_runs(removal, "mine", checkpoints=True)
    assert contents(copied.output_dir / "runs") == before
    assert not list((copied.output_dir / "archive").glob("*.tar"))


def test_a_run_in_training_is_refused_by_name(copied: Study) -> None:
    run_id = copied.planned("mine")[1]
    with locked(copied.run_dir(run_id)), pytest.raises(UserError, match=f"runs {run_id}: being trained or queued"):
        check(choose(copied.output_dir, "mine", None), shared=False)


def test_a_run_queued_in_slurm_is_refused_by_name_and_all_are_where_slurm_does_not_answer(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    queued, failed = study.plan("mine", "seed=1,2")
    for run_id in (queued, failed):
        study.run_dir(run_id).mkdir(parents=True)
    write_failure(study.run_dir(failed), "no luck", "here")
    job = {"job_id": "7", "cluster": "slurm", "runs": [queued, failed]}
    (study.output_dir / "sweeps" / "mine" / "jobs.jsonl").write_text(f"{json.dumps(job)}\n")
    monkeypatch.setenv("PATH", str(study.folder))
    with pytest.raises(UserError, match="which runs of sweep mine are queued is not known: squeue: not found"):
        choose(study.output_dir, "mine", None)
    (study.folder / "squeue").write_text("#!/bin/sh\necho '7|PENDING|'\n")
    (study.folder / "squeue").chmod(0o755)
    with pytest.raises(UserError, match=f"runs {queued}: being trained or queued"):
        check(choose(study.output_dir, "mine", None), shared=False)
    removal = choose(study.output_dir, "mine", 'state == "failed"')
    check(removal, shared=False)
    delete(removal)
    assert cancelled(Plan.read("mine", study.output_dir)) == {failed}  # or the job would train it again


def test_a_run_that_is_locked_after_the_check_stays(copied: Study) -> None:
    removal = choose(copied.output_dir, "mine", None)
    run_id = copied.planned("mine")[2]
    with locked(copied.run_dir(run_id)), pytest.raises(UserError, match=f"{run_id} is locked by process"):
        delete(removal)
    assert all(map(copied.is_finished, copied.planned("mine")))


def test_a_parent_is_refused_as_long_as_a_planned_child_has_not_finished(study: Study) -> None:
    study.plan("families", *CHILDREN, "seed=1")
    plan = Plan.read("families", study.output_dir)
    parent, child = plan.runs
    write_failure(plan.run_dir(parent.run_id), "no luck", "here")
    (plan.run_dir(parent.run_id) / "config.yaml").write_text(json.dumps(parent.config))
    told = f"runs {parent.run_id}: parents of planned runs that have not finished, such as {child.run_id}"
    for chosen in (("families", None), (None, f'run_id == "{parent.run_id}"')):
        with pytest.raises(UserError, match=told):
            check(choose(study.output_dir, *chosen), shared=False)


def test_a_run_of_two_sweeps_is_refused_unless_shared(copied: Study, type_in: TypeIn) -> None:
    shutil.copytree(copied.output_dir / "sweeps" / "mine", copied.output_dir / "sweeps" / "other")
    _, shown = type_in("delete", "where=seed == 1", "yes=true")
    assert f"runs {copied.planned('mine')[0]}: shared by the sweeps mine, other; to remove them give" in shown
    assert "runs deleted" in type_in("delete", "sweep=mine", "where=seed == 1", "yes=true", "shared=true")[1]
    assert all("1 runs were deleted" in status(copied, name) for name in ("mine", "other"))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("delete", "yes=true"), "which runs? give sweep=NAME, where='expression'"),
        (("delete", "sweep=mine", "where=seed == 7", "yes=true"), "where=seed == 7: selects none of 3 runs"),
        (("delete", "sweep=mine", 'where=state == "failed"', "yes=true"), "selects none of 3 runs"),
        (("archive", "sweep=yours", "yes=true"), "sweep=yours: not planned in"),
        (("restore",), "which archive? give its name: python -m launch restore NAME (there are: none)"),
        (("restore", "../mine"), "../mine: no archive in"),
    ],
)
def test_a_mistake_is_one_line_and_removes_nothing(
    copied: Study, type_in: TypeIn, arguments: tuple[str, ...], told: str
) -> None:
    before = contents(copied.output_dir)
    status, shown = type_in(*arguments)
    assert (status, shown.count("\n")) == (2, 1)
    assert told in shown
    assert contents(copied.output_dir) == before


@pytest.fixture
def many(copied: Study) -> Study:
    """A sweep of 120 runs, copies of one, so that a command takes a while."""
    header, line, *_ = (copied.output_dir / "sweeps" / "mine" / "plan.jsonl").read_text().splitlines()
    first = json.loads(line)
    ids = [f"{number:012x}" for number in range(120)]
    folder = copied.output_dir / "sweeps" / "many"
    folder.mkdir()
    lines = [json.dumps({**json.loads(header), "runs": len(ids)}), *(json.dumps({**first, "run_id": i}) for i in ids)]
    (folder / "plan.jsonl").write_text("".join(f"{line}\n" for line in lines))
    for run_id in ids:
        shutil.copytree(copied.run_dir(first["run_id"]), copied.run_dir(run_id))
        summary = copied.run_dir(run_id) / "summary.json"
        summary.write_text(summary.read_text().replace(first["run_id"], run_id))
    return copied


def killed_when(study: Study, condition: Callable[[], bool], *arguments: str) -> None:
    """Starts a command and kills it with SIGKILL once the condition holds."""
    with study.start(*arguments) as process:
        wait_until(lambda: condition() or process.poll() is not None, " ".join(arguments), 60)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    for claim in [*study.output_dir.glob("runs/*/claim.*"), *study.output_dir.glob("archive/claim.*")]:
        claim.unlink()  # one that was still empty would count for a while


def test_a_delete_killed_midway_leaves_each_run_whole_or_gone(many: Study) -> None:
    runs = many.output_dir / "runs"
    before = {run_id: contents(many.run_dir(run_id)) for run_id in many.planned("many")}
    killed_when(many, lambda: len(list(runs.glob("0*"))) < 100, "delete", "sweep=many", "yes=true")
    left = {path.name for path in runs.glob("0*")}
    whole = [run_id for run_id in left if contents(many.run_dir(run_id)) == before[run_id]]
    assert len(left) < 100
    assert set(whole) == left
    if left:
        delete(choose(many.output_dir, "many", None))
    assert list((runs / ".deleted").iterdir()) == list(runs.glob("0*")) == []
    assert all(map(many.is_finished, many.planned("mine")))


@pytest.mark.parametrize("moment", ["writing", "removing"])
def test_an_archive_killed_midway_loses_nothing(many: Study, moment: str) -> None:
    runs, folder = many.output_dir / "runs", many.output_dir / "archive"
    before = contents(runs)

    def now() -> bool:
        return any(folder.glob(".*.tmp")) if moment == "writing" else len(list(runs.glob("0*"))) < 100

    killed_when(many, now, "archive", "sweep=many", "yes=true")
    assert any(folder.glob("*.tar")) or contents(runs) == before
    if any(runs.glob("0*")):
        archive_runs(choose(many.output_dir, "many", None), "many", checkpoints=True)
    assert not [*folder.glob(".*.tmp"), *runs.glob("0*")]
    for path in folder.glob("*.tar"):
        restore(many.output_dir, path.stem)
    assert {name: text for name, text in contents(runs).items() if name[0] != "."} == before
