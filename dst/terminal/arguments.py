"""The command line of ``python -m dst.train`` before Hydra sees it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import fields
from typing import NoReturn

from hydra._internal.utils import get_args_parser
from omegaconf import OmegaConf

from dst.commands import LAUNCH
from dst.config import Config, compose
from dst.config.overrides import named
from dst.config.tree import options
from dst.errors import UserError, unknown

_USAGE = f"""usage: python -m dst.train [group=choice | key=value ...] [-m]

  model=small_mlp dataset=digits density=0.1    one training
  criterion=magnitude,snip seed=range(1,6) -m   one after the other, each combination (many: {LAUNCH})

Groups, and their choices (for density, update_period and prune_fraction a number will do):
"""
_MORE = """
Values, here of what was given; change any with key=value (Hydra's own flags: --hydra-help):
"""


def arguments(argv: Sequence[str]) -> list[str]:
    """Returns the arguments as Hydra wants them: its flags first, wherever they stood, and numbers as choices.

    Raises:
        UserError: for a flag that there is not.
    """
    parser = get_args_parser()
    parser.error = _refuse  # type: ignore[method-assign]
    flags = re.findall(r"--[\w-]+", parser.format_usage())
    for argument in argv:
        flag = argument.partition("=")[0]
        if flag.startswith("--") and not any(known.startswith(flag) for known in flags):
            raise UserError(f"{flag}: {unknown(flag, flags)}; settings are given as key=value")
    overrides: list[str] = parser.parse_intermixed_args(list(argv)).overrides
    rest = list(argv)
    for override in overrides:
        rest.remove(override)
    return [*rest, *named(overrides)]


def help_text(overrides: Sequence[str]) -> str:
    """Returns what ``--help`` prints: the groups of a training with their choices, and its values."""
    groups = [field.name for field in fields(Config) if options(field.name)]
    width = max(map(len, groups))
    lines = [f"  {group:<{width}}  {', '.join(options(group))}" for group in groups]
    return "\n".join([_USAGE + "\n".join(lines), _MORE, OmegaConf.to_yaml(compose(overrides))])


def _refuse(message: str) -> NoReturn:
    raise UserError(f"{message}; see python -m dst.train --help")
