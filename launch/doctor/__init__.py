"""``python -m launch doctor``: what a site has, and which settings fit it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from dst.commands import LAUNCH
from dst.errors import UserError

from ..arguments import Arguments
from .cluster_file import check_name, write_cluster
from .finding import Finding
from .machine import check_machine
from .network import check_network
from .node import check_node
from .site import Site, check_cluster
from .storage import check_storage


def doctor(arguments: Arguments) -> int:
    """Prints what was found, one line each; returns the exit status: 1 if something keeps runs from being trained."""
    wrong = False
    for finding in _findings(arguments):
        print(finding, flush=True)
        wrong |= finding.level == "wrong"
    return int(wrong)


def _findings(arguments: Arguments) -> Iterator[Finding]:
    if name := arguments.launch.write:
        check_name(name)
    yield from check_machine()
    slurm_wanted, site = any(cluster.executor == "slurm" for cluster in arguments.clusters), None
    try:
        site = Site.read()
    except UserError as error:
        yield Finding("wrong" if slurm_wanted else "note", f"SLURM is installed here but does not answer: {error}")
    if site is None and not shutil.which("sinfo"):
        missing = "no SLURM here (sinfo is not found): cluster=local trains on this machine"
        yield Finding("wrong" if slurm_wanted else "note", missing)
    if site is not None:
        yield from site.findings()
        for cluster in arguments.clusters:
            if cluster.executor == "slurm":
                yield from check_cluster(site, cluster)
    yield from check_storage(arguments.output_dir, shared=site is not None)
    yield from check_network()
    if arguments.launch.on_node:
        for cluster in arguments.clusters:
            if cluster.executor != "slurm":
                raise UserError(f"on_node=true: is for a SLURM cluster; give cluster=NAME, not cluster={cluster.name}")
            yield from check_node(cluster, arguments.output_dir)
    if name:
        path = write_cluster(name, site, arguments.clusters[0])
        yield Finding("ok", f"wrote {path}; use it with: {LAUNCH} submit … cluster={name}")
    elif site is not None:
        yield Finding("note", f"{LAUNCH} doctor write=NAME writes conf/cluster/NAME.yaml for this site")
