"""What one training is made of: the typed schema of ``conf/``, its checks, and the run's identity."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dst.components import CONF_DIR, parameters, resolve
from dst.config_errors import explain
from dst.data import DatasetConfig
from dst.data.config import check as check_dataset
from dst.errors import UserError
from dst.sparsity.distribution import DISTRIBUTIONS
from dst.tracking import TrackerConfig


@dataclass
class DensityConfig:
    """Group ``density``: the overall density D in (0, 1]; None for a dense run, which has no masks."""

    value: float | None = MISSING


@dataclass
class UpdatePeriodConfig:
    """Group ``update_period``: Δt in optimizer steps; None for a static run."""

    steps: int | None = MISSING


@dataclass
class DistributionConfig:
    """Group ``distribution``: how the density is spread over the layers."""

    name: str = MISSING


@dataclass
class RecipeConfig:
    """Group ``recipe``: optimizer, learning-rate schedule, length and batch size of the training."""

    name: str = MISSING
    epochs: int = MISSING
    batch_size: int = MISSING
    optimizer: str = MISSING
    lr: float = MISSING
    momentum: float = MISSING
    nesterov: bool = MISSING
    weight_decay: float = MISSING
    lr_milestones: list[float] = MISSING
    lr_decay: float = MISSING


@dataclass
class SparsityConfig:
    """How topology updates compete and what becomes of the optimizer state of inactive weights."""

    scope: str = MISSING
    momentum: str = MISSING


@dataclass
class CheckpointConfig:
    """When checkpoints are written and what stays of a finished run's."""

    minutes: float = MISSING
    keep: str = MISSING


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
    seed: int = MISSING
    device: str = MISSING
    precision: str = MISSING
    deterministic: bool = MISSING
    cuda_graph: bool = MISSING
    data_dir: str = MISSING
    output_dir: str = MISSING
    rerun: bool = False

    @property
    def is_dense(self) -> bool:
        """No masks."""
        return self.density.value is None

    @property
    def is_static(self) -> bool:
        """Masks that never change."""
        return not self.is_dense and self.update_period.steps is None


ConfigStore.instance().store(name="schema", node=Config)

_CHOICES = {
    "distribution.name": tuple(DISTRIBUTIONS),
    "sparsity.scope": ("local", "global"),
    "sparsity.momentum": ("masked", "dense"),
    "precision": ("fp32", "tf32", "bf16", "fp16"),
    "recipe.optimizer": ("sgd", "adam", "adamw"),
    "checkpoint.keep": ("all", "weights", "nothing"),
    "tracker.name": ("wandb", "local"),
}
_RANGES = {
    "density.value": (lambda value: 0 < value <= 1, "must lie in (0, 1]; density=dense trains without masks"),
    "update_period.steps": (lambda value: value >= 1, "must be 1 step or more; update_period=never keeps the masks"),
    "prune_fraction.initial": (lambda value: 0 <= value <= 1, "must lie in [0, 1]"),
    "prune_fraction.stop_at": (lambda value: 0 <= value <= 1, "must lie in [0, 1], a share of all steps"),
    "recipe.epochs": (lambda value: value >= 0, "must be 0 or more; 0 evaluates only"),
    "recipe.batch_size": (lambda value: value >= 1, "must be 1 or more"),
    "recipe.lr": (lambda value: value > 0, "must be above 0"),
    "recipe.momentum": (lambda value: 0 <= value < 1, "must lie in [0, 1)"),
    "recipe.weight_decay": (lambda value: value >= 0, "must be 0 or more"),
    "recipe.lr_milestones": (lambda value: all(0 <= share <= 1 for share in value), "must be shares in [0, 1]"),
    "seed": (lambda value: value >= 0, "must be 0 or more"),
    "checkpoint.minutes": (lambda value: value >= 0, "must be 0 or more"),
}
_COMPONENTS = {"model": ("input_shape", "outputs"), "criterion": (), "growth": (), "prune_fraction": ()}


def compose(overrides: Sequence[str] = ()) -> DictConfig:
    """Composes ``conf/train.yaml`` with Hydra's command-line overrides; raises UserError for a mistake in them."""
    try:
        with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
            return hydra_compose("train", overrides=list(overrides))
    except (HydraException, OmegaConfBaseException) as error:
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
    for group, runtime in _COMPONENTS.items():
        _check_component(config, group, runtime)
    check_dataset(config.dataset)
    for key, valid in _CHOICES.items():
        if OmegaConf.select(node, key) not in valid:
            raise UserError(f"{key}={OmegaConf.select(node, key)}: choose one of {', '.join(valid)}")
    for key, (holds, valid_range) in _RANGES.items():
        value = OmegaConf.select(node, key)
        if value is not None and not holds(value):
            raise UserError(f"{key}={value}: {valid_range}")
    if config.growth.get("name") == "momentum" and config.sparsity.momentum != "dense":
        raise UserError("sparsity.momentum=masked: growth=momentum needs the momentum of inactive weights; set dense")
    return config


def _check_component(config: Config, group: str, runtime: tuple[str, ...]) -> None:
    """Replaces the node's values by what its target's type hints make of them, so that 1 and 1.0 are one config."""
    node: dict[str, Any] = getattr(config, group)
    if "_target_" not in node or "name" not in node:
        raise UserError(f"{group}: the config needs _target_ (what to build) and name (what to call it)")
    apart = {key: float(node[key]) for key in ("stop_at",) if group == "prune_fraction" and key in node}
    target = resolve(group, node)
    given = parameters(group, {key: value for key, value in node.items() if key not in apart}, target)
    if clash := set(given) & set(runtime):
        raise UserError(f"{group}.{clash.pop()}: comes from the dataset and cannot be set")
    node.update(given | apart)


def identity(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what of a resolved config decides the result: no paths, tracker or device, and nothing without effect.

    A dense run has no masks, so nothing about them; a static one no criterion, growth, period or fraction.

    Args:
        resolved: a checked config as plain containers, ``dataclasses.asdict(checked(cfg))``.
    """
    density, period = resolved["density"]["value"], resolved["update_period"]["steps"]
    parts: dict[str, Any] = {
        "model": _without(resolved["model"], "_target_"),
        "dataset": _without(resolved["dataset"], "source", "root", "workers", "like"),
        "recipe": _without(resolved["recipe"], "name"),
        **{key: resolved[key] for key in ("seed", "precision", "deterministic")},
    }
    if density is not None:
        parts |= {"density": density, "distribution": resolved["distribution"]["name"]}
    if density is not None and period is not None:
        groups = ("criterion", "growth", "prune_fraction")
        parts |= {group: _without(resolved[group], "_target_") for group in groups}
        parts |= {"update_period": period, "sparsity": resolved["sparsity"]}
    return parts


def run_id(cfg: DictConfig | Config | Mapping[str, Any]) -> str:
    """Returns the run's name: 12 hexadecimal digits, equal for two configs exactly when their runs are equal.

    Args:
        cfg: a composed config, a checked one, or a checked one as plain containers.
    """
    if isinstance(cfg, DictConfig):
        cfg = checked(cfg)
    parts = identity(asdict(cfg) if isinstance(cfg, Config) else cfg)
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def _without(node: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in node.items() if key not in keys}
