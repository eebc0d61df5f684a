"""Dynamic sparse training in anybody's loop: criteria, growth, schedules, distributions and the topology update."""

from dst.sparsity.criteria import MEST, SET, SNIP, Criterion, Magnitude, Random, RSensitivity, Sensitivity
from dst.sparsity.distribution import DISTRIBUTIONS, draw_mask, layer_densities
from dst.sparsity.dynamic import DynamicSparsity, sparsifiable_weights
from dst.sparsity.growth import GradientGrowth, Growth, MomentumGrowth, RandomGrowth
from dst.sparsity.registry import make_criterion, make_growth, make_schedule
from dst.sparsity.schedule import Constant, Cosine, Linear, Schedule
from dst.sparsity.topology import grow_mask, prune_mask

__all__ = [
    "DISTRIBUTIONS",
    "MEST",
    "SET",
    "SNIP",
    "Constant",
    "Cosine",
    "Criterion",
    "DynamicSparsity",
    "GradientGrowth",
    "Growth",
    "Linear",
    "Magnitude",
    "MomentumGrowth",
    "RSensitivity",
    "Random",
    "RandomGrowth",
    "Schedule",
    "Sensitivity",
    "draw_mask",
    "grow_mask",
    "layer_densities",
    "make_criterion",
    "make_growth",
    "make_schedule",
    "prune_mask",
    "sparsifiable_weights",
]
