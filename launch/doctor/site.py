"""A SLURM site: its partitions, limits and accounts, and whether a cluster's settings fit them."""

from __future__ import annotations

import getpass
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

from dst.errors import UserError

from ..cluster import ClusterConfig
from ..slurm import run_command
from .finding import Finding


@dataclass(frozen=True)
class Partition:
    """Nodes of one partition that are alike.

    Attributes:
        name: of the partition.
        default: whether jobs go there that name none.
        hours: time limit of its jobs; None: unlimited.
        gpus: on each node, by type; ``gpu`` where SLURM knows no type.
        features: for ``cluster.constraint``.
        nodes: how many.
    """

    name: str
    default: bool
    hours: float | None
    gpus: dict[str, int]
    features: tuple[str, ...]
    nodes: int

    @classmethod
    def parsed(cls, line: str) -> Partition:
        """Returns what a line of ``sinfo --format %P|%l|%G|%f|%D`` says."""
        name, limit, gres, features, nodes = line.split("|")
        return cls(
            name.rstrip("*"), name.endswith("*"), _hours(limit), _gpus(gres), _known(features.split(",")), int(nodes)
        )

    def __str__(self) -> str:
        gpus = " + ".join(f"{count} {kind}" for kind, count in self.gpus.items()) or "no GPU"
        limit = "without time limit" if self.hours is None else f"at most {self.hours:g} h"
        features = f", features {', '.join(self.features)}" if self.features else ""
        default = " (default)" if self.default else ""
        return f"partition {self.name}{default}: {self.nodes} nodes with {gpus}, {limit}{features}"


@dataclass(frozen=True)
class Site:
    """What SLURM's commands say.

    Attributes:
        partitions: groups of alike nodes.
        config: of the controller, by key.
        accounts: of this user, where there is accounting.
        qos: likewise.
        max_submit: most jobs that this user may have in the queue; None for no limit.
    """

    partitions: tuple[Partition, ...]
    config: dict[str, str]
    accounts: tuple[str, ...] = ()
    qos: tuple[str, ...] = ()
    max_submit: int | None = None

    @classmethod
    def read(cls) -> Site | None:
        """Asks SLURM; None if its commands are not here.

        Raises:
            UserError: if SLURM does not answer.
        """
        if not shutil.which("sinfo"):
            return None
        lines = run_command("sinfo", "--noheader", "--format", "%P|%l|%G|%f|%D").splitlines()
        pairs = re.findall(r"^(\w+)\s*=\s*(.*?)\s*$", run_command("scontrol", "show", "config"), re.MULTILINE)
        config, rows = dict(pairs), ""
        if shutil.which("sacctmgr") and config.get("AccountingStorageType", "(null)") not in ("(null)", "none"):
            try:
                user = f"user={getpass.getuser()}"
                what = ("show", "assoc", user, "format=account,qos,maxsubmitjobs")
                rows = run_command("sacctmgr", "--noheader", "--parsable2", *what)
            except UserError:  # the accounting's own server may be down; jobs can be submitted nevertheless
                pass
        return cls(tuple(map(Partition.parsed, lines)), config, *_associations(rows))

    def findings(self) -> Iterator[Finding]:
        """Says what there is."""
        version = self.config.get("SLURM_VERSION", "of unknown version")
        size = self.config.get("MaxArraySize", "1001")
        yield Finding("ok", f"SLURM {version}, {size} jobs an array; larger sweeps get several arrays")
        for partition in self.partitions:
            yield Finding("ok", str(partition))
        if len(self.accounts) > 1:
            yield Finding("note", f"accounts {', '.join(self.accounts)}: choose with cluster.account=…")
        if self.config.get("PreemptMode", "OFF") != "OFF":
            grace = self.config.get("KillWait", "30 sec")
            yield Finding("note", f"jobs may be preempted (PreemptMode={self.config['PreemptMode']}, KillWait={grace})")


