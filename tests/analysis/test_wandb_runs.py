"""At the client's edge: objects of the shape that W&B's public API documents, made from real run directories."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from analysis import wandb_runs
from analysis.collect import Collection
from analysis.wandb_runs import read_project
from dst.errors import UserError
from dst.run.tracker import columns

Collect = Callable[..., Collection]


class Run:
    """A ``wandb.apis.public.Run`` with the content that ``dst.run.tracker`` logs."""

    def __init__(self, directory: Path) -> None:
        self.id = self.name = directory.name
        self.state = "finished"
        self.url = f"https://wandb.example/lab/sparse/runs/{self.id}"
        whole = yaml.safe_load((directory / "config.yaml").read_text())
        self.config = {**columns(whole), "code": {"commit": "c0ffee"}, "config": whole}
        lines = (directory / "metrics.jsonl").read_text().splitlines()
        epochs = [{k: v for k, v in json.loads(line).items() if v is not None} for line in lines]
        topology = [{"_step": record["step"], "step": record["step"], "topology/l1/active": 9} for record in epochs]
        self.history = [{"_step": record["step"], "_runtime": 1.0, **record} for record in epochs] + topology
        self.summary = {
            **epochs[-1],
            **json.loads((directory / "summary.json").read_text()),
            "_runtime": 3,
            "_step": 30,
        }

    def scan_history(self, keys: list[str] | None = None) -> Iterator[dict[str, Any]]:
        """Skips records that lack a key, as W&B does."""
        for record in self.history:
            if keys is None:
                yield record
            elif all(key in record for key in keys):
                yield {key: record[key] for key in keys}


class Pages:
    """The paginator that ``Api.runs`` returns: loads pages lazily."""

    def __init__(self, runs: list[Run], size: int, failures: dict[int, int]) -> None:
        self.runs, self.size, self.failures = runs, size, failures
        self.loaded: list[Run] = []
        self.place = 0

    def __iter__(self) -> Pages:
        return self

    def __next__(self) -> Run:
        if self.place == len(self.runs):
            raise StopIteration
        if self.place == len(self.loaded):
            page = len(self.loaded) // self.size
            if self.failures.get(page, 0):
                self.failures[page] -= 1
                raise ConnectionError("502 Bad Gateway")
            self.loaded += self.runs[len(self.loaded) : len(self.loaded) + self.size]
        self.place += 1
        return self.loaded[self.place - 1]


class Api:
    def __init__(self, runs: list[Run], size: int = 10, failures: dict[int, int] | None = None) -> None:
        self._runs, self.size, self.failures = runs, size, failures or {}
        self.asked: list[str] = []

    def runs(self, path: str, per_page: int, lazy: bool) -> Pages:
        self.asked.append(path)
        assert not lazy  # lazy runs come without config and summary
        return Pages(self._runs, self.size, self.failures)


@pytest.fixture
def runs(trained: Path) -> list[Run]:
    return [Run(directory) for directory in sorted((trained / "runs").iterdir())]


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waited: list[float] = []
    monkeypatch.setattr(wandb_runs.time, "sleep", waited.append)
    return waited


def test_runs_and_epochs_equal_those_of_the_run_directories(runs: list[Run], trained: Path, collected: Collect) -> None:
    local = collected(trained)
    frame, epochs = read_project("lab", "sparse", api=Api(runs))
    columns = [name for name in local.runs.columns if name != "path"]
    pd.testing.assert_frame_equal(frame[columns], local.runs[columns], check_dtype=False)
    order = ["run_id", "epoch"]
    pd.testing.assert_frame_equal(
        epochs.to_pandas().sort_values(order, ignore_index=True), local.epochs.sort_values(order, ignore_index=True)
    )


def test_configs_logged_at_the_top_level_by_earlier_versions_are_read(runs: list[Run]) -> None:
    frame, _ = read_project("lab", "sparse", api=Api(runs))
    for run in runs:
        run.config = run.config["config"]
    pd.testing.assert_frame_equal(read_project("lab", "sparse", api=Api(runs))[0], frame)


def test_failed_pages_are_requested_again(runs: list[Run], waits: list[float]) -> None:
    frame, _ = read_project("lab", "sparse", api=Api(runs, failures={0: 1, 2: 3}))
    assert sorted(frame["run_id"]) == sorted(run.id for run in runs)
    assert waits == [1, 1, 2, 4]


def test_a_failed_learning_curve_is_requested_again(runs: list[Run], monkeypatch: pytest.MonkeyPatch) -> None:
    whole, attempts = Run.scan_history, []

    def flaky(self: Run, keys: list[str] | None = None) -> Iterator[dict[str, Any]]:
        attempts.append(self.id)
        if len(attempts) == 1:
            raise ConnectionError
        return whole(self, keys)

    monkeypatch.setattr(Run, "scan_history", flaky)
    _, epochs = read_project("lab", "sparse", api=Api(runs[:1]))
    assert epochs.num_rows == 3


def test_a_permanent_failure_is_reported_in_one_line_with_the_project(runs: list[Run]) -> None:
    with pytest.raises(UserError, match="lab/sparse: 502 Bad Gateway") as caught:
        read_project("lab", "sparse", api=Api(runs, failures={1: 99}))
    assert "\n" not in str(caught.value)


def test_only_wanted_runs_are_read(runs: list[Run]) -> None:
    frame, epochs = read_project("lab", "sparse", {runs[3].id}, api=Api(runs))
    assert frame["run_id"].tolist() == [runs[3].id]
    assert epochs.num_rows == 3


def test_foreign_and_unfinished_runs_are_rows_with_their_status(runs: list[Run]) -> None:
    foreign, crashed, running, *_ = runs
    foreign.config = {"learning_rate": 1}
    crashed.state, running.state = "crashed", "running"
    for run in (crashed, running):
        del run.summary["status"]
    rows = read_project("lab", "sparse", api=Api(runs))[0].set_index("run_id")
    assert rows["status"].value_counts().to_dict() == {"finished": 23, "broken": 1, "failed": 1, "running": 1}
    assert "no run of this framework" in rows.at[foreign.id, "reason"]
    assert rows.at[crashed.id, "reason"] == "W&B calls it crashed"


def test_commands_reuse_the_runs_collected_from_wandb(
    runs: list[Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, type_in: Callable[..., tuple[int, str, str]]
) -> None:
    api = Api(runs)
    monkeypatch.setattr(wandb_runs, "_api", lambda: api)
    monkeypatch.chdir(tmp_path)
    status, out, _ = type_in("collect", "source=wandb", "entity=lab", "project=sparse")
    assert (status, api.asked) == (0, ["lab/sparse"])
    assert "26 runs in W&B project lab/sparse" in out
    assert "Magnitude" in type_in("table")[1]
    assert len(api.asked) == 1
