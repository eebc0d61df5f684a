"""The keys that every command takes: which runs to read, and where to write results."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dst.errors import UserError
from dst.run.layout import runs_dir


@dataclass(frozen=True)
class Source:
    """The keys that every command takes.

    Attributes:
        sweep: only the runs of this sweep's plan; results then go to ``<results_dir>/<sweep>``.
        output_dir: the ``output_dir`` of ``dst.train`` and ``launch``.
        dir: the parent of the run directories, if not ``<output_dir>/runs``.
        results_dir: for the tables, figures and the report.
        source: ``runs`` (run directories) or ``wandb`` (a W&B project); None: that of the last ``collect`` into
            the same results folder, unless ``dir`` or ``output_dir`` is given.
        entity: of the W&B project; None: the default entity of the W&B login.
        project: of W&B.
        where: an expression that selects runs, such as ``"density <= 0.2"``; see :mod:`dst.run.where`.
    """

    sweep: str | None = None
    output_dir: Path = Path("outputs")
    dir: Path | None = None
    results_dir: Path = Path("results")
    source: str | None = None
    entity: str | None = None
    project: str = "fantastic-weights"
    where: str | None = None

    def __post_init__(self) -> None:
        if self.source not in (None, "runs", "wandb"):
            raise UserError(f"source={self.source}: choose one of runs, wandb")
        if self.sweep is not None and ("/" in self.sweep or self.sweep in (".", "..")):
            raise UserError(f"sweep={self.sweep}: give the name of a planned sweep, such as demo")

    @property
    def runs_dir(self) -> Path:
        """The parent of the run directories."""
        return self.dir or runs_dir(self.output_dir)

    @property
    def location_given(self) -> bool:
        """Whether the location of run directories is given; if not, runs cached from W&B are used."""
        return self.source == "runs" or self.dir is not None or self.output_dir != Source.output_dir

    @property
    def results(self) -> Path:
        """The results folder of the sweep, or of all runs."""
        return self.results_dir / self.sweep if self.sweep else self.results_dir
