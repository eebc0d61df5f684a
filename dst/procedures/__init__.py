"""What a run consists of: the phases of its training and what happens between them."""

from dst.procedures.base import Procedure, planned_epochs, planned_phases
from dst.procedures.cyclic import Cyclic
from dst.procedures.gradual import Gradual
from dst.procedures.iterative import IMP, LRR, WR
from dst.procedures.sculpt import Sculpt
from dst.procedures.single import SinglePhase

__all__ = [
    "IMP",
    "LRR",
    "WR",
    "Cyclic",
    "Gradual",
    "Procedure",
    "Sculpt",
    "SinglePhase",
    "planned_epochs",
    "planned_phases",
]
