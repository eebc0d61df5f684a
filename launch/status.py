"""How a sweep stands, as a table."""

from __future__ import annotations

import time
from collections.abc import Mapping

import pandas as pd

from launch.plan import Plan
from launch.state import STATES, RunState, outdated, problems
from launch.timing import Timing

_BAR = 30


def status_text(plan: Plan, state: Mapping[str, RunState]) -> str:
    """Returns runs per setup and state, progress, throughput, time left, and why runs failed."""
    frame = pd.DataFrame(
        {"setup": run.setup, "state": state[run.run_id].state, "since": state[run.run_id].since} for run in plan.runs
    )
    table = frame.groupby(["setup", "state"], sort=False).size().unstack(fill_value=0)
    table = table[[name for name in STATES if name in table.columns]]
    table["runs"] = table.sum(axis=1)
    if len(table) > 1:
        table.loc["all"] = table.sum()
    lines = [f"sweep {plan.name} in {plan.output_dir}", table.rename_axis(None, axis=1).to_string(), _progress(frame)]
    failed = {run_id: run for run_id, run in state.items() if run.state == "failed"}
    for run_id, run in list(failed.items())[:10]:
        lines.append(f"failed {run_id}: {' '.join(run.detail['error'].split())}  ({plan.run_dir(run_id) / 'log.txt'})")
    if len(failed) > 10:
        lines.append(f"… and {len(failed) - 10} more")
    damaged = [f"damaged {run_id}: {run.damage}: counts as unfinished" for run_id, run in state.items() if run.damage]
    lines += [*damaged[:10], *([f"… and {len(damaged) - 10} more"] if len(damaged) > 10 else [])]
    unfit = {problem["error"]: problem for problem in problems(plan.directory)}
    lines += [
        f"could not train at {unfit[error].get('where') or '?'}: {' '.join(error.split())}"
        for error in list(unfit)[-3:]
    ]
    if failed:
        lines.append(f"try them again with: python -m launch submit sweep={plan.name} retry=failed")
    if changed := outdated(plan, state):
        groups = ", ".join(dict.fromkeys(group for groups in changed.values() for group in groups))
        lines.append(
            f"{len(changed)} finished runs were trained with other source code of their {groups}; train them anew "
            f"with: python -m launch submit sweep={plan.name} rerun=true"
        )
    return "\n".join(lines)


def plan_text(plan: Plan, state: Mapping[str, RunState], timing: Timing) -> str:
    """Returns runs per setup, how many are finished, and what the rest will cost."""
    frame = pd.DataFrame(
        {
            "setup": run.setup,
            "runs": 1,
            "finished": state[run.run_id].state in ("finished", "diverged"),
            "seconds": timing.seconds(run),
        }
        for run in plan.runs
    )
    left = frame[~frame["finished"]]
    table = frame.groupby("setup", sort=False)[["runs", "finished"]].sum()
    table["to do"] = table["runs"] - table["finished"]
    hours = left.groupby("setup")["seconds"].sum(min_count=1).reindex(table.index) / 3600
    table["GPU hours"] = [
        "0" if not to_do else "unknown" if pd.isna(value) else f"{value:.1f}"
        for value, to_do in zip(hours, table["to do"], strict=True)
    ]
    total = table[["runs", "finished", "to do"]].sum()
    unknown = int(left["seconds"].isna().sum())
    text = f"{table.to_string()}\n{total['runs']} runs, {total['finished']} finished, {total['to do']} to do"
    if unknown < len(left):
        text += f": about {left['seconds'].sum() / 3600:.0f} GPU hours one by one, less side by side"
    return text + (f"; {unknown} runs that nobody has timed yet" if unknown else "")


def _progress(frame: pd.DataFrame) -> str:
    ended = frame["state"].isin(("finished", "diverged", "failed"))
    share = ended.mean()
    bar = "█" * round(_BAR * share) + "░" * (_BAR - round(_BAR * share))
    text = f"{bar} {ended.sum()} of {len(frame)} ended ({share:.0%})"
    hour = frame.loc[ended & (frame["since"] > time.time() - 3600), "since"]
    left = int((~ended & (frame["state"] != "failed")).sum())
    if len(hour) >= 2 and left and (frame["state"] == "running").any():
        rate = (len(hour) - 1) / max(1.0, time.time() - hour.min())
        text += f", {3600 * rate:.0f} an hour, about {_duration(left / rate)} to go"
    return text


def _duration(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{max(1, minutes)} min"
