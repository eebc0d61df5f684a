"""What one training is made of: the typed schema of ``conf/`` and its checks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import nn

from dst.components import CONF_DIR, build, parameters, resolve, told_by, typed
from dst.config_errors import explain
from dst.data import DatasetConfig
from dst.data.config import check as check_dataset
from dst.errors import UserError
from dst.identity import hashed
from dst.limits import BOOLEAN, Boolean, check_limits, limited, one_of
from dst.numbers import named
from dst.sparsity import DISTRIBUTIONS, Criterion, Growth, Schedule
from dst.tracking import TrackerConfig


@dataclass
class DensityConfig:
    """Group ``density``: the overall density D in (0, 1]; None for a dense run, which has no masks."""

    value: float | None = field(
        default=MISSING,
        metadata=limited(lambda value: 0 < value <= 1, "must lie in (0, 1]; density=dense trains without masks"),
    )


@dataclass
class UpdatePeriodConfig:
    """Group ``update_period``: Δt in optimizer steps; None for a static run."""

    steps: int | None = field(
        default=MISSING,
        metadata=limited(lambda value: value >= 1, "must be 1 step or more; update_period=never keeps the masks"),
    )


@dataclass
class DistributionConfig:
    """Group ``distribution``: how the density is spread over the layers."""

    name: str = field(default=MISSING, metadata=one_of(*DISTRIBUTIONS))


@dataclass
class RecipeConfig:
    """Group ``recipe``: optimizer, learning-rate schedule, length and batch size of the training."""

    name: str = MISSING
    epochs: int = field(
        default=MISSING, metadata=limited(lambda value: value >= 0, "must be 0 or more; 0 evaluates only")
    )
    batch_size: int = field(default=MISSING, metadata=limited(lambda value: value >= 1, "must be 1 or more"))
    optimizer: str = field(default=MISSING, metadata=one_of("sgd", "adam", "adamw"))
    lr: float = field(default=MISSING, metadata=limited(lambda value: value > 0, "must be above 0"))
    momentum: float = field(default=MISSING, metadata=limited(lambda value: 0 <= value < 1, "must lie in [0, 1)"))
    nesterov: Boolean = field(default=MISSING, metadata=BOOLEAN)
    weight_decay: float = field(default=MISSING, metadata=limited(lambda value: value >= 0, "must be 0 or more"))
    lr_milestones: list[float] = field(
        default=MISSING,
        metadata=limited(lambda value: all(0 <= share <= 1 for share in value), "must be shares in [0, 1]"),
    )
    lr_decay: float = field(default=MISSING, metadata=limited(lambda value: 0 < value <= 1, "must lie in (0, 1]"))


@dataclass
class SparsityConfig:
    """How topology updates compete and what becomes of the optimizer state of inactive weights."""

    scope: str = field(default=MISSING, metadata=one_of("local", "global"))
    momentum: str = field(default=MISSING, metadata=one_of("masked", "dense"))


@dataclass
class CheckpointConfig:
    """When checkpoints are written and what stays of a finished run's."""

    minutes: float = field(default=MISSING, metadata=limited(lambda value: value >= 0, "must be 0 or more"))
    keep: str = field(default=MISSING, metadata=one_of("all", "weights", "nothing"))


