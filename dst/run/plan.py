"""A sweep's plan as a file: ``launch`` freezes it, ``analysis`` compares with it what there is."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from dst.commands import LAUNCH
from dst.errors import UserError
from dst.files.atomic import atomic_file
from dst.files.records import (
    INTEGER,
    LIST,
    NULL,
    OBJECT,
    TEXT,
    Damaged,
    Fields,
    check_fields,
    keep_aside,
    parse_object,
    read_bytes,
)
from dst.run.layout import PLAN, sweep_dir

_HEADER: Fields = {"runs": INTEGER, "code": TEXT, "cwd": TEXT, "command": TEXT + NULL}
_RUN: Fields = {"run_id": TEXT, "overrides": LIST, "config": OBJECT}
_CONFIG = dict.fromkeys(("model", "dataset", "density", "update_period", "recipe"), OBJECT)


class NotPlanned(UserError):
    """There is no plan of that name."""


@dataclass(frozen=True)
class PlannedRun:
    """A run to be done: its id, how one would type it, and its resolved config."""

    run_id: str
    overrides: tuple[str, ...]
    config: dict[str, Any] = field(repr=False)

    @property
    def setup(self) -> str:
        """``model/dataset``."""
        return f"{self.config['model'].get('name')}/{self.config['dataset'].get('name')}"

    @property
    def command(self) -> str:
        """What trains this run alone."""
        return shlex.join(["python", "-m", "dst.train", *self.overrides])

    @property
    def parent_id(self) -> str | None:
        """The run that has to be finished before this one can begin."""
        return self.config.get("parent_id")


@dataclass(frozen=True)
class Frozen:
    """What ``<output_dir>/sweeps/<name>/plan.jsonl`` holds: a header line, then a line a run.

    Attributes:
        runs: what is to be done, in the sweep's order.
        code: version and, in a checkout, commit of the code that made the plan.
        cwd: where it was made, from where relative paths in the runs' configs count.
        command: what made it, as one types it.
    """

    runs: list[PlannedRun]
    code: str
    cwd: Path
    command: str


def plan_path(name: str, output_dir: Path) -> Path:
    """Returns where the plan of a sweep is.

    Args:
        name: of the sweep.
        output_dir: as the config has it.
    """
    return sweep_dir(output_dir, name) / PLAN


def planned(output_dir: Path) -> list[str]:
    """Returns the names of the sweeps planned in ``output_dir``."""
    return sorted(path.parent.name for path in sweep_dir(output_dir, "").glob(f"*/{PLAN}"))


def read_plan(name: str, output_dir: Path) -> Frozen:
    """Reads the plan of a sweep.

    Args:
        name: of the sweep.
        output_dir: as the config has it.

    Raises:
        NotPlanned: if there is none.
        UserError: if its file is damaged or has no runs; the line says how to get it back.
    """
    path = plan_path(name, output_dir)
    lines: list[bytes] = []
    try:
        content = read_bytes(path)
        lines = (content or b"").splitlines()
        if content is not None:
            return _parsed(lines)
    except Damaged as error:
        raise UserError(
            f"{path}: is damaged ({error}); finished runs are kept, plan it again with: "
            f"{_command(name, lines)} replace=true"
        ) from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    others = ", ".join(planned(output_dir)) or "none yet"
    raise NotPlanned(
        f"sweep={name}: not planned in {output_dir} (planned there: {others}); plan it with: {LAUNCH} plan sweep={name}"
    )


def write_plan(name: str, output_dir: Path, plan: Frozen) -> Path:
    """Writes the plan of a sweep and returns its path; a damaged file in its place is kept aside.

    Args:
        name: of the sweep.
        output_dir: as the config has it.
        plan: replaces the one that is there.
    """
    path = plan_path(name, output_dir)
    header = {"sweep": name, "runs": len(plan.runs), "code": plan.code, "cwd": str(plan.cwd)}
    header |= {"command": plan.command, "made": datetime.now(timezone.utc).isoformat(timespec="seconds")}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if (content := read_bytes(path)) is not None:
            _parsed(content.splitlines())
    except Damaged:
        keep_aside(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from error
    with atomic_file(path) as file:
        for line in (header, *_lines(plan)):
            file.write(json.dumps(line).encode() + b"\n")
    return path


def _parsed(lines: list[bytes]) -> Frozen:
    """The plan that the lines are; raises Damaged, with the number of the line, if they are none."""
    header = _line(lines, 0, _HEADER)
    if header["runs"] != len(lines) - 1:
        raise Damaged(f"{len(lines) - 1} of {header['runs']} runs are there")
    if len(lines) == 1:
        raise Damaged("it has no runs")
    runs = [_run(_line(lines, number, _RUN), number) for number in range(1, len(lines))]
    return Frozen(runs, header["code"], Path(header["cwd"]), header.get("command") or "")


def _line(lines: list[bytes], number: int, fields: Fields) -> dict[str, Any]:
    if number >= len(lines):
        raise Damaged("it is empty")
    try:
        return parse_object(lines[number], fields)
    except Damaged as error:
        raise Damaged(f"line {number + 1}: {error}") from error


def _run(line: dict[str, Any], number: int) -> PlannedRun:
    try:
        check_fields(line["config"], _CONFIG)
        check_fields(line["config"]["recipe"], {"epochs": INTEGER})
    except Damaged as error:
        raise Damaged(f"line {number + 1}: config {error}") from error
    if not re.fullmatch(r"\w+", line["run_id"]):
        raise Damaged(f"line {number + 1}: run_id is {line['run_id']!r:.40}")
    return PlannedRun(line["run_id"], tuple(map(str, line["overrides"])), line["config"])


def _lines(plan: Frozen) -> Iterator[dict[str, Any]]:
    for run in plan.runs:
        yield {"run_id": run.run_id, "overrides": run.overrides, "config": run.config}


def _command(name: str, lines: list[bytes]) -> str:
    """What made a plan, as far as its damaged file still says so."""
    with contextlib.suppress(Damaged):
        if command := _line(lines, 0, _HEADER).get("command"):
            return str(command)
    return f"{LAUNCH} plan sweep={name}"