def check_cluster(site: Site, cluster: ClusterConfig) -> Iterator[Finding]:
    """Says whether jobs with a cluster's settings could start at the site.

    Args:
        site: as SLURM describes it.
        cluster: with executor slurm.
    """
    name = f"cluster={cluster.name}"
    chosen = [part for part in site.partitions if part.name == cluster.partition or cluster.partition is None]
    if cluster.partition is None:
        chosen = [part for part in chosen if part.default] or chosen
        if not any(part.default for part in chosen):
            yield Finding("wrong", f"{name}: SLURM has no default partition; give cluster.partition=…")
    if not chosen:
        names = ", ".join(dict.fromkeys(part.name for part in site.partitions))
        yield Finding("wrong", f"{name}: cluster.partition={cluster.partition} does not exist; choose one of {names}")
        return
    if cluster.account and site.accounts and cluster.account not in site.accounts:
        names = ", ".join(site.accounts)
        yield Finding("wrong", f"{name}: cluster.account={cluster.account} is not yours; choose one of {names}")
    if cluster.qos and site.qos and cluster.qos not in site.qos:
        yield Finding("wrong", f"{name}: cluster.qos={cluster.qos} is not yours; choose one of {', '.join(site.qos)}")
    if site.max_submit is not None and cluster.max_jobs > site.max_submit:
        limit = f"{name}: you may have {site.max_submit} jobs in the queue; give cluster.max_jobs={site.max_submit}"
        yield Finding("wrong", limit)
    asked, fitting = re.findall(r"\w+", cluster.constraint or ""), chosen
    if len(asked) == 1:
        fitting = [part for part in chosen if asked[0] in part.features]
    if not fitting:
        known = ", ".join(dict.fromkeys(feature for part in chosen for feature in part.features)) or "none there"
        yield Finding("wrong", f"{name}: no node has cluster.constraint={cluster.constraint}; features: {known}")
        return
    most = max(sum(part.gpus.values()) for part in fitting)
    if (cluster.gpus or 0) > most:
        advice = "give cluster.gpus=0 to train on CPUs" if not most else f"give cluster.gpus={most} or fewer"
        yield Finding("wrong", f"{name}: cluster.gpus={cluster.gpus}, but its nodes have {most}; {advice}")
        return
    nodes = sum(part.nodes for part in fitting)
    if cluster.nodes > nodes:
        yield Finding("wrong", f"{name}: cluster.nodes={cluster.nodes}, but {nodes} nodes fit; give {nodes} or fewer")
        return
    limits = [part.hours for part in fitting if part.hours is not None]
    if limits and len(limits) == len(fitting) and cluster.hours > max(limits):
        advice = f"give cluster.hours={max(limits):g} or less"
        yield Finding("wrong", f"{name}: cluster.hours={cluster.hours:g} is above the limit; {advice}")
        return
    size = f"{cluster.nodes} nodes, " if cluster.nodes > 1 else ""
    size += f"{cluster.gpus or 'no'} GPU{' each' if size else ''} and {cluster.hours:g} h"
    yield Finding("ok", f"{name}: {nodes} nodes can take its jobs, of {size}")


def _associations(rows: str) -> tuple[tuple[str, ...], tuple[str, ...], int | None]:
    """Returns accounts, QOS and the least limit of jobs that lines of ``sacctmgr`` name."""
    cells = [row.split("|") for row in rows.splitlines()]
    accounts = dict.fromkeys(account for account, _, _ in cells)
    qos = dict.fromkeys(name for _, names, _ in cells for name in names.split(",") if name)
    return tuple(accounts), tuple(qos), min((int(limit) for _, _, limit in cells if limit.isdigit()), default=None)


def _hours(limit: str) -> float | None:
    """Returns the hours of SLURM's ``days-hours:minutes:seconds``, whose front parts may be missing."""
    if not re.match(r"[\d:-]+$", limit):
        return None  # infinite, n/a
    days, dash, clock = limit.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    if dash:
        hours, minutes, seconds = [*parts, 0, 0][:3]
    else:
        hours, minutes, seconds = ([0, 0] + parts + ([0] if len(parts) == 1 else []))[-3:]
    return 24 * int(days or 0) + hours + minutes / 60 + seconds / 3600


def _gpus(gres: str) -> dict[str, int]:
    """Returns the GPUs of ``gpu:a100:4(S:0-1),gpu:2``, by type."""
    found: dict[str, int] = {}
    for kind, count in re.findall(r"\bgpu(?::([A-Za-z][\w.-]*))?:(\d+)", gres):
        found[kind or "gpu"] = found.get(kind or "gpu", 0) + int(count)
    return found


def _known(features: list[str]) -> tuple[str, ...]:
    return tuple(feature for feature in features if feature not in ("", "(null)"))
