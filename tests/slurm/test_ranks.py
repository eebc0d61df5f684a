"""One run on two nodes."""

from __future__ import annotations

import json
import shlex
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.conftest import ROOT
from tests.slurm.cluster import SlurmCluster, wait_until


def test_two_nodes_train_as_one_process_does(
    cluster: SlurmCluster,
    overrides: Callable[..., list[str]],
    train: Callable[..., dict[str, Any]],
    tmp_path: Path,
) -> None:
    more = ("recipe.epochs=2", "growth=gradient", "update_period=4")
    alone = train(*more)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    launcher = ["-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1", "--local-addr=127.0.0.1"]
    rendezvous = ["--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{port}"]
    training = ["-m", "dst.train", *overrides(*more), f"output_dir={tmp_path / 'nodes'}"]
    script = tmp_path / "job.sh"
    command = shlex.join([sys.executable, *launcher, *rendezvous, *training])
    script.write_text(f"#!/bin/sh\nexport OMP_NUM_THREADS=1\nsrun --kill-on-bad-exit {command}\n")
    nodes = ("--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=1", f"--chdir={ROOT}", f"--output={tmp_path}/job.txt")
    job = cluster.ask("sbatch", "--parsable", *nodes, str(script))
    assert job
    wait_until(lambda: not cluster.ask("squeue", "-h", "-j", job, "-t", "pending,running,completing"), "the job", 180)
    folder = tmp_path / "nodes" / "runs" / alone["run_id"]
    summary = json.loads((folder / "summary.json").read_text()) if folder.exists() else {}
    assert summary.get("processes") == 2, (tmp_path / "job.txt").read_text()
    masks, expected = (torch.load(path / "masks.pt") for path in (folder, tmp_path / "outputs/runs" / folder.name))
    assert all(torch.equal(masks[name], mask) for name, mask in expected.items())
