"""Makes and freezes the plan that a command line asks for."""

from __future__ import annotations

import shlex

from dst.commands import LAUNCH
from dst.errors import UserError
from dst.run.plan import plan_path

from .arguments import Arguments
from .cluster import LaunchConfig
from .cost import cost_text, with_epochs
from .plan import Plan
from .status import growth_text
from .sweep import Point, expand, expand_overrides, merge_overrides


def make_plan(arguments: Arguments, where: str | None, *, keep_others: bool) -> Plan:
    """Plans the named sweep, or the one that the overrides describe; writes the plan unless this is a dry run.

    The runs are added to a plan of the same name.

    Args:
        arguments: of ``plan`` or ``submit``.
        where: expression that selects the runs to plan, as in :meth:`Plan.select`; their parents are planned too.
        keep_others: whether runs that the frozen plan alone has are kept; they are refused otherwise.

    Raises:
        UserError: for a mistake in the sweep, or see ``keep_others``.
    """
    max_runs = None if arguments.launch.yes else 100_000
    if arguments.sweep:
        points = [
            Point(merge_overrides(point.overrides, arguments.run_overrides), point.origin)
            for point in expand(arguments.sweep, max_runs)
        ]
        if any("," in override for override in arguments.run_overrides if "[" not in override):
            raise UserError("values with commas make a sweep of their own: give name=… and no sweep=…")
    else:
        points = [Point(overrides) for overrides in expand_overrides(arguments.run_overrides, max_runs)]
    points, chosen = with_epochs(points)
    if chosen:
        print(cost_text(chosen), flush=True)
    plan = Plan.make(arguments.name, arguments.output_dir, points, _plan_command(arguments, where))
    plan = plan.select(where, with_parents=True)
    if plan_path(plan.name, plan.output_dir).exists() and not arguments.launch.replace:
        frozen = Plan.read(plan.name, plan.output_dir)
        kept = [run for run in frozen.runs if run.run_id not in plan.by_id]
        if kept and not keep_others:
            before = f"; it was planned with: {frozen.command}" if frozen.command else ""
            raise UserError(
                f"sweep={plan.name}: is planned already with {len(kept)} runs that are not among these; give these a "
                f"name=… of their own, or add them to the plan with: {_plan_command(arguments, where)}{before}"
            )
        print(growth_text(frozen, plan), end="")
        plan = plan.added_to(frozen)
    for cluster in arguments.clusters:
        cluster.check_runs(plan.runs)
    if not arguments.launch.dry_run:
        plan.write()
    return plan


def _plan_command(arguments: Arguments, where: str | None) -> str:
    """Returns the command line that plans the same sweep."""
    output_dir = arguments.launch.output_dir
    settings = {"sweep": arguments.sweep, "name": arguments.launch.name, "where": where}
    settings["output_dir"] = None if output_dir == LaunchConfig.output_dir else output_dir
    words = [f"{key}={value}" for key, value in settings.items() if value] + list(arguments.run_overrides)
    return f"{LAUNCH} plan {shlex.join(words)}"
