"""Where runs are trained: schemas of ``conf/cluster`` and of ``conf/launch.yaml``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from dst.config.limits import BOOLEAN, Boolean, limited, one_of
from dst.errors import UserError

if TYPE_CHECKING:
    from dst.run.plan import PlannedRun

_POSITIVE = limited(lambda value: value > 0, "must be above 0")


@dataclass
class ClusterConfig:
    """Group ``cluster``; ``conf/cluster/slurm.yaml`` explains each setting."""

    name: str = MISSING
    executor: str = field(default=MISSING, metadata=one_of("local", "slurm"))
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    gpus: int | None = field(default=1, metadata=limited(lambda value: value >= 0, "must be 0 or more"))
    gpus_per_run: int = field(default=1, metadata=_POSITIVE)
    nodes: int = field(default=1, metadata=_POSITIVE)
    extra: dict[str, Any] = field(default_factory=dict)
    cpus_per_run: int = field(default=2, metadata=_POSITIVE)
    mem_gb_per_run: float = field(default=8, metadata=_POSITIVE)
    hours: float = field(
        default=4.0, metadata=limited(lambda value: 0 < value <= 24 * 366, "must be above 0 and at most a year")
    )
    signal_s: int = field(default=120, metadata=limited(lambda value: value >= 0, "must be 0 or more"))
    parallel: int = field(default=256, metadata=_POSITIVE)
    max_jobs: int = field(default=1000, metadata=_POSITIVE)
    runs_per_gpu: int | None = field(default=None, metadata=_POSITIVE)
    runs_per_job: int | None = field(default=None, metadata=_POSITIVE)
    python: str | None = None
    setup: list[str] = field(default_factory=list)
    on_end: str | None = None

    def check(self) -> None:
        """Raises UserError for values that contradict each other."""
        if 60 * self.hours * 60 < 2 * self.signal_s:
            raise UserError(
                f"cluster.hours={self.hours}: leaves no time to train before cluster.signal_s={self.signal_s}"
            )
        if self.nodes > 1 and self.executor != "slurm":
            raise UserError(
                f"cluster.nodes={self.nodes}: cluster={self.name} is this machine alone; give a cluster of SLURM, or 1"
            )
        if self.ranks > 1 and (self.runs_per_gpu or 1) > 1:
            raise UserError(
                f"cluster.runs_per_gpu={self.runs_per_gpu}: a run with {self._ranks_given} has its GPUs for itself; "
                "give cluster.runs_per_gpu=null"
            )
        if (self.gpus or 0) % self.gpus_per_run:
            raise UserError(
                f"cluster.gpus={self.gpus}: is not divisible by cluster.gpus_per_run={self.gpus_per_run}; "
                "give a multiple"
            )

    def check_runs(self, runs: Iterable[PlannedRun]) -> None:
        """Raises UserError for a run that :attr:`ranks` processes cannot train together."""
        ranks, given = self.ranks, self._ranks_given
        for recipe, device in ((run.config["recipe"], run.config["device"]) for run in runs if ranks > 1):
            if recipe["batch_size"] % ranks:
                raise UserError(
                    f"recipe.batch_size={recipe['batch_size']}: with {given} each process gets an "
                    f"equal share; give a multiple of {ranks}"
                )
            if recipe.get("sync_batch_norm") and device == "cpu":
                raise UserError(
                    f"recipe.sync_batch_norm=true: torch has it for CUDA only, not for device=cpu with "
                    f"{given}; give recipe.sync_batch_norm=false"
                )

    @property
    def ranks(self) -> int:
        """Number of processes that train each run together."""
        return self.nodes * self.gpus_per_run

    @property
    def _ranks_given(self) -> str:
        nodes = f"cluster.nodes={self.nodes} and " if self.nodes > 1 else ""
        return f"{nodes}cluster.gpus_per_run={self.gpus_per_run}"

    def runs_at_once(self, runs_per_gpu: int) -> int:
        """Returns how many runs a job trains at the same time.

        Args:
            runs_per_gpu: on each GPU, or on each group of ``gpus_per_run``; without a GPU, in total.
        """
        return runs_per_gpu * max(1, (self.gpus or 0) // self.gpus_per_run)


@dataclass
class LaunchConfig:
    """Settings of ``python -m launch`` itself; all other overrides go to the runs."""

    cluster: ClusterConfig = MISSING
    name: str | None = None
    output_dir: str = "outputs"
    retry: str | None = field(default=None, metadata=one_of("failed"))
    dry_run: Boolean = field(default=False, metadata=BOOLEAN)
    watch: Boolean = field(default=False, metadata=BOOLEAN)
    follow: Boolean = field(default=False, metadata=BOOLEAN)
    replace: Boolean = field(default=False, metadata=BOOLEAN)
    rerun: Boolean = field(default=False, metadata=BOOLEAN)
    yes: Boolean = field(default=False, metadata=BOOLEAN)
    shared: Boolean = field(default=False, metadata=BOOLEAN)
    checkpoints: Boolean = field(default=True, metadata=BOOLEAN)
    jobs: int = field(default=4, metadata=_POSITIVE)
    write: str | None = None
    on_node: Boolean = field(default=False, metadata=BOOLEAN)
    entity: str | None = None
    project: str | None = None


ConfigStore.instance().store(name="launch_schema", node=LaunchConfig)
