"""A real SLURM cluster of two nodes on one machine, for tests; ``python -m tests.slurm.cluster`` starts one.

One node has the feature a100, the other v100; each has 8 cores and two fake GPUs. sbatch, arrays,
--gpus-per-node, --constraint, signals, requeueing, time limits and MaxArraySize are real. There is no accounting, so
squeue and scontrol work and sacct does not. All files are in one temporary folder; a SLURM installation of the machine
is not affected. Needs Debian's packages slurm-wlm and munge, and root.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

NODES = {"a100-0": "a100", "v100-0": "v100"}
MAX_ARRAY = 6
_PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged")
_DIES_WITH_PARENT = 1  # PR_SET_PDEATHSIG

_SLURM_CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,batch_sched_delay=0
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
KillWait=10
MinJobAge=600
MaxArraySize={max_array}
GresTypes=gpu
NodeName=DEFAULT CPUs=8 RealMemory=64000
NodeName=a100-0 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} Gres=gpu:a100:2 Feature=a100
NodeName=v100-0 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} Gres=gpu:v100:2 Feature=v100
PartitionName=gpu Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
_GRES_CONF = """\
NodeName=a100-0 Name=gpu Type=a100 File={folder}/gpu[0-1]
NodeName=v100-0 Name=gpu Type=v100 File={folder}/gpu[2-3]
"""


class SlurmCluster:
    """A cluster that runs from :meth:`start` to :meth:`stop`; its commands need ``environment``."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # short: a socket's path has 108 bytes
        self.environment = os.environ | {"SLURM_CONF": str(self.folder / "slurm.conf")}
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Starts munge, the controller and both nodes; returns when they are idle."""
        self.folder.chmod(0o755)
        names = {"host": socket.gethostname().split(".")[0], "folder": self.folder, "max_array": MAX_ARRAY}
        for folder in ("state", *NODES):
            (self.folder / folder).mkdir()
        for number in range(4):
            (self.folder / f"gpu{number}").touch()
        key = self.folder / "munge.key"
        key.touch(mode=0o400)
        key.write_bytes(os.urandom(1024))
        (self.folder / "slurm.conf").write_text(_SLURM_CONF.format(**names, ports=_free_ports(3)))
        (self.folder / "gres.conf").write_text(_GRES_CONF.format(**names))
        files = [f"--{name}-file={self.folder}/munged.{name}" for name in ("pid", "log", "seed")]
        self._daemon("munged", "--foreground", f"--key-file={key}", f"--socket={self.folder}/munge.sock", *files, "-f")
        wait_until(lambda: (self.folder / "munge.sock").exists(), "munged to listen")
        self._daemon("slurmctld", "-D")
        for node in NODES:
            self.start_node(node)
        wait_until(lambda: self.ask("sinfo", "-h", "-N", "-o", "%t").split() == ["idle"] * 2, "both nodes to be idle")

    def start_node(self, node: str) -> None:
        """Starts the node's slurmd, for the first time or after :meth:`kill_node`."""
        self._daemon(f"slurmd-{node}", "-D", "-N", node)

    def kill_node(self, node: str, *, with_jobs: bool) -> None:
        """Kills the node's slurmd with SIGKILL.

        Args:
            node: name of the node.
            with_jobs: also kill all processes of its jobs, as in a power failure.
        """
        daemon = self._daemons.pop(f"slurmd-{node}")
        daemon.kill()
        daemon.wait()
        if with_jobs:
            pids = self.processes(lambda environment: environment.get("SLURMD_NODENAME") == node)
            keepers = {parent for pid in pids if (parent := parent_of(pid)) not in pids and parent > 1}  # slurmstepd
            for number in (signal.SIGSTOP, signal.SIGKILL):  # stopped first, so that none reports the death of another
                for pid in (*keepers, *pids):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, number)

    def ask(self, *command: str) -> str:
        """Returns the stdout of a SLURM command; empty if it fails."""
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60).stdout.strip()

    def processes(self, wanted: Callable[[dict[str, str]], bool] = lambda environment: True) -> list[int]:
        """Returns the ids of this cluster's processes, jobs included, whose environment satisfies ``wanted``."""
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                pairs = path.read_bytes().decode(errors="replace").split("\0")
                environment = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
                ours = environment.get("SLURM_CONF") == self.environment["SLURM_CONF"]
                if ours and int(path.parent.name) != os.getpid() and wanted(environment):
                    found.append(int(path.parent.name))
        return found

    def stop(self) -> None:
        """Ends jobs and daemons and removes the folder."""
        for daemon in reversed(self._daemons.values()):
            daemon.terminate()
        for daemon in self._daemons.values():
            try:
                daemon.wait(3)
            except subprocess.TimeoutExpired:
                daemon.kill()
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _daemon(self, name: str, *arguments: str) -> None:
        program = name.split("-")[0]
        with open(self.folder / f"{name}.log", "a") as log:
            self._daemons[name] = subprocess.Popen(
                [shutil.which(program, path=_path()) or program, *arguments],
                env=self.environment,
                stdout=log,
                stderr=log,
                preexec_fn=_die_with_parent,
            )


@contextlib.contextmanager
def slurm_cluster() -> Iterator[SlurmCluster]:
    """Starts a cluster and stops it at the end of the block."""
    cluster = SlurmCluster()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def missing() -> str:
    """Returns why a cluster cannot be started here; empty if it can."""
    absent = [program for program in _PROGRAMS if shutil.which(program, path=_path()) is None]
    if absent:
        return f"{', '.join(absent)} not installed (packages slurm-wlm and munge)"
    return "" if os.geteuid() == 0 else "SLURM's daemons need root"


def parent_of(pid: int) -> int:
    """Returns the id of the parent process, 0 if the process does not exist."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def wait_until(holds: Callable[[], bool], what: str, seconds: float = 120) -> None:
    """Waits until ``holds()`` is true.

    Args:
        holds: condition, checked every 0.2 s.
        what: name of the condition, for the error message.
        seconds: timeout.

    Raises:
        TimeoutError: after ``seconds``.
    """
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.2)


def _path() -> str:
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_DIES_WITH_PARENT, signal.SIGTERM)


if __name__ == "__main__":
    if reason := missing():
        raise SystemExit(f"error: {reason}")
    with slurm_cluster() as playground:
        print(f"export SLURM_CONF={playground.environment['SLURM_CONF']}\nCtrl-C stops it", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
