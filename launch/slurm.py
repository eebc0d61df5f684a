"""Submits, lists and cancels SLURM jobs, through submitit and SLURM's commands."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from dst.config.tree import CONF_DIR
from dst.errors import UserError
from dst.run.code import COMMIT_FILE, commit, user_source

from .cluster import ClusterConfig
from .worker import REQUEUE_STATUS

DEFAULT_ARRAY = 1001
"""SLURM's default MaxArraySize."""
_NODES_END_TOGETHER = {"ntasks_per_node": 1, "srun_args": ["--kill-on-bad-exit"]}
_ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")
_REQUEUE = """\
# the job id of one array task can equal the id of the array, which would address all of its tasks
job=${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}
# requeue a worker that was killed (out of memory, a failing node), but not one that was cancelled
killed() { [ $status -gt 128 ] && [ $status -ne 143 ] && [ $status -ne 255 ] && [ "${SLURM_RESTART_COUNT:-0}" -lt 20 ]
}
if { [ $status -eq $requeue ] || killed; } && [ "$(squeue --noheader --job "$job" --format %T)" = RUNNING ]; then
  scontrol requeue "$job"
fi
exit $status"""


def queued_jobs(name: str | None = None) -> dict[str, tuple[str, str]]:
    """Returns state and node of this user's pending and running jobs by id, array tasks as ``<array>_<task>``.

    Args:
        name: only jobs of this name; None for all.

    Raises:
        UserError: if SLURM does not answer.
    """
    filters = ["--name", name] if name else []
    columns = ("--format", "%i|%T|%N")
    answer = run_command("squeue", "--noheader", "--array", "--user", str(os.getuid()), *filters, *columns)
    rows = [line.split("|") for line in answer.splitlines() if line.strip()]
    return {job: (state, node) for job, state, node in rows if state not in _ENDED}


def max_array_size() -> int:
    """Returns the cluster's limit on tasks per array."""
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", run_command("scontrol", "show", "config"), re.MULTILINE)
    return int(found.group(1)) if found else DEFAULT_ARRAY


def cancel(job_ids: Sequence[str]) -> None:
    """Cancels pending and running jobs."""
    for start in range(0, len(job_ids), 500):
        run_command("scancel", *job_ids[start : start + 500])


class Program(Protocol):
    """What a job calls on each of its nodes, such as a :class:`~launch.worker.Worker`; the numbers are its size."""

    runs_per_gpu: int
    nodes: int

    def __call__(self) -> Any:
        """Runs to the job's end."""


