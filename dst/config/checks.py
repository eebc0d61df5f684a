"""Checks of a composed config, before any work: every mistake is one line with the key, its value and what is valid."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dst.config.components import build, parameters, resolve, told_by
from dst.config.identity import UPDATING, hashed, method_of, uses_parent
from dst.config.limits import check_limits
from dst.config.mistakes import explain
from dst.config.parent import parent_node
from dst.config.schema import Config, DatasetConfig
from dst.config.tree import component, options
from dst.errors import UserError, unknown

_COMPONENTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "model": ("torch.nn:Module", ("input_shape", "outputs")),
    "criterion": ("dst.sparsity:Criterion", ()),
    "growth": ("dst.sparsity:Growth", ()),
    "prune_fraction": ("dst.sparsity:Schedule", ()),
    "procedure": ("dst.procedures:Procedure", ()),
    "task": ("dst.tasks:Task", ()),
    "lr_schedule": ("dst.training.lr_schedule:LRSchedule", ()),
}
"""Per group: the class of what it builds, imported when needed, and the arguments that only a run can give it."""


def checked(cfg: DictConfig | Config) -> Config:
    """Returns the composed config as typed objects, every value checked, with the run id of its parent.

    Raises:
        UserError: one line with the key, its value and what would be valid.
    """
    config = checked_alone(cfg)
    parent = parent_of(config)
    config.parent_id = run_id(parent) if parent else None
    return config


def checked_alone(cfg: DictConfig | Config) -> Config:
    """Returns what :func:`checked` does, but for the parent, which is not looked at."""
    try:
        node = OmegaConf.merge(OmegaConf.structured(Config), cfg)
        config = OmegaConf.to_object(node)
    except OmegaConfBaseException as error:
        raise UserError(explain(error)) from error
    assert isinstance(config, Config)
    check_limits(config)
    for group, (kind, runtime) in _COMPONENTS.items():
        _check_component(group, getattr(config, group), kind, runtime)
    _check_probes(config)
    check_dataset(config.dataset)
    for key in ("initial", "stop_at"):
        if not 0 <= config.prune_fraction.get(key, 1.0) <= 1:
            raise UserError(f"prune_fraction.{key}={config.prune_fraction[key]}: must lie in [0, 1]")
    _check_procedure(config)
    by_momentum = getattr(resolve("growth", config.growth), "signal", None) == "momentum"
    if by_momentum and config.sparsity.momentum != "dense":
        raise UserError(
            f"sparsity.momentum={config.sparsity.momentum}: growth={config.growth['name']} needs the momentum of "
            "inactive weights; set dense"
        )
    for key in ("include", "exclude"):  # in any order, they are one config
        if patterns := getattr(config.sparsity, key):
            setattr(config.sparsity, key, sorted(set(patterns)))
    config.parent_id = None
    return config


def parent_of(config: Config | Mapping[str, Any]) -> Config | None:
    """Returns the checked config of the run that a run starts from; None where it takes nothing from another run.

    It is ``config`` with ``parent``, ``initial_mask`` and ``weight_init`` at their defaults, to which the overrides in
    ``parent`` are applied.

    Args:
        config: as :func:`checked` returns it, or that as plain containers.

    Raises:
        UserError: for a parent that cannot be, or that does not go with the run.
    """
    resolved = asdict(config) if isinstance(config, Config) else config
    if not uses_parent(resolved):
        return None
    takes_masks = resolved["initial_mask"]["name"] == "parent"
    if resolved["parent"] is None:
        taken = "initial_mask=parent" if takes_masks else f"weight_init={resolved['weight_init']['name']}"
        raise UserError(
            f"{taken}: of which run? give the overrides that lead to it, such as parent='[procedure=gradual]'"
        )
    given = f"parent=[{','.join(resolved['parent'])}]"
    try:
        parent = checked(OmegaConf.create(parent_node(resolved, resolved["parent"])))
    except UserError as error:
        raise UserError(f"{given}: {error}") from error
    ours, theirs = resolved["model"]["name"], parent.model["name"]
    if ours != theirs:
        raise UserError(f"{given}: is a {theirs}, this run a {ours}; masks and weights fit one model")
    key, density = _first_density(resolved)
    if takes_masks and parent.density.value != density:
        masks = "is dense, without masks" if parent.density.value is None else f"has density {parent.density.value:g}"
        raise UserError(f"{key}={density}: its masks are those of its parent, which {masks}")
    return parent


def _first_density(resolved: Mapping[str, Any]) -> tuple[str, float | None]:
    """Returns the density of a run's first masks and the key that says it."""
    if method_of(resolved) == "sculpt":
        return "procedure.start_density", resolved["procedure"]["start_density"]
    return "density.value", resolved["density"]["value"]


