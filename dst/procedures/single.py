"""The procedure of dense, static and dynamic sparse training."""

from __future__ import annotations

from dataclasses import dataclass

from dst.procedures.base import Procedure
from dst.training.phase import Phase


@dataclass(frozen=True)
class SinglePhase(Procedure):
    """One phase: dense, static or dynamic, as ``density`` and ``update_period`` say."""

    def phases(self, epochs: int, density: float | None) -> list[Phase]:
        """Returns one phase of ``epochs``."""
        return [Phase("train", epochs, density)]
