"""A phase: a stretch of training with its own learning-rate schedule, optimizer and topology updates."""

from __future__ import annotations

from dataclasses import dataclass

UPDATES = ("none", "dynamic", "gradual")
"""What may happen to the masks within a phase: nothing, prune and grow, or prune until a density is reached."""


@dataclass(frozen=True)
class Phase:
    """A stretch of training. Phases are known before a run starts, so that plans can count and cost them.

    The first phase draws its masks, a later one goes on with those of the phase before.

    Attributes:
        name: such as ``cycle 2``.
        epochs: its length.
        density: of the sparsifiable weights at its end; None: no masks at all.
        updates: one of :data:`UPDATES`; has no effect on a dense run.
        keep_at: epochs of the phase after which its weights are kept, for the procedure to take back later as
            ``training.kept``; 0: at its start, None: not at all.
        prune_span: of gradual updates: when pruning begins and when it ends, as shares of the phase's steps.
    """

    name: str
    epochs: int
    density: float | None
    updates: str = "dynamic"
    prune_span: tuple[float, float] = (0.0, 1.0)
    keep_at: int | None = None

    def __post_init__(self) -> None:
        if self.updates not in UPDATES:
            raise ValueError(f"updates={self.updates}: choose {' or '.join(UPDATES)}")
        if self.epochs < 0:
            raise ValueError(f"epochs={self.epochs}: must be 0 or more")
        if self.keep_at is not None and not 0 <= self.keep_at <= self.epochs:
            raise ValueError(f"keep_at={self.keep_at}: must be 0 to {self.epochs}, the epochs of phase {self.name}")
        if self.density is not None and not 0 < self.density <= 1:
            raise ValueError(f"density={self.density:g}: must lie in (0, 1]")

    @property
    def starts_dense(self) -> bool:
        """Whether all weights are active at its first step, if it is the first phase of a run."""
        return self.density in (None, 1.0) or self.updates == "gradual"