class Slurm:
    """Submits workers to one cluster as job arrays.

    Args:
        cluster: partition, limits, environment.
        directory: directory of the sweep, for scripts, logs and the snapshot of the code.
        sweep: name of the sweep, which becomes the job name.
        modules: see :func:`take_snapshot`.
    """

    def __init__(self, cluster: ClusterConfig, directory: Path, sweep: str, modules: Iterable[str] = ()) -> None:
        self.cluster, self.directory, self.sweep, self.modules = cluster, directory, sweep, tuple(modules)

    def submit(self, workers: Sequence[Program], after: Sequence[str] = ()) -> Iterator[list[str]]:
        """Queues workers that need the same resources, in as few arrays as MaxArraySize allows.

        Args:
            workers: one for each job.
            after: ids of the jobs that must have ended, however they did, before these begin.

        Yields:
            The job ids of each array, one per worker.

        Raises:
            UserError: if sbatch refuses; the arrays yielded before are in the queue.
        """
        size = max_array_size()
        executor = self._executor(workers[0], after=after)
        for start in range(0, len(workers), size):
            try:
                with executor.batch():
                    jobs = [executor.submit(worker) for worker in workers[start : start + size]]
            except Exception as error:  # submitit raises its own exceptions and subprocess's
                reason = " ".join(str(error).split())[:300]
                raise UserError(f"cluster={self.cluster.name}: sbatch refused ({reason})") from error
            yield [job.job_id for job in jobs]

    def script(self, worker: Program, tasks: int) -> str:
        """Returns the sbatch script that :meth:`submit` would submit; needs no SLURM and writes nothing.

        Args:
            worker: what each task of the array does.
            tasks: size of the array.
        """
        executor = self._executor(worker, copy_code=False)
        if tasks > 1:
            executor.parameters["map_count"] = tasks  # as submitit does itself; update_parameters refuses this key
        return str(executor._make_submission_file_text(executor._submitit_command_str, ""))

    def _executor(self, worker: Program, *, after: Sequence[str] = (), copy_code: bool = True) -> Any:
        from submitit import SlurmExecutor

        class AnywhereExecutor(SlurmExecutor):
            """Can also be created on machines without srun, to print scripts."""

            @classmethod
            def affinity(cls) -> int:
                return 2

        cluster, cwd = self.cluster, Path.cwd()
        code = take_snapshot(self.directory / "code", self.modules, copy=copy_code)
        processes = cluster.runs_at_once(worker.runs_per_gpu) * cluster.gpus_per_run
        executor = AnywhereExecutor(self.directory / "logs", max_num_timeout=1_000_000, python=cluster.python)
        path = ":".join(shlex.quote(str(folder)) for folder in (code, cwd))
        flags = ("partition", "account", "qos", "constraint")
        extra = {"requeue": True, **cluster.extra}
        if invalid := [key for key in extra if not re.fullmatch(r"[a-z][a-z_-]*", str(key))]:
            raise UserError(f"cluster.extra.{invalid[0]!r}: is no flag of sbatch; give its long name, such as exclude")
        if after:
            given = [extra["dependency"]] if extra.get("dependency") else []
            extra["dependency"] = ",".join([":".join(["afterany", *after]), *given])
        executor.update_parameters(
            job_name=self.sweep,
            time=max(1, round(60 * cluster.hours)),
            cpus_per_task=cluster.cpus_per_run * processes,
            mem=f"{max(1, round(1024 * cluster.mem_gb_per_run * processes))}M",
            signal_delay_s=cluster.signal_s,
            array_parallelism=cluster.parallel,
            stderr_to_stdout=True,
            setup=[
                *cluster.setup,
                f"cd {shlex.quote(str(code))}",
                f"export PYTHONPATH={path}${{PYTHONPATH:+:$PYTHONPATH}}",
                "export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK",  # srun no longer inherits it since SLURM 22.05
            ],
            teardown=[f"status=$? requeue={REQUEUE_STATUS}", *_REQUEUE.splitlines()],
            additional_parameters={key: value for key, value in extra.items() if value not in (None, False)},
            **{flag: getattr(cluster, flag) for flag in flags if getattr(cluster, flag) is not None},
            **({"gpus_per_node": cluster.gpus} if cluster.gpus else {}),
            **(_NODES_END_TOGETHER | {"nodes": worker.nodes} if worker.nodes > 1 else {}),
        )
        return executor


def take_snapshot(folder: Path, modules: Iterable[str] = (), *, copy: bool = True) -> Path:
    """Copies this program's code and config to ``<folder>/<hash of them>`` and returns that path.

    Jobs run the copy, so that later edits do not affect queued jobs.

    Args:
        folder: created if it does not exist.
        modules: top-level modules of the runs' components; the user's own modules are copied too.
        copy: False to return the path without writing anything.
    """
    ours = ("dst", __name__.partition(".")[0])  # installed, this package is a part of dst
    packages = {name: Path(sys.modules[name].__file__ or "").parent for name in ours}
    sources = packages | ({} if CONF_DIR.is_relative_to(packages["dst"]) else {"conf": CONF_DIR})
    sources |= {name: root for name in modules if name not in sources and (root := user_source(name))}
    files = {
        path.relative_to(root.parent) if root.is_file() else Path(name) / path.relative_to(root): path
        for name, root in sources.items()
        for path in ([root] if root.is_file() else sorted(root.rglob("*")))
        if path.suffix in (".py", ".yaml")
    }
    version = (commit() or "").encode()
    digest = hashlib.sha256(version)
    for name, path in sorted(files.items()):
        digest.update(str(name).encode() + b"\0" + path.read_bytes() + b"\0")
    snapshot = folder / digest.hexdigest()[:12]
    if copy and not snapshot.exists():
        temporary = folder / f".{snapshot.name}.{os.getpid()}"
        for name, path in files.items():
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, temporary / name)
        (temporary / COMMIT_FILE.name).write_bytes(version)
        try:
            temporary.rename(snapshot)
        except OSError:  # another process wrote the same snapshot first
            shutil.rmtree(temporary)
    return snapshot


def run_command(*command: str) -> str:
    """Returns what a command of SLURM prints.

    Args:
        command: its name and arguments.

    Raises:
        UserError: if it is not there, fails, or does not answer.
    """
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    except FileNotFoundError as error:
        raise UserError(
            f"{command[0]}: not found; submit from a login node of a SLURM cluster, or train here with cluster=local"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise UserError(f"{command[0]}: SLURM did not answer within a minute; try again") from error
    except subprocess.CalledProcessError as error:
        raise UserError(f"{command[0]}: {' '.join(error.stderr.split())[:300]}") from error
    return answer.stdout
