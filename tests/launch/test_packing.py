"""Packing of runs into jobs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from dst.run.plan import PlannedRun
from launch.cluster import ClusterConfig
from launch.packing import pack
from launch.timing import Timing, measure, write_timing

TIMING = Timing({"mlp/small": {"epoch_s": 1.0, "runs_per_gpu": 4}, "cnn/large": {"epoch_s": 36.0}})


def runs(setup: str, count: int) -> list[PlannedRun]:
    model, dataset = setup.split("/")
    config = {
        "model": {"name": model},
        "dataset": {"name": dataset},
        "recipe": {"epochs": 100},
        "density": {"value": 0.1},
    }
    return [PlannedRun(f"{model}{number}", (), config) for number in range(count)]


def cluster(**settings: object) -> ClusterConfig:
    return ClusterConfig(name="slurm", executor="slurm", **settings)  # type: ignore[arg-type]


def test_short_runs_share_jobs_and_gpus_and_long_ones_get_jobs_of_their_own() -> None:
    jobs = pack([*runs("mlp/small", 300), *runs("cnn/large", 6)], cluster(hours=1.25), TIMING, max_jobs=1000)
    sizes = Counter((len(job.run_ids), job.runs_per_gpu) for job in jobs)
    assert sizes == {(144, 4): 2, (12, 4): 1, (1, 1): 6}  # 36 of 100 s in a row in 0.8 × 1.25 h, 4 side by side


@pytest.mark.parametrize("max_jobs", [2, 3, 10, 1000])
@pytest.mark.parametrize("runs_per_job", [None, 1, 7])
def test_every_run_is_in_one_job_and_no_more_jobs_are_made_than_there_is_room_for(
    max_jobs: int, runs_per_job: int | None
) -> None:
    wanted = [*runs("mlp/small", 200), *runs("cnn/large", 50)]
    jobs = pack(wanted, cluster(runs_per_job=runs_per_job), TIMING, max_jobs)
    assert Counter(run_id for job in jobs for run_id in job.run_ids) == Counter(run.run_id for run in wanted)
    assert len(jobs) <= max_jobs


def test_without_room_nothing_is_submitted() -> None:
    assert pack(runs("mlp/small", 3), cluster(), TIMING, max_jobs=0) == []


def test_writing_the_timing_keeps_other_entries(tmp_path: Path) -> None:
    write_timing({"a/b": {"epoch_s": 3.0, "runs_per_gpu": 4}, "c/d": {"epoch_s": 1.0}}, tmp_path)
    write_timing({"a/b": {"epoch_s": 2.0}}, tmp_path)
    found = Timing.read(tmp_path)
    assert found.table["a/b"] == {"epoch_s": 2.0, "runs_per_gpu": 4}
    assert found.table["c/d"] == {"epoch_s": 1.0}
    assert found.runs_per_gpu("a/b") == 4


def test_cluster_settings_override_the_timing() -> None:
    jobs = pack(runs("mlp/small", 6), cluster(runs_per_job=3, runs_per_gpu=2), TIMING, max_jobs=1000)
    assert [(len(job.run_ids), job.runs_per_gpu) for job in jobs] == [(3, 2), (3, 2)]


def test_no_more_runs_share_a_gpu_than_the_peak_memory_of_finished_ones_allows() -> None:
    summary = {"model": "a", "dataset": "b", "epochs": 2, "duration_s": 4.0, "gpu_memory_mb": 40_000}
    table = measure([{**summary, "peak_memory_mb": 9_000}, {**summary, "peak_memory_mb": 11_000}])
    assert table == {"a/b": {"epoch_s": 2.0, "fit_per_gpu": 3}}
    assert Timing({"a/b": {**table["a/b"], "runs_per_gpu": 8}}).runs_per_gpu("a/b") == 3
    assert Timing({"a/b": {**table["a/b"], "runs_per_gpu": 2}}).runs_per_gpu("a/b") == 2
    too_large = measure([{**summary, "peak_memory_mb": 39_000}])
    assert Timing({"a/b": {**too_large["a/b"], "runs_per_gpu": 8}}).runs_per_gpu("a/b") == 1
