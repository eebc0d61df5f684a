"""``python -m launch doctor`` on a real SLURM, and the cluster file that it writes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from launch.cluster import ClusterConfig
from launch.doctor.site import Partition, Site, check_cluster
from tests.launch.study import ROOT, Study
from tests.slurm.cluster import MAX_ARRAY, SlurmCluster

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("slurm")]


@pytest.fixture
def site(cluster: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv("SLURM_CONF", cluster.environment["SLURM_CONF"])
    found = Site.read()
    assert found is not None
    return found


def told(site: Site, **settings: object) -> str:
    (finding,) = check_cluster(site, ClusterConfig(**{"name": "mine", "executor": "slurm", **settings}))
    return str(finding)


def test_partitions_features_gpus_and_limits_are_read(site: Site) -> None:
    assert site.config["MaxArraySize"] == str(MAX_ARRAY)
    assert sorted(site.partitions, key=lambda part: part.features) == [
        Partition("gpu", True, None, {kind: 2}, (kind,), 1) for kind in ("a100", "v100")
    ]


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"constraint": "a100"}, "ok     cluster=mine: 1 nodes can take its jobs, of 1 GPU and 4 h"),
        ({"partition": "gpus"}, "wrong  cluster=mine: cluster.partition=gpus does not exist; choose one of gpu"),
        ({"constraint": "h100"}, "wrong  cluster=mine: no node has cluster.constraint=h100; features: a100, v100"),
        ({"gpus": 3}, "wrong  cluster=mine: cluster.gpus=3, but its nodes have 2; give cluster.gpus=2 or fewer"),
    ],
)
def test_settings_that_no_node_can_satisfy_are_named(settings: dict[str, object], line: str, site: Site) -> None:
    answer = told(site, **settings)
    assert answer.replace("v100, a100", "a100, v100") == line


def test_the_file_that_is_written_for_a_site_names_a_cluster_to_submit_to(
    cluster: SlurmCluster, tmp_path: Path, data_dir: Path
) -> None:
    code = tmp_path / "code"
    for name in ("conf", "dst", "launch"):
        shutil.copytree(ROOT / name, code / name, ignore=shutil.ignore_patterns("__pycache__"))
    study = Study(tmp_path, data_dir, cluster.environment, code)
    told = study.launch("doctor", "cluster=slurm_v100", "write=lab", rc=1)  # pytest's folder is in /tmp
    assert "ok     cluster=slurm_v100: 1 nodes can take its jobs, of 1 GPU and 4 h" in told
    written = (code / "conf" / "cluster" / "lab.yaml").read_text()
    assert "\nname: lab\npartition: gpu  # there are gpu\nconstraint: v100\n" in written
    study.plan("dry", "recipe.epochs=0")
    script = study.launch("submit", "sweep=dry", "cluster=lab", "dry_run=true")
    assert "#SBATCH --partition=gpu\n" in script
    assert "#SBATCH --constraint=v100\n" in script


def test_a_job_tells_what_its_node_lacks_and_that_locks_hold_there(
    cluster: SlurmCluster, tmp_path: Path, data_dir: Path
) -> None:
    study = Study(tmp_path, data_dir, cluster.environment)
    told = study.launch("doctor", "cluster=slurm", "--on-node", rc=1).splitlines()
    (node,) = {line.split()[-1] for line in told if " runs on " in line}
    said = [line for line in told if f" {node}: " in line]
    assert said[0].startswith(f"ok     {node}: Python 3.")
    assert f"wrong  {node}: cluster.gpus=1, but torch sees no GPU: see the line above" in said  # its GPUs are made up
    assert f"ok     {node}: a lock taken on the submitting machine holds here" in said
    assert f"ok     {node}: heartbeats of the submitting machine are heard here within" in said[-1]
    told = study.launch(
        "doctor", "cluster=slurm", "cluster.gpus=0", "cluster.nodes=2", "--on-node", rc=1
    )  # its files are local
    assert "the nodes of the job exchange tensors: a100-0, v100-0" in told
    _, cut, log = study.launch("doctor", "cluster=slurm", "cluster.python=/no/python", "--on-node", rc=1).partition(
        "ended without an answer"
    )
    assert cut
    assert "/no/python: No such file" in log
    assert not list(tmp_path.rglob(".doctor.*"))
