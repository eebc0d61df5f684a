"""Begins a search, trains its trials on this machine or on SLURM, and shows what it has found."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from dst.errors import UserError
from dst.files.lock import Locked, locked
from dst.run.code import code_version
from dst.run.plan import plan_path

from .cluster import ClusterConfig
from .packing import Job
from .plan import Plan
from .search import Search, is_begun, read
from .search_worker import SearchWorker
from .slurm import Slurm
from .studies import Studies
from .submit import Submitted, active_jobs, local_worker, record_jobs, slurm_worker
from .sweep import Point
from .timing import Timing

_STATES = {"COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running", "WAITING": "waiting"}
_BEST_SEEDS = "seed=range(1,6)"


def check(name: str, output_dir: Path, search: Search) -> Plan:
    """Checks a search as a whole; returns the plan of one run with each end of its intervals and each choice.

    Args:
        name: of the search.
        output_dir: where searches and runs are stored.
        search: as described.

    Raises:
        UserError: for a mistake, or a search or sweep of that name that is another one.
    """
    search.check()
    if plan_path(name, output_dir).exists():
        raise UserError(f"search={name}: is the name of a sweep planned in {output_dir}; give name=…")
    if is_begun(name, output_dir) and (changed := search.changed(read(name, output_dir))):
        raise UserError(
            f"search={name}: has begun with other {', '.join(changed)}; give name=… for a search of its own "
            "(trials, parallel and each may change)"
        )
    points = [
        Point(search.runs(combination, point)[0])
        for combination in search.combinations().values()
        for point in search.corners()
    ]
    return Plan.make(name, output_dir, points)


def begin(name: str, output_dir: Path, search: Search) -> Studies:
    """Freezes a checked search, creates its studies and returns them.

    Args:
        name: of the search.
        output_dir: where searches and runs are stored.
        search: as described.
    """
    search.write(name, output_dir)
    studies = Studies(name, output_dir)
    studies.begin()
    return studies


def train_here(studies: Studies, plan: Plan, cluster: ClusterConfig) -> None:
    """Trains trials on this machine, in the foreground, until none is left.

    Args:
        studies: of the search.
        plan: see :func:`check`.
        cluster: number of GPUs and of runs per GPU.
    """
    left = studies.left()
    if not left:
        return
    total = sum(map(studies.wanted, studies.combinations))
    parallel = min(studies.search.parallel, left)
    sized = local_worker(plan, cluster, (plan.runs * parallel)[:parallel])
    worker = SearchWorker(plan.name, str(plan.output_dir), [], sized.runs_per_gpu, sized.gpus)
    with tqdm(total=total, initial=total - left, unit="trial", dynamic_ncols=True) as bar:

        def listen(event: str, run_id: str, text: str) -> None:
            bar.update(total - studies.left() - bar.n)
            if event == "failed":
                bar.write(f"run {run_id} failed: {text}")
            if event == "died":
                bar.write(f"run {run_id}: its process {text}" if run_id else f"a training process {text}")

        worker.train(listen)


def submit(studies: Studies, plan: Plan, cluster: ClusterConfig) -> list[str]:
    """Queues as many jobs as can train trials at the same time, less those already queued; returns the new ones' ids.

    Args:
        studies: of the search.
        plan: see :func:`check`.
        cluster: where.

    Raises:
        UserError: if another process is submitting the search, or SLURM does not answer or refuses.
    """
    submitter, job, missing = _jobs(studies, plan, cluster)
    try:
        with locked(plan.directory):
            missing = min(missing, cluster.max_jobs) - len(active_jobs(plan))
            if missing <= 0:
                return []
            worker = slurm_worker(plan, job, cluster, SearchWorker)
            ids = []
            for array in submitter.submit([worker] * missing):
                record_jobs(plan, [Submitted(job_id, cluster.name, []) for job_id in array])
                ids += array
            return ids
    except Locked as error:
        raise UserError(f"search={plan.name}: is being submitted at this moment ({error})") from error


def script(search: Search, plan: Plan, cluster: ClusterConfig) -> str:
    """Returns the sbatch script of the search's jobs; writes nothing.

    Args:
        search: as described.
        plan: see :func:`check`.
        cluster: where.
    """
    job = Job((), _runs_per_gpu(plan, cluster))
    worker = slurm_worker(plan, job, cluster, SearchWorker)
    return Slurm(cluster, plan.directory, plan.name, plan.modules).script(worker, 1)


def _jobs(studies: Studies, plan: Plan, cluster: ClusterConfig) -> tuple[Slurm, Job, int]:
    """Returns who submits the jobs, what each is, and how many the search needs."""
    job = Job((), _runs_per_gpu(plan, cluster))
    trials = min(studies.search.parallel, studies.left())
    count = math.ceil(trials / (job.runs_per_gpu * max(1, cluster.gpus or 0)))
    return Slurm(cluster, plan.directory, plan.name, plan.modules), job, count


def _runs_per_gpu(plan: Plan, cluster: ClusterConfig) -> int:
    timing = Timing.read(plan.output_dir)
    return cluster.runs_per_gpu or min(timing.runs_per_gpu(run.setup) for run in plan.runs)


def directory_plan(name: str, output_dir: Path) -> Plan:
    """Returns a plan without runs, for the jobs of a search that has begun.

    Args:
        name: of the search.
        output_dir: where searches and runs are stored.
    """
    return Plan(name, output_dir, [], code_version(), Path(read(name, output_dir).cwd))


def status_text(studies: Studies) -> str:
    """Returns a table of the trials, the best of each study, and the commands that train the best with more seeds."""
    search, rows, best = studies.search, [], []
    for combination in studies.combinations:
        for trial in studies.trials(combination):
            params = {key: f"{value:.4g}" if isinstance(value, float) else value for key, value in trial.params.items()}
            rows.append(
                {
                    "study": combination,
                    "trial": trial.number,
                    "state": _STATES[trial.state.name],
                    search.metric: "" if trial.value is None else f"{trial.value:.4f}",
                    **params,
                    "runs": " ".join(trial.user_attrs.get("runs", ())),
                    "error": trial.user_attrs.get("error", ""),
                }
            )
            if trial.state.name == "COMPLETE":
                best.append((combination, trial))
    total = sum(map(studies.wanted, studies.combinations))
    lines = [f"search {studies.name} in {studies.output_dir}: {total - studies.left()} of {total} trials ended"]
    if rows:
        table = pd.DataFrame(rows).fillna("")
        lines.append(table.loc[:, (table != "").any()].to_string(index=False))
    return "\n".join([*lines, *_best_lines(studies, best)])


def _best_lines(studies: Studies, finished: Sequence[tuple[str, object]]) -> list[str]:
    """Returns what the best trial of each study is, and what trains it."""
    sign = 1 if studies.search.direction == "maximize" else -1
    lines, commands = [], []
    for combination, overrides in studies.combinations.items():
        trials = [trial for name, trial in finished if name == combination]
        if not trials:
            continue
        best = max(trials, key=lambda trial: sign * trial.value)
        point = studies.search.point(overrides, best.params)
        chosen = [override for override in point if override.partition("=")[0] in best.params]
        lines.append(f"best of {combination}: {studies.search.metric} {best.value:.4f} with {' '.join(chosen)}")
        words = ["python", "-m", "launch", "plan", f"name={studies.name}_best", *point, _BEST_SEEDS]
        commands.append(f"  {shlex.join(words)}")
    if commands:
        commands.insert(0, "train the best with five seeds (plan each, then submit):")
        commands.append(f"  python -m launch submit sweep={studies.name}_best")
    return [*lines, *commands]
