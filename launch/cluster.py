"""Where runs are trained: the schema of ``conf/cluster`` and of ``conf/launch.yaml``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from dst.errors import UserError


@dataclass
class ClusterConfig:
    """Group ``cluster``; ``conf/cluster/slurm.yaml`` explains each setting."""

    name: str = MISSING
    executor: str = MISSING
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    gpus: int | None = 1
    extra: dict[str, Any] = field(default_factory=dict)
    cpus_per_run: int = 2
    mem_gb_per_run: float = 8
    hours: float = 4.0
    signal_s: int = 120
    parallel: int = 256
    max_jobs: int = 1000
    runs_per_gpu: int | None = None
    runs_per_job: int | None = None
    python: str | None = None
    setup: list[str] = field(default_factory=list)

    def check(self) -> None:
        """Raises UserError for a value no cluster can have."""
        if self.executor not in ("local", "slurm"):
            raise UserError(f"cluster.executor={self.executor}: choose local or slurm")
        for key in ("cpus_per_run", "mem_gb_per_run", "hours", "parallel", "max_jobs", "runs_per_gpu", "runs_per_job"):
            value = getattr(self, key)
            if value is not None and value <= 0:
                raise UserError(f"cluster.{key}={value}: must be above 0")
        if self.gpus is not None and self.gpus < 0:
            raise UserError(f"cluster.gpus={self.gpus}: must be 0 or more")
        if 60 * self.hours * 60 < 2 * self.signal_s:
            raise UserError(
                f"cluster.hours={self.hours}: leaves no time to train before cluster.signal_s={self.signal_s}"
            )


@dataclass
class LaunchConfig:
    """What ``python -m launch`` takes besides what goes to the runs."""

    cluster: ClusterConfig = MISSING
    name: str | None = None
    output_dir: str = "outputs"
    retry: str | None = None
    dry_run: bool = False
    watch: bool = False
    replace: bool = False
    rerun: bool = False
    jobs: int = 4
    entity: str | None = None
    project: str | None = None


ConfigStore.instance().store(name="launch_schema", node=LaunchConfig)
