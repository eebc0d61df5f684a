"""What training takes of a GPU's memory, computed from the tensors that a step keeps."""

from __future__ import annotations

from tests.benchmarks.setups import SETUPS
from tests.benchmarks.steps import activations_mb

V100_MB = 16 * 1024


def test_resnet50_trains_at_its_batch_size_on_a_v100_in_half_precision() -> None:
    setup = next(setup for setup in SETUPS if setup.model == "resnet50")
    assert setup.config().recipe.batch_size == 256
    fp32 = activations_mb(setup)
    weights_mb = 25.6e6 / 2**20
    state = weights_mb * (4 + 4 + 4 + 4 + 1 + 1)  # weight, gradient, momentum, mask to apply, mask, explored
    assert fp32 > V100_MB  # which is why there is precision=fp16
    assert 0.5 * fp32 + state < 0.7 * V100_MB  # the rest is for cuDNN's workspaces and the context
