"""The commands of ``python -m launch``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import fields

from dst.commands import LAUNCH
from dst.config import Config
from dst.config.tree import options
from dst.errors import UserError, unknown
from dst.run.archive import archive
from dst.run.plan import plan_path
from dst.terminal.completion import bash_completion
from dst.terminal.exits import command
from dst.terminal.help import help_of

from .arguments import KEYS, WITH_RUN_OVERRIDES, Arguments, parse_arguments
from .cancel import cancel
from .jobs import active_jobs, run_states, runs_to_submit
from .length import period_warning
from .local import local_worker, train_locally
from .plan import Plan
from .planning import make_plan
from .removal_commands import archive_command, delete_command, restore_command
from .run_logs import failed_logs, find_run, follow_log, read_log
from .state import is_settled, outdated, states, summaries
from .status import Snapshot, plan_text, status_text
from .submit import preview, submit_to_slurm
from .timing import Timing, measure, write_timing

HELP = f"""usage: {LAUNCH} COMMAND [key=value ...]

  plan    sweep=paper                      expand, check and freeze a sweep; say what it will cost
                                           again with more points or seeds: adds them, keeps what is there
  plan    name=mine model=large_mlp criterion=magnitude,snip density=d0.05,d0.1 seed=range(1,6)
  plan    name=equal model=large_mlp procedure=dst,lrr cost=0.5,1   epochs from equal training FLOPs, in dense trainings
  submit  sweep=paper cluster=slurm_a100   queue what is neither finished nor queued (dry_run=true: show the scripts)
  submit  sweep=demo cluster=local         train here, side by side
  submit  sweep=paper retry=failed         failed runs too
  submit  sweep=paper rerun=true           finished runs anew whose components' source code has changed since
  status  sweep=paper [--watch]            what is finished, running, queued, failed, interrupted, lost
  logs    RUN_ID [--follow]                what a run printed, and prints until it ends
  logs    sweep=paper failed               the last lines of each failed run
  search  search=lr_by_criterion           find each method's best hyper-parameters; also status, cancel
  cancel  sweep=paper                      take its jobs out of the queue; what is trained stays
  archive sweep=paper                      move its runs into <output_dir>/archive/paper.tar, verified before they go
                                           (yes=true: do not ask; checkpoints=false: without weights of finished runs)
  restore paper                            bring the runs of an archive back
  delete  sweep=paper where='seed > 3'     remove runs for good (yes=true: do not ask; shared=true: other sweeps' too)
  …       where='model == "vgg16"'         plan, submit, status, cancel, logs, archive, delete: by the config's names;
                                           archive and delete also by state: where='state == "failed"'
  timing                                   write what finished runs took to <output_dir>/timing.yaml
  sync    sweep=paper                      upload finished runs to Weights & Biases
  doctor  [cluster=slurm] [--on-node]      check this site, and a node of it; write=NAME writes conf/cluster/NAME.yaml
  completion bash                          the script that completes dst-launch's arguments with the Tab key

plan, submit … KEY=VALUE of any further key goes to every run (recipe.epochs=10, data_dir=/scratch/data).
submit … cluster.gpus_per_run=4 trains each run on four GPUs together (docs/slurm.md).
submit … cluster.on_end='COMMAND' runs a shell command once all runs have ended, with DST_SWEEP and DST_OUTPUT_DIR.
Sweeps: conf/sweep. Searches: conf/search; search.KEY=VALUE changes a setting.
Clusters: conf/cluster; change any setting with cluster.KEY=VALUE.
"""


def main() -> None:
    """Runs the command line; a user error prints one line on stderr and exits with status 2."""
    name, *rest = sys.argv[1:] or ["--help"]
    with command():
        if name == "help" or {"-h", "--help"} & {name, *rest}:
            name = (rest or [name])[0] if name == "help" else name
            print(help_of(name, HELP, COMMANDS) if name in COMMANDS else HELP, end="")
        elif name not in COMMANDS:
            raise UserError(f"{name}: {unknown(name, COMMANDS)}")
        else:
            sys.exit(COMMANDS[name](parse_arguments(name, rest)))


def _plan(arguments: Arguments) -> int:
    plan = make_plan(arguments, arguments.where, keep_others=True)
    print(plan_text(plan, states(plan), Timing.read(plan.output_dir)))
    print(period_warning(plan.runs), end="")
    path = plan_path(plan.name, plan.output_dir)
    print(f"would be frozen in {path}" if arguments.launch.dry_run else f"frozen in {path}")
    return 0


def _submit(arguments: Arguments) -> int:
    clusters = arguments.clusters
    if len(clusters) > 1 and any(cluster.executor == "local" for cluster in clusters):
        names = ",".join(cluster.name for cluster in clusters)
        raise UserError(f"cluster={names}: this machine and a queue do not share a sweep; give cluster=local alone")
    frozen = plan_path(arguments.name, arguments.output_dir).exists()
    plan = Plan.read(arguments.name, arguments.output_dir) if frozen and not arguments.run_overrides else None
    plan = (plan or make_plan(arguments, None, keep_others=False)).select(arguments.where, with_parents=True)
    for cluster in clusters:
        cluster.check_runs(plan.runs)
    print(period_warning(plan.runs), end="", flush=True)
    retry_failed = arguments.launch.retry == "failed"
    if arguments.launch.rerun and not arguments.launch.dry_run:
        _archive_outdated(plan)
    if clusters[0].executor == "local":
        if arguments.launch.dry_run:
            left = runs_to_submit(plan, run_states(plan, active_jobs(plan)), retry_failed=retry_failed)
            worker = local_worker(plan, clusters[0], left)
            units = worker.gpus if worker.gpus_per_run == 1 else worker.gpus // worker.gpus_per_run
            by = "" if worker.gpus_per_run == 1 else f", each by {worker.gpus_per_run} processes"
            where = f" on each of {units} {'GPUs' if not by else 'groups of GPUs'}" if worker.gpus else ""
            print(f"would train {len(left)} of {len(plan.runs)} runs here, {worker.runs_per_gpu} at a time{where}{by}")
            return 0
        train_locally(plan, clusters[0], retry_failed=retry_failed)
        plan = Plan.read(plan.name, plan.output_dir).select(arguments.where, with_parents=True)  # may have grown
        state = states(plan)
        print(status_text(plan, state))
        return int(any(run.state in ("failed", "interrupted", "lost", "waiting") for run in state.values()))
    if arguments.launch.dry_run:
        for text in preview(plan, clusters, retry_failed=retry_failed):
            print(text)
        return 0
    jobs = submit_to_slurm(plan, clusters, retry_failed=retry_failed)
    for job in jobs:
        print(f"{job.job_id}  {job.cluster}  {len(job.runs)} runs")
    runs = sum(len(job.runs) for job in jobs)
    print(f"{runs} runs in {len(jobs)} jobs" if jobs else "nothing to submit: all runs are finished, failed or queued")
    return 0


def _archive_outdated(plan: Plan) -> None:
    """Archives the finished runs whose components' source code has changed, so that they are trained again."""
    archived = [folder for run_id in outdated(plan, states(plan)) if (folder := archive(plan.run_dir(run_id)))]
    where = f", to be trained anew; as they were they are kept in {archived[0].parent}" if archived else ""
    print(f"{len(archived)} finished runs were trained with other source code of their components{where}", flush=True)


def _search(arguments: Arguments) -> int:
    from .search.commands import search  # imports Optuna

    return search(arguments)


def _status(arguments: Arguments) -> int:
    if arguments.search:
        from .search.commands import status

        return status(arguments)
    plan = Plan.read(arguments.name, arguments.output_dir).select(arguments.where)
    if arguments.launch.watch:
        from .watch import watch  # imports rich

        watch(lambda: _look(plan))
    else:
        print(_look(plan).text)
    return 0


def _look(plan: Plan) -> Snapshot:
    try:
        jobs, note = active_jobs(plan), ""
    except UserError as error:  # without SLURM the run directories can still be shown
        jobs, note = [], f"\nqueued runs are not known: {error}"
    return Snapshot(plan, run_states(plan, jobs), jobs, note)


def _logs(arguments: Arguments) -> int:
    if arguments.words == ("failed",):
        plan = Plan.read(arguments.name, arguments.output_dir).select(arguments.where)
        logs = list(failed_logs(plan))
        print("\n".join(logs) if logs else f"no run of sweep {plan.name} has failed", end="" if logs else "\n")
        return 0
    if len(arguments.words) != 1 or arguments.where is not None:
        raise UserError(
            f"which run? give one run id, as status prints it: {LAUNCH} logs RUN_ID; or: logs sweep=NAME failed"
        )
    run_dir = find_run(arguments.output_dir, arguments.words[0])
    if not arguments.launch.follow:
        print(read_log(run_dir), end="")
        return 0
    for text in follow_log(run_dir):
        print(text, end="", flush=True)
    if not is_settled(run_dir):
        print(f"run {run_dir.name} has not ended, but no process trains it now", file=sys.stderr)
    return 0


def _cancel(arguments: Arguments) -> int:
    if arguments.search:
        from .search.commands import without_runs

        plan = without_runs(arguments.name, arguments.output_dir)
    else:
        plan = Plan.read(arguments.name, arguments.output_dir)
    for line in cancel(plan, arguments.where, dry_run=arguments.launch.dry_run):
        print(line)
    return 0


def _timing(arguments: Arguments) -> int:
    table = measure(summaries(arguments.output_dir))
    if not table:
        raise UserError(f"output_dir={arguments.output_dir}: no finished run there to measure by")
    print("\n".join(f"{setup}: {entry['epoch_s']:.3f} s an epoch" for setup, entry in table.items()))
    print(f"written to {write_timing(table, arguments.output_dir)}")
    return 0


def _doctor(arguments: Arguments) -> int:
    from .doctor import doctor  # imports torch

    return doctor(arguments)


def _completion(arguments: Arguments) -> int:
    groups = {field.name: options(field.name) for field in fields(Config) if options(field.name)}
    values = {
        "sweep": options("sweep"),
        "search": options("search"),
        "cluster": options("cluster"),
        "retry": ["failed"],
    }
    keys = {command: (*KEYS, *groups) if command in WITH_RUN_OVERRIDES else KEYS for command in COMMANDS}
    print(bash_completion("dst-launch", keys, values | groups, *arguments.words[:1] or ("",)), end="")
    return 0


def _sync(arguments: Arguments) -> int:
    from .sync import sync

    plan = Plan.read(arguments.name, arguments.output_dir)
    cfg = arguments.launch
    return sync(plan, jobs=cfg.jobs, entity=cfg.entity, project=cfg.project, dry_run=cfg.dry_run)


COMMANDS: dict[str, Callable[[Arguments], int]] = {
    "plan": _plan,
    "submit": _submit,
    "search": _search,
    "status": _status,
    "logs": _logs,
    "cancel": _cancel,
    "archive": archive_command,
    "restore": restore_command,
    "delete": delete_command,
    "timing": _timing,
    "sync": _sync,
    "doctor": _doctor,
    "completion": _completion,
}
