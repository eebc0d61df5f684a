"""The further nodes of a job, which start followers for its first one: cluster.nodes."""

from __future__ import annotations

import contextlib
import hmac
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path

from dst.errors import PlaceError
from dst.files.atomic import atomic_file

from .followers import Follower, tend

_MEET_S = 300.0
"""Seconds in which the nodes of a job find each other, which includes the time that a file takes to be seen."""
_END_S = 60.0
"""Seconds that followers get to end after the worker, which may still wait for their checkpoint."""
_POLL_S = 0.5


@dataclass(frozen=True)
class Node:
    """A further node of the job; picklable.

    Attributes:
        name: of the node.
        host: its IP address.
        port: where it listens.
        key: in hexadecimal digits; a caller that does not know it is not of this job.
    """

    name: str
    host: str
    port: int
    key: str

    def call(self, followers: list[Follower] | None) -> Connection:
        """Has the node start followers, which :func:`~launch.followers.tend` looks after.

        Args:
            followers: to be started; None only keeps the node at hand until the connection is closed.

        Raises:
            PlaceError: if the node cannot be reached.
        """
        try:
            connection = Client((self.host, self.port))
            connection.send_bytes(bytes.fromhex(self.key))
            connection.send(followers)
        except OSError as error:
            raise PlaceError(
                f"node {self.name} cannot be reached at {self.host}:{self.port} ({error.strerror or error}); runs on "
                "several nodes need TCP between them"
            ) from error
        return connection


def is_further_node() -> bool:
    """Whether this process is a task of its job other than the first, which trains."""
    return int(os.environ.get("SLURM_PROCID", "0")) > 0


def lend(folder: Path) -> None:
    """Starts followers when the first node of this job calls; returns when its worker ends.

    Args:
        folder: where the node tells how it is called, in a file that only this user can read.

    Raises:
        PlaceError: if the first node does not call.
    """
    key, called, ended = secrets.token_bytes(32), threading.Event(), threading.Event()
    at_work: list[threading.Thread] = []

    def answer(connection: Connection, caller: str) -> None:
        followers: list[Follower] | None = []
        with connection:
            with contextlib.suppress(EOFError, OSError):  # multiprocessing's authkey needs MD5, which some sites forbid
                if hmac.compare_digest(connection.recv_bytes(len(key)), key):
                    followers = connection.recv()
            if followers:
                at_work.append(threading.current_thread())
                tend([replace(follower, host=caller) for follower in followers], connection)
            elif followers is None:
                called.set()
                with contextlib.suppress(EOFError, OSError):
                    connection.recv()  # nothing comes but the end
                ended.set()

    def listen() -> None:
        while True:
            with contextlib.suppress(OSError):  # a caller that has gone
                connection = listener.accept()
                caller = str((listener.last_accepted or ("",))[0])
                threading.Thread(target=answer, args=(connection, caller), daemon=True).start()

    host = own_address()
    listener = Listener((host, 0), backlog=64)
    node = Node(os.environ.get("SLURMD_NODENAME") or os.uname().nodename, host, listener.address[1], key.hex())
    path = _path(folder, int(os.environ["SLURM_PROCID"]))
    path.parent.mkdir(mode=0o700, exist_ok=True)
    with atomic_file(path) as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(json.dumps(asdict(node)).encode())
    threading.Thread(target=listen, daemon=True).start()
    if not called.wait(_MEET_S):
        raise PlaceError(f"node {node.name}: the first node of the job has not called within {_MEET_S:.0f} s")
    ended.wait()
    until = time.monotonic() + _END_S
    for thread in at_work:
        thread.join(max(0.0, until - time.monotonic()))
    if any(thread.is_alive() for thread in at_work):
        os._exit(1)  # followers end with their parent


@contextlib.contextmanager
def further_nodes(folder: Path, count: int) -> Iterator[tuple[Node, ...]]:
    """Yields the further nodes of this job, which stay at hand until the end of the block.

    Args:
        folder: as for :func:`lend`.
        count: how many there are.

    Raises:
        PlaceError: if one does not appear within some minutes, or cannot be reached.
    """
    until, found = time.monotonic() + _MEET_S, list[Node]()
    for number in range(1, count + 1):
        path = _path(folder, number)
        while not path.exists():
            if time.monotonic() > until:
                raise PlaceError(f"node {number} of the job has not appeared within {_MEET_S:.0f} s, in {path}")
            time.sleep(_POLL_S)
        found.append(Node(**json.loads(path.read_bytes())))
        path.unlink()
    with contextlib.ExitStack() as connections:
        for node in found:
            connections.enter_context(node.call(None))
        yield tuple(found)


def _path(folder: Path, number: int) -> Path:
    return folder / f"{os.environ['SLURM_JOB_ID']}-{os.environ.get('SLURM_RESTART_COUNT', '0')}-{number}.json"


def own_address() -> str:
    """Returns the address of this node on its way to the job's first, which needs no name service."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:  # connecting sends nothing
        probe.connect((os.environ.get("SLURM_LAUNCH_NODE_IPADDR", "127.0.0.1"), 9))
        address: str = probe.getsockname()[0]
    return address