def _check_procedure(config: Config) -> None:
    if config.method in ("iterative", "sculpt") and isinstance(
        build("criterion", config.criterion), pkgutil.resolve_name("dst.sparsity:RunningCriterion")
    ):
        raise UserError(
            f"criterion={config.criterion['name']}: averages its scores over the steps between topology updates, "
            f"procedure={config.procedure['name']} has none; choose magnitude or another one"
        )
    if config.procedure.get("cycles") == "auto" and not config.dataset.val_size:
        raise UserError(
            "procedure.cycles=auto: goes by the validation accuracy, which is that of the test data with "
            "dataset.val_size=0; hold samples out, such as dataset.val_size=0.1, or give a number of cycles"
        )
    procedure = build("procedure", config.procedure)
    try:
        phases = procedure.phases(config.recipe.epochs, config.density.value)
    except ValueError as error:
        raise UserError(f"procedure={config.procedure['name']}: {error}") from error
    if not any(phase.updates == "gradual" for phase in phases):
        return
    if getattr(resolve("criterion", config.criterion), "signal", "gradient") != "gradient":
        raise UserError(
            f"criterion={config.criterion['name']}: scores by second derivatives, "
            f"procedure={config.procedure['name']} prunes by the batch's gradient; choose snip or another one"
        )
    for group, value in (("density", config.density.value), ("update_period", config.update_period.steps)):
        if value is None:
            choice = "dense" if group == "density" else "never"
            raise UserError(f"{group}={choice}: procedure={config.procedure['name']} prunes; give a number")


def _check_probes(config: Config) -> None:
    for name, node in config.probes.items():
        if not (isinstance(node, dict) and str(name).isidentifier() and node.get("name") == name):
            raise UserError(f"probes.{name}: is no probe; choose some with probes=[{','.join(options('probes'))}]")
        _check_component(f"probes.{name}", node, "dst.probes:Probe", ())
        of_updates = getattr(resolve(f"probes.{name}", node), "of_updates", False)
        if of_updates and config.sparsity.update_order == "after" and config.method in UPDATING:
            raise UserError(
                f"probes.{name}: measures topology updates before the optimizer step, sparsity.update_order=after has "
                "none there; leave one of the two out"
            )


def _check_component(group: str, node: dict[str, Any], kind_name: str, runtime: tuple[str, ...]) -> None:
    """Coerces the node's values to the annotated types of its target, so that 1 and 1.0 are one config."""
    kind = pkgutil.resolve_name(kind_name)
    if not all(isinstance(node.get(key), str) for key in ("_target_", "name")):
        raise UserError(f"{group}: the config needs _target_ (what to build) and name (what to call it), two strings")
    target = resolve(group, node, kind)
    given = parameters(group, node, target)
    if clash := set(given) & set(runtime):
        raise UserError(f"{group}.{clash.pop()}: comes from the dataset and cannot be set")
    if not runtime:
        try:
            build(group, node, kind)
        except Exception as error:  # what a user's class may do
            if str(error).startswith(f"{group}."):  # names the key itself
                raise UserError(str(error)) from error
            raise UserError(told_by(error, f"{group}={node['name']}: cannot be built")) from error
    node.update(given)
    check_limits(node, group)


def run_id(cfg: DictConfig | Config | Mapping[str, Any]) -> str:
    """Returns the run's name: 12 hexadecimal digits, equal for two configs exactly when their runs are equal.

    Args:
        cfg: a composed config, a checked one, or a checked one as plain containers.
    """
    if isinstance(cfg, DictConfig):
        cfg = checked(cfg)
    return hashed(asdict(cfg) if isinstance(cfg, Config) else cfg)


def check_dataset(cfg: DatasetConfig) -> None:
    """Replaces ``like`` by the values it stands for, so that a run is the same however it was asked for.

    Raises:
        UserError: one line with key, value and what would be valid, for a value that no dataset can have.
    """
    if cfg.like is not None:
        _take_from(cfg, cfg.like)
    check_limits(cfg, "dataset")
    if cfg.image_size is not None and cfg.source not in pkgutil.resolve_name("dst.data.sources:RESIZED"):
        raise UserError(f"dataset.image_size={cfg.image_size}: only images in folders are resized, leave it null")
    if cfg.store == "resized":
        _check_resized(cfg)


def _check_resized(cfg: DatasetConfig) -> None:
    if cfg.source not in pkgutil.resolve_name("dst.data.sources:STREAMED"):
        raise UserError(f"dataset.store=resized: dataset={cfg.name} is decoded once anyway; leave it at original")
    if (cfg.image_size or 0) > 224:
        raise UserError(
            f"dataset.image_size={cfg.image_size}: dataset.store=resized keeps 256 pixels of the shorter side, enough "
            "for 224 or less; choose dataset.store=original"
        )


def _take_from(cfg: DatasetConfig, like: str) -> None:
    known = {name: component("dataset", name) for name in options("dataset")}
    valid = [name for name, node in known.items() if node.get("source", "image_folder") != "image_folder"]
    if like not in valid:
        raise UserError(f"dataset.like={like}: {unknown(like, valid)}")
    for key in ("mean", "std"):
        given = getattr(cfg, key)
        if given not in (None, known[like][key]):
            raise UserError(f"dataset.{key}={given}: dataset.like={like} says {known[like][key]}; give one of the two")
        setattr(cfg, key, known[like][key])
    cfg.augment, cfg.like = known[like]["augment"], None
