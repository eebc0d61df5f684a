"""The parent of a run: the run whose masks or weights it starts from, described by overrides of its own config."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dst.config.identity import DEFAULTS, PARENT_WEIGHTS
from dst.config.mistakes import explain
from dst.config.overrides import compose, named
from dst.config.tree import options
from dst.errors import UserError

_OF_THE_CHILD = ("initial_mask", "weight_init", "parent")


def parent_node(resolved: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Returns the config of a run's parent as plain containers, not yet checked.

    It is the run's own config, with ``initial_mask``, ``weight_init`` and ``parent`` at their defaults, to which the
    overrides are applied in order: ``group=choice`` replaces a group, ``group.key=value`` one value. It keeps the
    weights that the run starts from.

    Args:
        resolved: the run's config as plain containers.
        overrides: of the parent, in Hydra's syntax.

    Raises:
        UserError: for an override that is none, or that would add or delete a key.
    """
    node = OmegaConf.create(copy.deepcopy(dict(resolved)))
    OmegaConf.set_struct(node, True)  # unknown keys are refused
    node["rerun"], node["parent_id"], node["checkpoint"]["snapshots"] = False, None, []
    for group in _OF_THE_CHILD:
        node[group] = DEFAULTS[group]
    for override in named(overrides):
        for key, value in _changes(override).items():
            try:
                OmegaConf.update(node, key, value, merge=False)
            except OmegaConfBaseException as error:
                raise UserError(explain(error)) from error
    found = OmegaConf.to_container(node)
    assert isinstance(found, dict)
    _keep_weights(found["checkpoint"], resolved["weight_init"])
    return {str(key): value for key, value in found.items()}


def _keep_weights(checkpoint: dict[str, Any], weight_init: Mapping[str, Any]) -> None:
    if weight_init["name"] not in PARENT_WEIGHTS:
        return
    if weight_init["step"] != "last":
        checkpoint["snapshots"] = sorted({*checkpoint["snapshots"], weight_init["step"]})
    elif checkpoint["keep"] == "nothing":
        checkpoint["keep"] = "weights"


def _changes(override: str) -> dict[str, Any]:
    """Returns the new values of the keys that an override changes; a group's choice may change other groups too."""
    told = f"{override}: write group=choice or key=value, with one value"
    try:
        parsed = OverridesParser.create().parse_override(override)
    except HydraException as error:
        raise UserError(told) from error
    if parsed.is_delete() or parsed.is_add() or parsed.is_sweep_override() or parsed.package:
        raise UserError(told)
    key = str(parsed.key_or_group)
    return _chosen(override, key) if options(key) else {key: parsed.value()}


@cache
def _chosen(override: str, group: str) -> dict[str, Any]:
    before, after = (OmegaConf.to_container(compose(given)) for given in ((), (override,)))
    assert isinstance(before, dict)
    assert isinstance(after, dict)
    return {str(key): node for key, node in after.items() if key == group or node != before[key]}
