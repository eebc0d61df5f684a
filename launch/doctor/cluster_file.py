"""A file of ``conf/cluster`` for a site."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from dst.config.tree import CONF_DIR, options
from dst.errors import UserError

from ..cluster import ClusterConfig
from .site import Partition, Site


def check_name(name: str) -> None:
    """Raises UserError unless ``name`` can be that of a new file of ``conf/cluster``."""
    if not re.fullmatch(r"\w[\w-]*", name):
        raise UserError(f"write={name}: must be letters, digits, _ and -")
    if name in options("cluster"):
        raise UserError(f"write={name}: conf/cluster/{name}.yaml exists; choose another name, or edit it")


def write_cluster(name: str, site: Site | None, cluster: ClusterConfig) -> Path:
    """Writes ``conf/cluster/<name>.yaml`` from what SLURM says and what was given on the command line.

    Args:
        name: of the new choice of ``cluster=``.
        site: the SLURM site; None without SLURM.
        cluster: its settings are kept where they are not those of ``conf/cluster/slurm.yaml`` or above the site's.

    Returns:
        The file's path.

    Raises:
        UserError: if the name is taken or no file's name, or SLURM has no partition that fits.
    """
    check_name(name)
    if site is None:
        raise UserError(f"write={name}: there is no SLURM here to describe; cluster=local needs no file")
    path = CONF_DIR / "cluster" / f"{name}.yaml"
    path.write_text(cluster_yaml(name, site, cluster))
    return path


def cluster_yaml(name: str, site: Site, cluster: ClusterConfig) -> str:
    """Returns the text of the file.

    Args:
        name: of the new choice of ``cluster=``.
        site: the SLURM site.
        cluster: as for :func:`write_cluster`.

    Raises:
        UserError: if SLURM has no such partition.
    """
    kept = _given(cluster)
    wanted = kept.pop("partition", None)
    candidates = [part for part in site.partitions if wanted in (None, part.name)]
    if not candidates:
        raise UserError(f"cluster.partition={wanted}: SLURM has no such partition")
    chosen = max(candidates, key=lambda part: (bool(part.gpus), part.default, part.nodes))
    settings: dict[str, Any] = {"partition": chosen.name}
    if site.accounts:
        settings["account"] = site.accounts[0]
    if not chosen.gpus:
        settings["gpus"] = 0
    if site.max_submit is not None and site.max_submit < cluster.max_jobs:
        settings["max_jobs"] = site.max_submit
        kept.pop("max_jobs", None)
    if chosen.hours is not None and chosen.hours < cluster.hours:
        settings["hours"] = chosen.hours
        kept.pop("hours", None)
    remarks = {
        "partition": f"there are {', '.join(dict.fromkeys(part.name for part in site.partitions))}",
        "account": f"yours are {', '.join(site.accounts) or 'not known'}",
        "hours": "the partition's limit",
        "max_jobs": "the most that you may have in the queue",
    }
    lines = [
        f"{key}: {_as_yaml(value)}" + (f"  # {remarks[key]}" if key in remarks and key not in kept else "")
        for key, value in (settings | kept).items()
    ]
    if "constraint" not in kept:
        lines.append(f"constraint: null{_features(site.partitions, chosen.name)}")
    about = "What this site's SLURM said; slurm.yaml explains each setting and has further ones."
    return "\n".join([f"# {about}", "defaults:", "  - slurm", "  - _self_", "", f"name: {name}", *lines, ""])


def _given(cluster: ClusterConfig) -> dict[str, Any]:
    """Returns the settings that differ from those of ``slurm.yaml``."""
    if cluster.executor != "slurm":
        return {}
    file = OmegaConf.load(CONF_DIR / "cluster" / "slurm.yaml")
    defaults: Any = OmegaConf.to_container(OmegaConf.merge(ClusterConfig, file))
    settings = {key: value for key, value in asdict(cluster).items() if key not in ("name", "executor")}
    return {key: value for key, value in settings.items() if value != defaults[key]}


def _as_yaml(value: Any) -> str:
    text: str = yaml.safe_dump(value, default_flow_style=True, width=1000, allow_unicode=True)
    return text.removesuffix("\n...\n").strip()


def _features(partitions: tuple[Partition, ...], name: str) -> str:
    features = dict.fromkeys(feature for part in partitions if part.name == name for feature in part.features)
    return f"  # its nodes' features: {', '.join(features)}" if features else ""
