"""What one training is made of: the typed schema of ``conf/``, its checks, and the identity of a run."""

from dst.config.checks import checked, parent_of, run_id
from dst.config.overrides import compose
from dst.config.schema import Config, DatasetConfig, RecipeConfig, TrackerConfig
from dst.config.tree import CONF_DIR

__all__ = [
    "CONF_DIR",
    "Config",
    "DatasetConfig",
    "RecipeConfig",
    "TrackerConfig",
    "checked",
    "compose",
    "parent_of",
    "run_id",
]
