"""Operations counted as in the literature: by hand for two networks, and RigL's formula."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from dst.data.batches import TrainBatches
from dst.models import MLP, CifarResNet
from dst.sparsity import DynamicSparsity
from dst.training.flops import ForwardFlops, count_forward, training_flops

LARGE_MLP = 2 * (3072 * 1024 + 1024 * 512 + 512 * 10)


def test_large_mlp_is_counted_as_by_hand() -> None:
    forward = count_forward(MLP(input_shape=(3, 32, 32), outputs=10, hidden=[1024, 512]), (3, 32, 32))
    assert forward.total == LARGE_MLP == sum(forward.weights[name] for name in forward.weights if "weight" in name)


def test_resnet56_is_counted_as_by_hand() -> None:
    def block(inputs: int, width: int, size: int) -> int:
        return 2 * size**2 * 9 * width * (inputs + width)

    stem = 2 * 32**2 * 9 * 3 * 16
    stages = [
        block(16, 16, 32) * 9,
        block(16, 32, 16) + block(32, 32, 16) * 8,
        block(32, 64, 8) + block(64, 64, 8) * 8,
    ]
    forward = count_forward(CifarResNet(input_shape=(3, 32, 32), outputs=10), (3, 32, 32))
    shortcuts = 2 * 16**2 * 16 * 32 + 2 * 8**2 * 32 * 64
    assert forward.total == stem + sum(stages) + shortcuts + 2 * 64 * 10
    assert 0.12e9 < forward.total / 2 < 0.13e9  # the literature's 0.126 billion multiplications


def test_what_a_weight_takes_is_scaled_by_its_density_and_the_rest_is_not() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(4 * 6 * 6, 10))
    forward = count_forward(model, (1, 8, 8))
    assert forward.weights["0.weight"] == 2 * 36 * 9 * 4
    assert forward.weights["2.weight"] == 2 * 144 * 10
    assert forward.at({"0.weight": 0.5, "2.weight": 0.1}) == pytest.approx(36 * 9 * 4 + 0.2 * 144 * 10)


def test_attention_is_counted_with_its_packed_projection() -> None:
    model = nn.TransformerEncoderLayer(16, 2, dim_feedforward=32, batch_first=True)
    forward = count_forward(model, (5, 16))
    assert forward.weights["self_attn.in_proj_weight"] == 2 * 5 * 16 * 48
    assert forward.weights["self_attn.out_proj.weight"] == 2 * 5 * 16 * 16
    scores = 2 * 2 * 5 * 5 * 16  # queries with keys, and with values
    assert forward.total == sum(2 * 5 * size for size in (16 * 48, 16 * 16, 16 * 32, 32 * 16)) + scores


@pytest.mark.parametrize("period", [2, 10, 100])
def test_an_average_step_of_rigl_costs_what_the_paper_says(period: int) -> None:
    forward = ForwardFlops(1000, {"a": 800, "b": 200})
    densities = {"a": 0.1, "b": 0.5}
    sparse, dense = forward.at(densities), forward.total
    steps = 5 * (period + 1)  # the paper's Δt steps and then one with an update
    history = [(number * (period + 1), densities) for number in range(5)]
    total = training_flops(forward, lambda step: step, steps, history, dense_gradients="updates")
    average = (3 * sparse * period + 2 * sparse + dense) / (period + 1)
    last_has_no_update = dense - sparse
    assert total == pytest.approx(steps * average - last_has_no_update)


@pytest.mark.parametrize(
    ("choices", "expected"),
    [
        (("density=dense",), lambda dense, sparse: 3 * dense),
        (("update_period=never",), lambda dense, sparse: 3 * sparse),
        (("growth=random",), lambda dense, sparse: 3 * sparse),
        (("growth=momentum", "sparsity.momentum=dense"), lambda dense, sparse: 2 * sparse + dense),
    ],
)
def test_a_run_says_what_it_took(
    train: Callable[..., dict[str, Any]], choices: tuple[str, ...], expected: Callable[[float, float], float]
) -> None:
    summary = train("recipe.epochs=3", "distribution=uniform", "density=0.1", *choices)
    dense = 2 * (64 * 256 + 256 * 256 + 256 * 10)
    sparse = dense * summary["density_actual"]
    assert summary["flops_inference"] == pytest.approx(sparse)
    assert summary["flops_training"] == pytest.approx(3 * 1257 * expected(dense, sparse))


def test_masks_that_move_between_layers_are_counted_where_they_are(train: Callable[..., dict[str, Any]]) -> None:
    still = train("recipe.epochs=3", "update_period=never", "density=0.1", "model=small_cnn")
    moved = train("recipe.epochs=3", "update_period=5", "density=0.1", "model=small_cnn", "sparsity.scope=global")
    assert still["flops_inference"] != moved["flops_inference"]
    assert moved["flops_training"] != pytest.approx(3 * 3 * 1257 * moved["flops_inference"])


def test_steps_see_whole_epochs_and_full_batches() -> None:
    batches = TrainBatches(None, torch.zeros(10), None, 4, 0)  # type: ignore[arg-type]
    assert [batches.samples_seen(step) for step in range(5)] == [0, 4, 8, 10, 14]


def test_counting_leaves_the_model_as_it_was() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten(), nn.Linear(144, 10))
    DynamicSparsity(model, torch.optim.SGD(model.parameters(), lr=0.1), density=0.5, update_period=None)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    count_forward(model, (1, 8, 8))
    assert model.training
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
