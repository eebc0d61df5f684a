"""Hydra's and OmegaConf's errors, told in one line."""

from __future__ import annotations

import traceback

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from dst.errors import UserError, unknown

_ANY_OTHER = {
    "density": ", or a number, as is density.value=…",
    "update_period": ", or a number, as is update_period.steps=…",
}


_LIBRARIES = ("hydra", "omegaconf", "antlr4", "yaml")


def is_mistake(error: BaseException) -> bool:
    """Whether an error is the user's or the system's rather than a fault of the code: to be told in one line."""
    if isinstance(error, (UserError, HydraException, OmegaConfBaseException, OSError)):
        return True
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return str(frame.f_globals.get("__name__")).partition(".")[0] in _LIBRARIES  # such as the ValueErrors of Hydra


def explain(error: BaseException) -> str:
    """Returns one line for a mistake in a config or on the command line: the key, the value, what would be valid."""
    return "".join(character if character.isprintable() else " " for character in _explanation(error))


def _explanation(error: BaseException) -> str:
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'input or output'}: {error.strerror}"
    if isinstance(error, MissingConfigException) and error.options is not None and error.missing_cfg_file:
        group, _, choice = error.missing_cfg_file.rpartition("/")
        if group:
            return f"{group}={choice}: {unknown(choice, error.options)}{_ANY_OTHER.get(group, '')}"
    if isinstance(error, OverrideParseException) and error.override:
        return f"{error.override}: {str(error).splitlines()[0]}; write key=value"
    cause = error if isinstance(error, OmegaConfBaseException) else error.__cause__ or error.__context__
    if isinstance(cause, OmegaConfBaseException) and cause.full_key:
        if isinstance(cause, (ConfigAttributeError, ConfigKeyError)) and isinstance(cause.parent_node, DictConfig):
            if str(cause.full_key).rpartition(".")[0] == "probes":
                return f"{cause.full_key}: the run has no such probe; choose it with probes=[{cause.key}]"
            return f"{cause.full_key}: {unknown(str(cause.key), _keys(cause.parent_node))}"
        if "is not a ListConfig" in str(cause):
            return f"{cause.full_key}: must be a list; write {cause.full_key}=[…]"
        return f"{cause.full_key}: {str(cause).splitlines()[0]}"
    return " ".join(str(error).split())


def _keys(node: DictConfig) -> list[str]:
    return [str(key) for key in node if not OmegaConf.is_missing(node, key)] or [str(key) for key in node]
