"""Numbers as choices of a config group: ``density=0.12`` means the density 0.12, though no file is called so.

Hydra takes only strings for choices, and its sweeps may mix names and numbers (``density=dense,0.05,0.12``). So a
number becomes a choice of that name, which is added to Hydra's store of configs.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, QuotedString
from hydra.errors import HydraException
from omegaconf import DictConfig

from dst.config.mistakes import explain
from dst.config.tree import CONF_DIR, options
from dst.errors import UserError, unknown

_MEANING: dict[str, tuple[str, dict[str, Any]]] = {
    "density": ("value", {}),
    "update_period": ("steps", {}),
    "prune_fraction": ("initial", {"defaults": ["cosine", "_self_"]}),
}
"""Per group: the key that a number gives, and what the choice has besides."""

_LISTS = ("probes", "tracker")
"""Groups of which several can be chosen: ``probes=[gradient_flow,weights]``, ``tracker=[wandb,tensorboard]``."""


def named(overrides: Sequence[str]) -> list[str]:
    """Returns Hydra overrides in which numbers for ``density``, ``update_period`` and ``prune_fraction`` are choices.

    The last means the initial fraction of the cosine schedule. What cannot be parsed stays, for Hydra to refuse.

    Raises:
        UserError: for an override without a key, or a choice that is neither a name nor such a number.
    """
    return [_named(override) for override in overrides]


def _named(line: str) -> str:
    line = quoted(line)
    group, _, value = line.partition("=")
    if not group:
        raise UserError(f"{line}: write key=value")
    names = options(group) if group.isidentifier() else []
    if not names:
        return line
    try:
        override = OverridesParser.create().parse_override(line)
        values = list(override.sweep_iterator()) if override.is_sweep_override() else [override._value]
    except HydraException:
        return line
    if group in _LISTS:
        _check_lists(line, values, names)
        return line
    for given in values:
        if not (isinstance(given, (str, QuotedString)) or (group in _MEANING and _is_number(given))):
            raise UserError(f"{group}={value}: {unknown(str(given), names)}{' or a number' * (group in _MEANING)}")
    if not any(_is_number(given) for given in values):
        return line
    return f"{group}={','.join(_choice(group, given) for given in values)}"


def quoted(line: str) -> str:
    """Returns an override of ``parent`` with its elements in quotes, ``parent=['procedure=gradual']``; others as given.

    Without them Hydra does not take a list of overrides.

    Args:
        line: an override; several lists with commas between them are a sweep.

    Raises:
        UserError: for a parent that is no list.
    """
    group, _, value = line.partition("=")
    if group.lstrip("+") != "parent":
        return line
    lists = []
    for given in _split(value):
        if given != "null" and not (given.startswith("[") and given.endswith("]")):
            raise UserError(f"{line}: write a list of overrides, such as parent='[procedure=gradual,seed=1]'")
        elements = [] if given == "null" else _split(given[1:-1])
        lists.append("null" if given == "null" else f"[{','.join(map(_in_quotes, elements))}]")
    return f"{group}={','.join(lists)}"


def _split(text: str) -> list[str]:
    """Splits at the commas that stand in no brackets and no quotes."""
    parts, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        else:
            depth += (character in "[{(") - (character in "]})")
        if character == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts if part.strip()]


def _in_quotes(text: str) -> str:
    return text if text[0] in "'\"" else "'" + text.replace("'", "\\'") + "'"


def _check_lists(line: str, values: Sequence[Any], names: Sequence[str]) -> None:
    for given in values:
        for element in given if isinstance(given, list) else [given]:
            name = element.text if isinstance(element, QuotedString) else element
            if name not in names:
                raise UserError(f"{line}: {unknown(str(name), names)}, or several as [{','.join(names)}]")


def _choice(group: str, value: Any) -> str:
    if not _is_number(value):
        return str(Override._get_value_element_as_str(value))
    key, more = _MEANING[group]
    if isinstance(value, float):
        value = float(f"{value:.12g}")  # of range(0.1,0.35,0.1) the last is 0.3 then, not 0.30000000000000004
    ConfigStore.instance().store(group=group, name=str(value), node={key: value} | more)
    return f"'{value}'"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def compose(overrides: Sequence[str] = ()) -> DictConfig:
    """Composes ``conf/train.yaml`` with Hydra's command-line overrides; raises UserError for a mistake in them."""
    within_hydra = GlobalHydra.instance().is_initialized()  # a command line whose configs are in the same tree
    try:
        with nullcontext() if within_hydra else initialize_config_dir(str(CONF_DIR), version_base="1.3"):
            return hydra_compose("train", overrides=named(overrides))
    except Exception as error:  # Hydra raises ValueError and others too
        raise UserError(explain(error)) from error
