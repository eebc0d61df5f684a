"""``python -m launch doctor`` without SLURM, and what it makes of the sites of others."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from dst.errors import UserError
from launch.cluster import ClusterConfig
from launch.doctor.cluster_file import cluster_yaml, write_cluster
from launch.doctor.machine import runs_on
from launch.doctor.network import reachable
from launch.doctor.site import Partition, Site, _associations, check_cluster
from launch.doctor.storage import check_storage
from tests.launch.study import Study


def test_a_machine_without_slurm_is_told_line_by_line(study: Study) -> None:
    study.environment["PATH"] = ""
    lines = study.launch("doctor", "cluster=slurm", rc=1).splitlines()
    assert {line[:7] for line in lines} <= {"ok     ", "note   ", "wrong  "}
    assert [line for line in lines if line.startswith("wrong")] == [
        "wrong  no SLURM here (sinfo is not found): cluster=local trains on this machine"
    ]
    assert not study.output_dir.exists()


def test_a_cluster_file_is_never_written_over_another() -> None:
    with pytest.raises(UserError, match="write=slurm: conf/cluster/slurm.yaml exists"):
        write_cluster("slurm", SITE, ClusterConfig(name="slurm", executor="slurm"))


SITE = Site(
    tuple(
        Partition.parsed(line)
        for line in (
            "cpu*|7-00:00:00|(null)|(null)|200",
            "short|30:00|gpu:a100:4(S:0-1)|a100,ib|8",
            "big|2-12:00:00|gpu:h100:8,gpu:2|(null)|2",
        )
    ),
    {},
    *_associations("lab|normal,long|\nclass|normal|300\n"),
)


def test_the_lines_of_sinfo_are_understood() -> None:
    assert [part.hours for part in SITE.partitions] == [168, 0.5, 60]
    assert [part.gpus for part in SITE.partitions] == [{}, {"a100": 4}, {"h100": 8, "gpu": 2}]
    assert str(SITE.partitions[1]) == "partition short: 8 nodes with 4 a100, at most 0.5 h, features a100, ib"


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({}, "wrong  cluster=x: cluster.gpus=1, but its nodes have 0; give cluster.gpus=0 to train on CPUs"),
        (
            {"partition": "short"},
            "wrong  cluster=x: cluster.hours=4 is above the limit; give cluster.hours=0.5 or less",
        ),
        (
            {"partition": "big", "nodes": 3},
            "wrong  cluster=x: cluster.nodes=3, but 2 nodes fit; give 2 or fewer",
        ),
        (
            {"partition": "big", "nodes": 2, "gpus": 8},
            "ok     cluster=x: 2 nodes can take its jobs, of 2 nodes, 8 GPU each and 4 h",
        ),
        ({"partition": "big", "gpus": 10}, "ok     cluster=x: 2 nodes can take its jobs, of 10 GPU and 4 h"),
    ],
)
def test_a_limit_is_told_with_the_key_to_change(settings: dict[str, object], line: str) -> None:
    limits = {"name": "x", "executor": "slurm", "max_jobs": 300}
    (finding,) = check_cluster(SITE, ClusterConfig(**{**limits, **settings}))
    assert str(finding) == line


def test_what_the_account_does_not_allow_is_named() -> None:
    cluster = ClusterConfig(name="x", executor="slurm", partition="big", account="theirs", qos="high", max_jobs=301)
    assert [str(finding) for finding in check_cluster(SITE, cluster)] == [
        "wrong  cluster=x: cluster.account=theirs is not yours; choose one of lab, class",
        "wrong  cluster=x: cluster.qos=high is not yours; choose one of normal, long",
        "wrong  cluster=x: you may have 300 jobs in the queue; give cluster.max_jobs=300",
        "ok     cluster=x: 2 nodes can take its jobs, of 1 GPU and 4 h",
    ]


def test_the_file_for_a_site_has_what_was_given_its_account_and_limits() -> None:
    given = {
        "partition": "short",
        "hours": 8.0,
        "gpus": 2,
        "setup": ["module load cuda"],
        "extra": {"exclude": "n1"},
        "max_jobs": 2000,
    }
    text = cluster_yaml("lab", SITE, ClusterConfig(name="slurm", executor="slurm", **given))
    assert text.splitlines()[5:] == [
        "name: lab",
        "partition: short  # there are cpu, short, big",
        "account: lab  # yours are lab, class",
        "max_jobs: 300  # the most that you may have in the queue",
        "hours: 0.5  # the partition's limit",
        "gpus: 2",
        "extra: {exclude: n1}",
        "setup: [module load cuda]",
        "constraint: null  # its nodes' features: a100, ib",
    ]


@pytest.mark.parametrize(
    ("capability", "architectures", "runs"),
    [
        ((8, 0), ["sm_80", "sm_90"], True),
        ((8, 6), ["sm_80"], True),
        ((7, 0), ["sm_75", "sm_80"], False),
        ((12, 0), ["sm_90", "compute_90"], True),
    ],
)
def test_a_gpu_runs_kernels_of_its_generation_or_newer_ones_from_ptx(
    capability: tuple[int, int], architectures: list[str], runs: bool
) -> None:
    assert runs_on(capability, architectures) == runs


def test_a_folder_that_cannot_be_written_is_wrong() -> None:
    (finding,) = check_storage(Path("/proc/outputs"), shared=False)
    assert str(finding).startswith("wrong  output_dir=/proc/outputs: cannot write there")


def test_a_folder_of_this_machine_alone_is_wrong_for_jobs_on_others(tmp_path: Path) -> None:
    levels = {
        shared: [finding.level for finding in check_storage(tmp_path / "outputs", shared=shared)] for shared in (0, 1)
    }
    assert "wrong" not in levels[0]
    assert "wrong" in levels[1]
    assert not list(tmp_path.iterdir())


def test_a_host_counts_as_reached_when_it_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        assert reachable(url)
    assert not reachable(url)
