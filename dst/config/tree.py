"""The config tree ``conf/``: where it is, which groups have which choices, and the node of a choice.

The YAML files of a group are its registry: there is no second list in code.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from dst.errors import UserError, unknown

_PACKAGED = Path(__file__).parents[1] / "conf"
CONF_DIR = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[2] / "conf"
"""The config tree: beside ``dst`` in a checkout, inside it in an installed wheel."""


def options(group: str) -> list[str]:
    """Returns the names one can choose in a config group."""
    return sorted(path.stem for path in (CONF_DIR / group).glob("*.yaml"))


def component(group: str, name: str) -> dict[str, Any]:
    """Returns the config node of a choice.

    Args:
        group: a config group.
        name: of one of its choices.

    Raises:
        UserError: for an unknown choice.
    """
    if name not in options(group):
        raise UserError(f"{group}={name}: {unknown(name, options(group))}")
    node = OmegaConf.to_container(OmegaConf.load(CONF_DIR / group / f"{name}.yaml"))
    assert isinstance(node, dict)
    return {str(key): value for key, value in node.get(group, node).items()}
