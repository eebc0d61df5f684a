"""Dynamic sparse training for any PyTorch training loop: criteria, growth, schedules, distributions, updates."""

from dst.sparsity.criteria import (
    MEST,
    SET,
    SNIP,
    Criterion,
    GradStep,
    GraSP,
    Magnitude,
    Random,
    RSensitivity,
    RunningCriterion,
    RunningMagnitude,
    RunningSNIP,
    Sensitivity,
    SNIPHalf,
    TaylorFO,
)
from dst.sparsity.dense import DenseModel
from dst.sparsity.distribution import DISTRIBUTIONS, draw_mask, layer_densities
from dst.sparsity.dynamic import DynamicSparsity
from dst.sparsity.gradual import GradualPruning
from dst.sparsity.growth import GradientGrowth, Growth, InvertedGradientGrowth, MomentumGrowth, RandomGrowth
from dst.sparsity.initial_masks import INITIAL_MASKS, disconnected_layers, initial_masks
from dst.sparsity.masked import MaskedModel
from dst.sparsity.registry import make_criterion, make_growth, make_schedule
from dst.sparsity.schedule import Constant, Cosine, LearningRate, Linear, Schedule
from dst.sparsity.scores import normalised
from dst.sparsity.topology import grow_mask, prune_mask
from dst.sparsity.weight_init import layer_scaled_init, sparsity_aware_init
from dst.sparsity.weights import dense_weights, register_linear, sparsifiable_weights

__all__ = [
    "DISTRIBUTIONS",
    "INITIAL_MASKS",
    "MEST",
    "SET",
    "SNIP",
    "Constant",
    "Cosine",
    "Criterion",
    "DenseModel",
    "DynamicSparsity",
    "GraSP",
    "GradStep",
    "GradientGrowth",
    "GradualPruning",
    "Growth",
    "InvertedGradientGrowth",
    "LearningRate",
    "Linear",
    "Magnitude",
    "MaskedModel",
    "MomentumGrowth",
    "RSensitivity",
    "Random",
    "RandomGrowth",
    "RunningCriterion",
    "RunningMagnitude",
    "RunningSNIP",
    "SNIPHalf",
    "Schedule",
    "Sensitivity",
    "TaylorFO",
    "dense_weights",
    "disconnected_layers",
    "draw_mask",
    "grow_mask",
    "initial_masks",
    "layer_densities",
    "layer_scaled_init",
    "make_criterion",
    "make_growth",
    "make_schedule",
    "normalised",
    "prune_mask",
    "register_linear",
    "sparsifiable_weights",
    "sparsity_aware_init",
]
