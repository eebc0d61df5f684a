"""The help of one command, cut out of that of all."""

from __future__ import annotations

import re
from collections.abc import Collection


def help_of(command: str, text: str, commands: Collection[str]) -> str:
    """Returns the lines of a help text that concern one command, and those that concern all.

    Args:
        command: its name.
        text: rows begin with two spaces and names of commands, or with … and name them later; deeper lines go on with a
            row. Other lines are for all commands, or for those that they begin with before a ….
        commands: all names.
    """
    kept, keep = [], True
    for line in text.splitlines():
        if re.match(r"  \S", line):
            begin = re.split(r"  +", line.strip())[0].partition("=")[0]
            named = {*re.split(r",? ", begin)} & {*commands}
            keep = command in named or (command in line if line.startswith("  …") else not named)
        elif not line.startswith("   "):
            begin = re.match(r"(\w+(?:, \w+)*) … ", line)
            keep = begin is None or command in begin[1].split(", ")
        if keep:
            kept.append(line)
    paragraphs = re.split(r"\n{2,}", "\n".join(kept))
    return "\n\n".join(part for part in paragraphs if not part.endswith(":")).replace("COMMAND", command, 1) + "\n"
