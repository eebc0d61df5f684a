"""The commands that move or remove finished runs: archive, restore, delete."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from dst.commands import LAUNCH
from dst.errors import UserError

from .archive import archive_runs, archives, restore
from .arguments import Arguments
from .removal import Removal, check, choose, delete


def delete_command(arguments: Arguments) -> int:
    """Removes the chosen runs for good; returns the exit status."""
    return _remove(arguments, "delete", delete)


def archive_command(arguments: Arguments) -> int:
    """Moves the chosen runs into a tar file; returns the exit status."""
    name = arguments.sweep or time.strftime("runs-%Y%m%d")
    keep = arguments.launch.checkpoints
    return _remove(arguments, "archive", lambda removal: archive_runs(removal, name, checkpoints=keep))


def restore_command(arguments: Arguments) -> int:
    """Brings the runs of archives back; returns the exit status."""
    names = arguments.words or ((arguments.sweep,) if arguments.sweep else ())
    if not names:
        there = ", ".join(archives(arguments.output_dir)) or "none"
        raise UserError(f"which archive? give its name: {LAUNCH} restore NAME (there are: {there})")
    for name in names:
        print(restore(arguments.output_dir, name))
    return 0


def _remove(arguments: Arguments, command: str, action: Callable[[Removal], str]) -> int:
    """Shows the chosen runs, refuses those that must stay, asks, and removes."""
    removal = choose(arguments.output_dir, arguments.name if arguments.sweep else None, arguments.where)
    print(removal.text(), flush=True)
    check(removal, shared=arguments.launch.shared)
    count = len(removal.plan.runs)
    if arguments.launch.dry_run:
        print(f"{count} runs would be {command}d")
        return 0
    if not arguments.launch.yes:
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise UserError(f"{command}: there is no terminal to ask on; give yes=true to {command} these {count} runs")
        print(f"{command} these {count} runs? [y/N] ", end="", flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            print("nothing was removed")
            return 1
    print(action(removal))
    return 0
