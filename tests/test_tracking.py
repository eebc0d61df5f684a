"""Tracking: what W&B gets, read back from the files it writes, and that a training never feels it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from dst.config import TrackerConfig
from dst.run.trackers import make_tracker
from tests.wandb_server import WandbServer

REPOSITORY = Path(__file__).parent.parent
CONF = REPOSITORY / "conf" / "tracker"
API_KEY = "deadbeef" * 5
CONFIG = {
    "model": {"name": "small_mlp"},
    "dataset": {"name": "digits"},
    "criterion": {"name": "mest"},
    "growth": {"name": "gradient"},
    "density": {"value": 0.1},
    "update_period": {"steps": 25},
    "seed": 3,
}
SUMMARY = {"test_acc": 0.97, "status": "finished", "topology_updates": 4, "versions": {"torch": "2.7.1"}}
SCRIPT = """
import logging, sys, time
from pathlib import Path
from dst.config import TrackerConfig
from dst.run.tracker import of_topology
from dst.run.trackers import make_tracker
from tests.wandb_server import WandbServer

logging.basicConfig(format="%(levelname)s %(message)s")
tracker = make_tracker(TrackerConfig(**({{'name': 'wandb'}} | dict({settings}))))
tracker.start("0123456789ab", {config}, Path(sys.argv[1]), {{"commit": "c0ffee"}})
for epoch in {epochs}:
    for step in (100 * epoch - 50, 100 * epoch):
        layers = {{"fc1.weight": {{"active": 80, "pruned": step, "grown": step}}}}
        tracker.log_step(of_topology({{"step": step, "prune_fraction": 0.5, "layers": layers}}))
    tracker.log_epoch({{"epoch": epoch, "step": 100 * epoch, "val_acc": epoch / 10, "prune_fraction": None}})
{ending}
"""

UNTIL_STARTED = """
while not list(Path(sys.argv[1]).glob("wandb/*/*.wandb")):
    time.sleep(0.05)
"""


def attempt(
    run_dir: Path,
    *,
    settings: str = "",
    config: dict[str, Any] = CONFIG,
    epochs: tuple[int, ...] = (1, 2, 3),
    ending: str = f"tracker.finish({SUMMARY})",
    pythonpath: Path = REPOSITORY,
    **environment: str,
) -> subprocess.CompletedProcess[str]:
    """Runs a training's calls to its tracker in a process of its own, without the keys and modes of this machine.

    A process that W&B holds up is not waited for: it fails the test.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")}
    return subprocess.run(
        [sys.executable, "-c", SCRIPT.format(settings=settings, config=config, epochs=epochs, ending=ending), run_dir],
        env=inherited
        | {"HOME": str(run_dir.parent), "PYTHONPATH": f"{pythonpath}{os.pathsep}{REPOSITORY}"}
        | environment,
        cwd=run_dir.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )


def records(path: Path) -> list[Any]:
    """The records of a ``.wandb`` file, which has LevelDB's log format after a header of 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, position, parts, found = path.read_bytes(), 7, b"", []
    while position + 7 <= len(data):
        if (left := 32768 - position % 32768) < 7:
            position += left
            continue
        length, kind = int.from_bytes(data[position + 4 : position + 6], "little"), data[position + 6]
        parts += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            record = Record()
            record.ParseFromString(parts)
            found.append(record)
            parts = b""
    return found


class Report:
    """What one attempt told W&B."""

    def __init__(self, run_dir: Path, number: int = 0) -> None:
        self.path = sorted(run_dir.glob("wandb/offline-run-*/run-*.wandb"))[number]
        self.records = records(self.path)
        self.run = next(record.run for record in self.records if record.HasField("run"))
        self.config = {item.key: json.loads(item.value_json) for item in self.run.config.update}
        self.history = [
            {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
            for record in self.records
            if record.HasField("history")
        ]
        self.axes = {r.metric.name: r.metric.step_metric for r in self.records if r.HasField("metric")}
        self.summary: dict[str, Any] = {}
        for record in self.records:
            for item in record.summary.update:
                self.summary["/".join(item.nested_key) or item.key] = json.loads(item.value_json)


def warnings(process: subprocess.CompletedProcess[str]) -> list[str]:
    return process.stderr.splitlines()


def files_with(text: str, folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a run with a key that was told to stay offline."""
    run_dir = tmp_path_factory.mktemp("offline") / "run"
    process = attempt(run_dir, settings="tags=['a', 'b']", WANDB_MODE="offline", WANDB_API_KEY=API_KEY)
    assert (process.stdout, process.stderr) == ("", "")
    return run_dir


