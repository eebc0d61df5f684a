"""How the nodes of a job find each other: ``launch.nodes``."""

from __future__ import annotations

import json
import socket
import stat
import threading
from multiprocessing.connection import Client
from pathlib import Path

import pytest

from dst.errors import PlaceError
from launch.nodes import Node, further_nodes, lend
from tests.slurm.cluster import wait_until


def test_a_further_node_answers_its_job_alone_until_the_worker_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_PROCID", "1")
    folder = tmp_path / "nodes"
    lending = threading.Thread(target=lend, args=(folder,), daemon=True)
    lending.start()
    told = folder / "7-0-1.json"
    wait_until(told.exists, "the node to tell its address", 20)
    assert stat.S_IMODE(told.stat().st_mode) == 0o600
    node = Node(**json.loads(told.read_bytes()))
    with Client((node.host, node.port)) as stranger:
        stranger.send_bytes(bytes(32))
        stranger.send(None)
        with pytest.raises((EOFError, ConnectionError)):
            stranger.recv()
    silent = socket.create_connection((node.host, node.port))
    with further_nodes(folder, 1) as (found,):
        assert found == node
        assert not told.exists()
        lending.join(0.5)
        assert lending.is_alive()
    lending.join(20)
    assert not lending.is_alive()
    silent.close()


def test_a_node_that_cannot_be_reached_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(PlaceError) as refused:
        Node("n7", "127.0.0.1", port, "00").call(None)
    where = f"node n7 cannot be reached at 127.0.0.1:{port} (Connection refused)"
    assert str(refused.value) == f"{where}; runs on several nodes need TCP between them"
