"""The command that repeats a run."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from dst.config import compose, run_id
from dst.config.tree import options
from dst.errors import UserError
from dst.run.choices import parse_config
from dst.run.layout import CONFIG
from dst.run.plan import planned, read_plan

_ELSEWHERE = ("parent_id", "rerun", "output_dir", "data_dir", "tracker", "device", "checkpoint", "probes")
"""Keys that do not decide the result, or are found by the checks."""


def repeat_command(name: str, directory: Path, output_dir: Path) -> str:
    """Returns the command that repeats a run: as a sweep has it, else from its config.

    Args:
        name: the run id.
        directory: of the run.
        output_dir: in which sweeps are planned.
    """
    for sweep in planned(output_dir):
        with contextlib.suppress(UserError):  # a damaged plan is no reason not to look in the others
            for run in read_plan(sweep, output_dir).runs:
                if run.run_id == name:
                    return run.command
    config = directory / CONFIG
    with contextlib.suppress(UserError, OSError, ValueError):
        overrides = config_overrides(parse_config(config.read_text()))
        if run_id(compose(overrides)) == name:
            return shlex.join(["python", "-m", "dst.train", *overrides])
    code = f"import dst.train, omegaconf; dst.train.run(omegaconf.OmegaConf.load({str(config)!r}))"
    return shlex.join(["python", "-c", code])


def config_overrides(config: Mapping[str, Any]) -> list[str]:
    """Returns overrides of ``conf/train.yaml`` that lead to a resolved config: first choices, then what they lack.

    Raises:
        UserError: if a choice is not in ``conf/``.
    """
    chosen = [f"{group}={name}" for group in config if (name := _choice(config, group))]
    composed: Any = OmegaConf.to_container(compose(chosen), resolve=True)
    return [*chosen, *_differences(config, composed)]


def _choice(config: Mapping[str, Any], group: str) -> str | None:
    node = config[group]
    if group in _ELSEWHERE or not isinstance(node, Mapping):
        return None
    if group == "density":
        return "dense" if node["value"] is None else str(node["value"])
    if group == "update_period":
        return "never" if node["steps"] is None else str(node["steps"])
    return node["name"] if node.get("name") in options(group) else None


def _differences(config: Mapping[str, Any], composed: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in config.items():
        if not prefix and key in _ELSEWHERE:
            continue
        if isinstance(value, Mapping) and isinstance(composed.get(key), Mapping):
            yield from _differences(value, composed[key], f"{prefix}{key}.")
        elif key not in composed or composed[key] != value:
            yield f"{'' if key in composed else '+'}{prefix}{key}={json.dumps(value)}"