def test_the_wandb_run_is_found_by_run_id_name_group_job_type_and_tags(offline: Path) -> None:
    run = Report(offline).run
    assert (run.run_id, run.project) == ("0123456789ab", "fantastic-weights")
    assert run.display_name == "mest+gradient d0.1 Δt25 s3"
    assert (run.run_group, run.job_type, list(run.tags)) == ("small_mlp/digits", "mest", ["a", "b"])


def test_the_wandb_run_holds_the_resolved_config_columns_to_group_by_and_the_code(offline: Path) -> None:
    found = Report(offline).config
    assert found["config"] == CONFIG
    assert found["code"] == {"commit": "c0ffee"}
    plain = {"model": "small_mlp", "dataset": "digits", "criterion": "mest", "growth": "gradient"}
    assert {**plain, "density": 0.1, "update_period": 25, "seed": 3}.items() <= found.items()


def test_epochs_are_drawn_against_epoch_and_updates_against_step(offline: Path) -> None:
    report = Report(offline)
    assert report.axes["val_acc"] == "epoch"
    assert {axis for name, axis in report.axes.items() if name.startswith("topology/")} == {"step"}


def test_every_epoch_and_every_update_arrives_once(offline: Path) -> None:
    history = Report(offline).history
    assert [(row["epoch"], row["val_acc"]) for row in history if "epoch" in row] == [(1, 0.1), (2, 0.2), (3, 0.3)]
    assert [(row["step"], row["topology/fc1.weight/pruned"]) for row in history] == [
        (50 * i, 50 * i) for i in range(1, 7)
    ]


def test_wandbs_own_step_is_the_optimizer_step_so_that_what_is_logged_again_is_passed_over(offline: Path) -> None:
    assert all(row["_step"] == row["step"] for row in Report(offline).history)


def test_the_summary_arrives_whole(offline: Path) -> None:
    report = Report(offline)
    nested = {"versions/torch": "2.7.1"} if "versions/torch" in report.summary else {"versions": {"torch": "2.7.1"}}
    assert ({key: SUMMARY[key] for key in SUMMARY if key != "versions"} | nested).items() <= report.summary.items()
    assert [record.exit.exit_code for record in report.records if record.HasField("exit")] == [0]


def test_no_code_no_git_and_no_console_are_recorded(offline: Path) -> None:
    kinds = {record.WhichOneof("record_type") for record in Report(offline).records}
    assert not kinds & {"output", "output_raw", "artifact", "stats"}
    assert not list(offline.rglob("*.patch"))
    assert not list(offline.rglob("requirements.txt"))


def test_a_key_ends_in_no_file_of_an_offline_run(offline: Path) -> None:
    assert files_with("0123456789ab", offline)
    assert not files_with(API_KEY, offline.parent)


def test_without_a_key_a_run_is_offline_without_a_question_or_a_warning(tmp_path: Path) -> None:
    process = attempt(tmp_path / "run")
    assert warnings(process) == []
    assert len(Report(tmp_path / "run").history) == 6


@pytest.mark.parametrize(
    ("change", "job_type", "name"),
    [
        ({"density": {"value": None}}, "dense", "dense s3"),
        ({"update_period": {"steps": None}}, "static", "static d0.1 s3"),
    ],
)
def test_runs_without_updates_have_their_method_as_job_type_and_no_criterion(
    change: dict[str, Any], job_type: str, name: str, tmp_path: Path
) -> None:
    attempt(tmp_path / "run", config=CONFIG | change, WANDB_MODE="offline")
    report = Report(tmp_path / "run")
    assert (report.run.job_type, report.run.display_name) == (job_type, name)
    assert (report.config["criterion"], report.config["update_period"]) == (None, None)


def test_an_offline_run_says_once_how_to_upload_it(command: Callable[..., Any], tmp_path: Path) -> None:
    process = command("tracker=wandb", "tracker.mode=offline", "recipe.epochs=1", "update_period=never")
    _, stderr = process.communicate(timeout=120)
    (directory,) = (tmp_path / "outputs" / "runs").iterdir()
    assert stderr == (f"Weights & Biases is offline; upload the run with: wandb sync {directory}/wandb/offline-run-*\n")
    assert list(directory.glob("wandb/offline-run-*"))


