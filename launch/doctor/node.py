"""Checks in a job: what its node has, and whether it and this machine see the same files and each other's locks."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from dst import ranks
from dst.errors import UserError
from dst.files.atomic import atomic_file
from dst.files.lock import file_system_time

from ..cluster import ClusterConfig
from ..nodes import is_further_node, own_address
from ..slurm import Slurm, cancel, queued_jobs
from .finding import Finding
from .machine import check_machine
from .storage import nearest_folder

_CLAIM, _ANSWER, _MEETING = "claim", "answer.json", "meeting.json"
_HOURS = 0.2
_BEATS = 4
_WATCHED_S = 100.0
_LATE_S = 30.0
"""A heartbeat that another node sees later than this is told of; a lock is free after 90 s without one."""


@dataclass
class NodeCheck:
    """What the job does: it writes its findings to ``answer.json`` in the folder.

    Attributes:
        folder: made by the doctor, which touches ``claim`` in it every second.
        gpus: that the job should see, on each of its nodes.
        nodes: of the job.
    """

    folder: str
    gpus: int
    runs_per_gpu: int = 1
    nodes: int = 1

    def __call__(self) -> None:
        """Looks at the node, at the folder and at the network between the nodes; a further node only exchanges."""
        if self.nodes > 1 and is_further_node():
            with contextlib.suppress(ranks.Lost):  # the first node tells
                ranks.join_host(*self._meeting(), int(os.environ["SLURM_PROCID"]), 0, self.nodes)
                self._exchange()
            return
        findings = [*check_machine(), *self._gpu(), *self._network(), *_locks(Path(self.folder))]
        with atomic_file(Path(self.folder) / _ANSWER) as file:
            file.write(json.dumps([asdict(finding) for finding in findings]).encode())

    def _meeting(self) -> tuple[str, int]:
        path, until = Path(self.folder) / _MEETING, time.monotonic() + _WATCHED_S
        while not path.exists() and time.monotonic() < until:
            time.sleep(0.5)
        host, port = json.loads(path.read_bytes())
        return host, port

    def _network(self) -> Iterator[Finding]:
        """Has the nodes exchange a tensor, as those that train one run do."""
        if self.nodes == 1:
            return
        store, port = ranks.host(self.nodes)
        with atomic_file(Path(self.folder) / _MEETING) as file:
            file.write(json.dumps([own_address(), port]).encode())
        try:
            ranks.join_first(store, self.nodes)
            names = self._exchange()
        except ranks.Lost as error:
            advice = "name their network in cluster.setup, e.g. export GLOO_SOCKET_IFNAME=ib0 NCCL_SOCKET_IFNAME=ib0"
            yield Finding("wrong", f"the {self.nodes} nodes of the job exchange no tensors: {error}; {advice}")
        else:
            yield Finding("ok", f"the nodes of the job exchange tensors: {', '.join(names)}")

    def _exchange(self) -> list[str]:
        names = ranks.of_all(os.environ["SLURMD_NODENAME"])
        ranks.add_up([torch.ones(1, device="cuda" if torch.cuda.is_available() else "cpu")])
        ranks.leave()
        return names

    def _gpu(self) -> Iterator[Finding]:
        if not self.gpus:
            return
        if not torch.cuda.is_available():
            yield Finding("wrong", f"cluster.gpus={self.gpus}, but torch sees no GPU: see the line above")
            return
        try:
            torch.ones(8, 8, device="cuda").mm(torch.ones(8, 8, device="cuda")).sum().item()
        except RuntimeError as error:
            yield Finding("wrong", f"the GPU does not compute: {str(error).splitlines()[0]}")


def _locks(folder: Path) -> Iterator[Finding]:
    """Checks that a file made elsewhere cannot be made here, and that its heartbeats arrive."""
    claim = folder / _CLAIM
    try:
        open(claim, "x").close()
    except FileExistsError:
        yield Finding("ok", "a lock taken on the submitting machine holds here")
    else:
        yield Finding("wrong", "a lock taken on the submitting machine can be taken again here: two jobs train one run")
        return
    end, late, beats = time.monotonic() + _WATCHED_S, 1.0, set[float]()
    while len(beats) < _BEATS and time.monotonic() < end:
        with open(claim) as file:  # opening has NFS ask its server
            touched = os.fstat(file.fileno()).st_mtime
        late = max(late, file_system_time(folder) - touched)
        beats.add(touched)
        time.sleep(0.5)
    advice = "; mount the file system with a shorter attribute cache (actimeo)" if late > _LATE_S else ""
    heard = f"heartbeats of the submitting machine are heard here within {late:.0f} s{advice}"
    yield Finding("wrong" if advice else "ok", heard)


def check_node(cluster: ClusterConfig, output_dir: Path) -> Iterator[Finding]:
    """Runs :class:`NodeCheck` in a job of the cluster and yields what it found; waits for it in the queue.

    Args:
        cluster: as runs would use it, but for its time limit.
        output_dir: as for :func:`~launch.doctor.storage.check_storage`.
    """
    name = f"cluster={cluster.name}"
    with tempfile.TemporaryDirectory(
        prefix=".doctor.", dir=nearest_folder(output_dir), ignore_cleanup_errors=True
    ) as place:
        folder = Path(place)
        short = replace(cluster, hours=min(_HOURS, cluster.hours), signal_s=min(60, cluster.signal_s))
        (folder / _CLAIM).touch()
        try:
            ((job,),) = Slurm(short, folder, "doctor").submit(
                [NodeCheck(place, cluster.gpus or 0, nodes=cluster.nodes)]
            )
        except UserError as error:
            yield Finding("wrong", str(error))
            return
        yield Finding("note", f"{name}: job {job} is in the queue; Ctrl-C takes it out")
        node = ""
        try:
            with _heartbeat(folder / _CLAIM):
                for node in _until_ended(job, folder):
                    yield Finding("note", f"{name}: job {job} runs on {node}")
        finally:
            with contextlib.suppress(UserError):  # it has ended
                cancel([job])
        answer = folder / _ANSWER
        if not answer.exists():
            yield Finding(
                "wrong", f"{name}: job {job} ended without an answer; the end of what it printed:{_log(folder)}"
            )
            return
        for found in json.loads(answer.read_bytes()):
            yield Finding(found["level"], f"{node or name}: {found['text']}")


@contextlib.contextmanager
def _heartbeat(path: Path) -> Iterator[None]:
    """Touches a file every second in the block, however long a command of SLURM takes."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(1):
            path.touch()

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _until_ended(job: str, folder: Path) -> Iterator[str]:
    """Waits until the job has answered or left the queue; yields its node once it runs."""
    told = False
    while not (folder / _ANSWER).exists():
        time.sleep(3)
        state, node = queued_jobs("doctor").get(job, ("", ""))
        if not state:
            time.sleep(2)  # a network file system may show the answer a little later
            return
        if state == "RUNNING" and not told:
            told = True
            yield node


def _log(folder: Path) -> str:
    texts = [path.read_text(errors="replace") for path in sorted((folder / "logs").glob("*.out"))]
    lines = [line for text in texts for line in text.splitlines() if line.strip()][-5:]
    return "".join(f"\n       {line[:200]}" for line in lines or ["nothing"])
