"""Hydra's and OmegaConf's errors, told in one line."""

from __future__ import annotations

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from dst.components import unknown

_ANY_OTHER = {
    "density": ", or any other with density.value=…",
    "update_period": ", or any other with update_period.steps=…",
}


def explain(error: BaseException) -> str:
    """Returns one line for a mistake in a config or on the command line: the key, the value, what would be valid."""
    if isinstance(error, MissingConfigException) and error.options is not None and error.missing_cfg_file:
        group, _, choice = error.missing_cfg_file.rpartition("/")
        if group:
            return f"{group}={choice}: {unknown(choice, error.options)}{_ANY_OTHER.get(group, '')}"
    if isinstance(error, OverrideParseException) and error.override:
        return f"{error.override}: {str(error).splitlines()[0]}; write key=value"
    cause = error if isinstance(error, OmegaConfBaseException) else error.__cause__
    if isinstance(cause, OmegaConfBaseException) and cause.full_key:
        if isinstance(cause, (ConfigAttributeError, ConfigKeyError)) and isinstance(cause.parent_node, DictConfig):
            return f"{cause.full_key}: {unknown(str(cause.key), _keys(cause.parent_node))}"
        return f"{cause.full_key}: {str(cause).splitlines()[0]}"
    return " ".join(str(error).split())


def _keys(node: DictConfig) -> list[str]:
    return [str(key) for key in node if not OmegaConf.is_missing(node, key)] or [str(key) for key in node]