def test_the_curves_of_a_run_trained_anew_are_not_passed_over_as_known(
    overrides: Callable[..., list[str]], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "dst.train", *overrides("tracker=wandb", "tracker.entity=me", "recipe.epochs=2")]
    with WandbServer().running() as server:
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)} | server.environment()
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        (run,) = server.runs.values()
        for row in run.history:
            row["val_acc"] = 7.0
        subprocess.run([*command, "rerun=true"], env=environment, check=True, stdout=subprocess.DEVNULL)
    latest = {row["epoch"]: row["val_acc"] for row in run.history if "epoch" in row}
    assert latest.keys() == {1, 2}
    assert max(latest.values()) <= 1


def test_a_second_attempt_continues_the_same_wandb_run(tmp_path: Path) -> None:
    attempt(tmp_path / "run", epochs=(1, 2), ending="tracker.finish({})", WANDB_MODE="offline")
    time.sleep(1)  # W&B names its folders by the second
    attempt(tmp_path / "run", epochs=(3,), WANDB_MODE="offline")
    first, second = Report(tmp_path / "run", 0), Report(tmp_path / "run", 1)
    assert first.run.run_id == second.run.run_id
    assert [row["epoch"] for row in first.history + second.history if "epoch" in row] == [1, 2, 3]
    assert [record.exit.exit_code for record in first.records if record.HasField("exit")] == [1]


def test_a_training_that_fails_leaves_its_report_marked_as_failed(tmp_path: Path) -> None:
    process = attempt(tmp_path / "run", ending=UNTIL_STARTED + "sys.exit(0)", WANDB_MODE="offline")
    report = Report(tmp_path / "run")
    assert (warnings(process), len(report.history)) == ([], 6)
    assert [record.exit.exit_code for record in report.records if record.HasField("exit")] == [1]


def told_five_epochs(log: Path) -> bool:
    return len(log.read_text().splitlines()) >= 5


def test_what_a_killed_attempt_did_not_get_through_is_told_by_the_next(
    overrides: Callable[..., list[str]], tmp_path: Path
) -> None:
    more = ("tracker=wandb", "tracker.entity=me", "recipe.epochs=30", "checkpoint.minutes=0", "update_period=dt25")
    command = [sys.executable, "-m", "dst.train", *overrides(*more)]
    with WandbServer().running() as server:
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)} | server.environment()
        first = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        logs = tmp_path / "outputs" / "runs"
        while (
            first.poll() is None
            and sum(len(path.read_text().splitlines()) for path in logs.glob("*/metrics.jsonl")) < 5
        ):
            time.sleep(0.01)
        first.kill()
        first.wait()
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    (run,) = server.runs.values()
    assert [row["epoch"] for row in run.history if "epoch" in row] == list(range(1, 31))
    assert sum("topology/prune_fraction" in row for row in run.history) == len(range(25, 300, 25))
    assert run.exit_code == 0


def test_a_run_stopped_at_the_very_end_of_an_epoch_tells_that_epoch_and_what_its_probes_measured(
    overrides: Callable[..., list[str]], tmp_path: Path
) -> None:
    settings = ("tracker=wandb", "tracker.entity=me", "recipe.epochs=3", "update_period=3", "probes=[gradient_flow]")
    arguments = overrides(*settings, "probes.gradient_flow.every=4", "recipe.batch_size=144")
    stopped = "import sys; from dst.config import compose; from tests.run.outcomes import run_with_stops as run"
    script = f"{stopped}; run(compose(sys.argv[1:]), 8)"  # asked after each of the 9 steps of an epoch
    with WandbServer().running() as server:
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)} | server.environment()
        subprocess.run([sys.executable, "-c", script, *arguments], env=environment, check=True)
    (run,) = server.runs.values()
    assert [(row["epoch"], row["step"]) for row in run.history if "epoch" in row] == [(1, 9), (2, 18), (3, 27)]
    measured = {row["step"]: row for row in run.history if "probes/gradient_flow/masked" in row}
    assert list(measured) == [1, *range(4, 28, 4)]
    (log,) = tmp_path.glob("outputs/runs/*/probes/gradient_flow.jsonl")
    for line in map(json.loads, log.read_text().splitlines()):
        layer, norm = next((name, of["masked"]) for name, of in line["layers"].items())
        assert measured[line["step"]][f"probes/gradient_flow/{layer}/masked"] == norm