@dataclass
class Config:
    """One training, as ``conf/train.yaml`` composes it; ``dict`` groups are checked against what they build."""

    model: dict[str, Any] = MISSING
    dataset: DatasetConfig = MISSING
    criterion: dict[str, Any] = MISSING
    growth: dict[str, Any] = MISSING
    density: DensityConfig = MISSING
    update_period: UpdatePeriodConfig = MISSING
    prune_fraction: dict[str, Any] = MISSING
    distribution: DistributionConfig = MISSING
    recipe: RecipeConfig = MISSING
    tracker: TrackerConfig = MISSING
    sparsity: SparsityConfig = field(default_factory=SparsityConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    seed: int = field(default=MISSING, metadata=limited(lambda value: value >= 0, "must be 0 or more"))
    device: str = field(
        default=MISSING,
        metadata=limited(
            re.compile(r"auto|cpu|mps|cuda(:\d{1,3})?").fullmatch, "choose auto, cpu, mps, cuda or cuda:N"
        ),
    )
    precision: str = field(default=MISSING, metadata=one_of("fp32", "tf32", "bf16", "fp16"))
    deterministic: Boolean = field(default=MISSING, metadata=BOOLEAN)
    cuda_graph: Boolean = field(default=MISSING, metadata=BOOLEAN)
    data_dir: str = MISSING
    output_dir: str = MISSING
    rerun: Boolean = field(default=False, metadata=BOOLEAN)

    @property
    def is_dense(self) -> bool:
        """No masks."""
        return self.density.value is None

    @property
    def is_static(self) -> bool:
        """Masks that never change."""
        return not self.is_dense and self.update_period.steps is None


ConfigStore.instance().store(name="schema", node=Config)

_COMPONENTS: dict[str, tuple[type, tuple[str, ...]]] = {
    "model": (nn.Module, ("input_shape", "outputs")),
    "criterion": (Criterion, ()),
    "growth": (Growth, ()),
    "prune_fraction": (Schedule, ()),
}
"""Per group: of which type what it builds must be, and what only a run can give it."""


def compose(overrides: Sequence[str] = ()) -> DictConfig:
    """Composes ``conf/train.yaml`` with Hydra's command-line overrides; raises UserError for a mistake in them."""
    try:
        with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
            return hydra_compose("train", overrides=named(overrides))
    except Exception as error:  # Hydra raises ValueError and others too
        raise UserError(explain(error)) from error


def checked(cfg: DictConfig | Config) -> Config:
    """Returns the composed config as typed objects, every value checked.

    Raises:
        UserError: one line with the key, its value and what would be valid.
    """
    try:
        node = OmegaConf.merge(OmegaConf.structured(Config), cfg)
        config = OmegaConf.to_object(node)
    except OmegaConfBaseException as error:
        raise UserError(explain(error)) from error
    assert isinstance(config, Config)
    check_limits(config)
    for group in _COMPONENTS:
        _check_component(config, group)
    check_dataset(config.dataset)
    for key in ("initial", "stop_at"):
        if not 0 <= config.prune_fraction.get(key, 1.0) <= 1:
            raise UserError(f"prune_fraction.{key}={config.prune_fraction[key]}: must lie in [0, 1]")
    by_momentum = getattr(resolve("growth", config.growth), "signal", None) == "momentum"
    if by_momentum and config.sparsity.momentum != "dense":
        raise UserError(
            f"sparsity.momentum={config.sparsity.momentum}: growth={config.growth['name']} needs the momentum of "
            "inactive weights; set dense"
        )
    return config


def _check_component(config: Config, group: str) -> None:
    """Replaces the node's values by what its target's type hints make of them, so that 1 and 1.0 are one config."""
    kind, runtime = _COMPONENTS[group]
    node: dict[str, Any] = getattr(config, group)
    if not all(isinstance(node.get(key), str) for key in ("_target_", "name")):
        raise UserError(f"{group}: the config needs _target_ (what to build) and name (what to call it), two strings")
    own = {key: typed(f"{group}.{key}", node.pop(key), float) for key in ("stop_at",) if key in node}
    target = resolve(group, node, kind)
    given = parameters(group, node, target)
    if clash := set(given) & set(runtime):
        raise UserError(f"{group}.{clash.pop()}: comes from the dataset and cannot be set")
    if not runtime:
        try:
            build(group, node, kind)
        except Exception as error:  # what a user's class may do
            raise UserError(told_by(error, f"{group}={node['name']}: cannot be built")) from error
    node.update(given | own)
    check_limits(node, group)


def run_id(cfg: DictConfig | Config | Mapping[str, Any]) -> str:
    """Returns the run's name: 12 hexadecimal digits, equal for two configs exactly when their runs are equal.

    Args:
        cfg: a composed config, a checked one, or a checked one as plain containers.
    """
    if isinstance(cfg, DictConfig):
        cfg = checked(cfg)
    return hashed(asdict(cfg) if isinstance(cfg, Config) else cfg)
