"""Probes: measurements taken while a run trains, which change nothing of it."""

from dst.probes.base import Probe, View
from dst.probes.gradient_flow import GradientFlow
from dst.probes.hessian import HessianSpectrum
from dst.probes.jaccard import Jaccard
from dst.probes.observer import Observer
from dst.probes.update_effect import UpdateEffect
from dst.probes.weights import Weights

__all__ = ["GradientFlow", "HessianSpectrum", "Jaccard", "Observer", "Probe", "UpdateEffect", "View", "Weights"]