@pytest.fixture(scope="module")
def unreachable(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, subprocess.CompletedProcess[str]]]:
    """Runs with a key whose server refuses connections, or takes them and never says a word."""

    def without_server(answer: str) -> tuple[Path, subprocess.CompletedProcess[str]]:
        run_dir = tmp_path_factory.mktemp(answer) / "run"
        url = f"http://127.0.0.1:{server.getsockname()[1] if answer == 'silence' else 1}"
        return run_dir, attempt(run_dir, settings="timeout_s=12", WANDB_API_KEY=API_KEY, WANDB_BASE_URL=url)

    answers = ("refused", "silence")
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor() as threads:
        return dict(zip(answers, threads.map(without_server, answers), strict=True))


@pytest.mark.parametrize("answer", ["refused", "silence"])
def test_without_a_network_a_run_ends_with_one_warning_and_is_kept_offline(
    answer: str, unreachable: dict[str, tuple[Path, subprocess.CompletedProcess[str]]]
) -> None:
    run_dir, process = unreachable[answer]
    assert process.stdout == ""
    assert len(warnings(process)) == 1
    assert f"the run is kept offline, for: wandb sync {run_dir}/wandb/offline-run-*" in process.stderr
    assert len(Report(run_dir).history) == 6
    assert not files_with(API_KEY, run_dir.parent)


def stub(folder: Path, source: str) -> Path:
    """A package that is found in place of wandb."""
    (folder / "stubs").mkdir()
    (folder / "stubs" / "wandb.py").write_text(textwrap.dedent(source))
    return folder / "stubs"


@pytest.mark.parametrize(
    "source",
    [
        "raise ImportError('broken installation')",
        "raise SystemExit('broken installation')",
        "def setup(*args): raise RuntimeError('broken installation')\nSettings = dict",
    ],
)
def test_a_wandb_that_fails_to_load_or_start_is_one_warning(source: str, tmp_path: Path) -> None:
    process = attempt(tmp_path / "run", pythonpath=stub(tmp_path, source))
    assert len(warnings(process)) == 1
    assert "broken installation" in process.stderr


def test_a_failure_midway_is_one_warning(tmp_path: Path) -> None:
    source = """
        from types import SimpleNamespace
        Settings = dict
        def setup(settings): return SimpleNamespace(settings=SimpleNamespace(mode="offline", base_url=""))
        class Run:
            def define_metric(self, *args, **kwargs): pass
            def log(self, *args, **kwargs): raise ConnectionError("service gone")
        def init(**kwargs): return Run()
    """
    process = attempt(tmp_path / "run", pythonpath=stub(tmp_path, source))
    assert len(warnings(process)) == 1
    assert "service gone" in process.stderr


def test_neither_training_nor_its_end_waits_for_a_wandb_that_hangs(tmp_path: Path) -> None:
    ending = """
    for epoch in range(10_000):
        tracker.log_epoch({"epoch": epoch, "step": epoch})
    print("trained")
    tracker.finish({"test_acc": 1.0})
    print("ended")
    """
    process = attempt(
        tmp_path / "run",
        settings="timeout_s=1",
        ending=textwrap.dedent(ending),
        pythonpath=stub(tmp_path, "import time\ntime.sleep(1000)"),
    )
    assert process.stdout == "trained\nended\n"
    assert len(warnings(process)) == 1
    assert "timeout_s=1" in process.stderr


def test_a_frozen_wandb_service_neither_holds_up_the_end_nor_the_exit(tmp_path: Path) -> None:
    ending = """
    import os, signal
    from dst.run.wandb_tracker import service_process
    os.kill(service_process().pid, signal.SIGSTOP)
    tracker.finish({"test_acc": 1.0})
    """
    process = attempt(
        tmp_path / "run",
        settings="timeout_s=2",
        ending=UNTIL_STARTED + textwrap.dedent(ending),
        WANDB_MODE="offline",
    )
    assert len(warnings(process)) == 1
    assert "timeout_s=2" in process.stderr


def test_local_tracks_nothing(tmp_path: Path) -> None:
    process = attempt(
        tmp_path / "run",
        settings="name='local'",
        ending=f"tracker.finish({SUMMARY})\nprint('wandb' in sys.modules)",
        WANDB_API_KEY=API_KEY,
    )
    assert (process.stdout, process.stderr) == ("False\n", "")
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.parametrize("name", ["local", "wandb"])
def test_the_configs_of_the_group_fit_the_schema(name: str) -> None:
    cfg = OmegaConf.merge(OmegaConf.structured(TrackerConfig), OmegaConf.load(CONF / f"{name}.yaml"))
    assert cfg.name == name
    make_tracker(OmegaConf.to_object(cfg))
