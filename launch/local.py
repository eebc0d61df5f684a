"""Trains a plan on this machine, in the foreground."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import NoReturn

from tqdm import tqdm

from dst.errors import UserError
from dst.run.plan import PlannedRun

from .cancelled import resume_runs
from .cluster import ClusterConfig
from .jobs import active_jobs, run_states, runs_to_submit
from .plan import Plan
from .submit import prepare
from .timing import Timing
from .worker import Worker, available_cpus


def train_locally(plan: Plan, cluster: ClusterConfig, *, retry_failed: bool) -> dict[str, int]:
    """Trains the runs that are neither finished nor queued on this machine, in the foreground.

    Args:
        plan: the runs.
        cluster: number of GPUs and of runs per GPU.
        retry_failed: train failed runs again.

    Returns:
        The number of runs by outcome, as :meth:`Worker.train`.
    """
    resume_runs(plan)
    state = run_states(plan, active_jobs(plan))
    runs = runs_to_submit(plan, state, retry_failed=retry_failed)
    prepare(plan, runs, state)
    worker = local_worker(plan, cluster, runs)
    told: set[str] = set()
    with _progress(len(plan.runs), len(plan.runs) - len(runs)) as bar:

        def listen(event: str, run_id: str, text: str) -> None:
            if event in ("finished", "failed"):
                bar.n += 1
                if bar.n < len(plan.runs):  # the last line is printed as the bar closes
                    bar.update(0)
            if event == "failed" and text not in told:  # what ends every run is told once
                told.add(text)
                bar.write(f"run {run_id} failed: {text}")
            if event == "on_end":
                bar.write(f"the command at the end of the sweep {text}")
            if event == "died":
                bar.write(f"run {run_id}: its process {text}" if run_id else f"a training process {text}")

        return worker.train(listen) if runs else {}


def local_worker(plan: Plan, cluster: ClusterConfig, runs: Sequence[PlannedRun]) -> Worker:
    """Returns the worker that trains runs on this machine, distributed over its GPUs.

    Args:
        plan: the plan of the runs.
        cluster: number of GPUs and of runs per GPU; None for all GPUs and for the timing's number.
        runs: the runs to train.
    """
    gpus = _local_gpus(runs, cluster)
    ranks = cluster.gpus_per_run
    processes = cluster.runs_per_gpu or _local_processes(runs, plan, gpus, ranks)
    most = max(1, math.ceil(len(runs) / max(1, gpus // ranks)))
    ids, at_once = [run.run_id for run in runs], min(processes, most)
    return Worker(
        *(plan.name, str(plan.output_dir), ids, at_once, gpus),
        where=plan.where,
        on_end=cluster.on_end,
        gpus_per_run=ranks,
    )


def _progress(total: int, done: int) -> tqdm[NoReturn]:
    """Returns a progress bar over runs; without a terminal it prints some twenty lines in all."""
    shown = sys.stderr.isatty()
    return tqdm(
        total=total,
        initial=done,
        unit="run",
        dynamic_ncols=True,
        mininterval=0.5 if shown else 0,
        miniters=1 if shown else max(1, total // 20),
        bar_format=None if shown else "{n_fmt} of {total_fmt} runs ended after {elapsed}, {remaining} to go\n",
        file=sys.stderr,
    )


def _local_gpus(runs: Sequence[PlannedRun], cluster: ClusterConfig) -> int:
    """Returns the number of GPUs that the runs are distributed over, 0 if they train on the CPU."""
    import torch

    devices = {run.config["device"] for run in runs} - {"cpu"}
    if not devices:
        return 0
    if named := sorted(device for device in devices if ":" in device):
        if cluster.gpus_per_run > 1:
            raise UserError(f"device={named[0]}: is one GPU, cluster.gpus_per_run={cluster.gpus_per_run}; give cuda")
        return 1  # the index of a device refers to all visible GPUs, so CUDA_VISIBLE_DEVICES must not be narrowed
    if cluster.gpus == 0:
        raise UserError("cluster.gpus=0: to train here without a GPU give device=cpu")
    found = torch.cuda.device_count()
    gpus = min(found, cluster.gpus or found)
    if gpus % cluster.gpus_per_run:
        raise UserError(
            f"cluster.gpus_per_run={cluster.gpus_per_run}: does not divide the {gpus} GPUs that are visible here"
        )
    return gpus


def _local_processes(runs: Sequence[PlannedRun], plan: Plan, gpus: int, ranks: int) -> int:
    if not gpus:
        return max(1, available_cpus() // ranks)
    if ranks > 1:
        return 1
    timing = Timing.read(plan.output_dir)
    return min((timing.runs_per_gpu(run.setup) for run in runs), default=1)
