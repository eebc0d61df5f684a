"""Masks chosen by score agree with those of the SynFlow authors' code, and leave the model as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dst.sparsity import disconnected_layers, initial_masks

GOLDEN = Path(__file__).parent / "golden"
CASES = json.loads((GOLDEN / "initial_masks.json").read_text())
ARRAYS = np.load(GOLDEN / "initial_masks.npz")
X, Y = torch.from_numpy(ARRAYS["x"]), torch.from_numpy(ARRAYS["y"])
BATCHES = [(X[:100], Y[:100]), (X[100:], Y[100:])]


def network(name: str) -> nn.Sequential:
    layers: dict[str, list[nn.Module]] = {
        "mlp": [nn.Flatten(), nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 32), nn.ReLU(), nn.Linear(32, 10)],
        "cnn": [
            *(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(8, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(64, 10)),
        ],
    }
    model = nn.Sequential(*layers[name]).double()
    stored = [key for key in ARRAYS.files if key.startswith(f"{name}.")]
    model.load_state_dict({key.partition(".")[2]: torch.from_numpy(np.array(ARRAYS[key])) for key in stored})
    return model


@pytest.mark.parametrize("case", CASES, ids=[case["key"] for case in CASES])
def test_masks_agree_with_the_authors(case: dict[str, Any]) -> None:
    masks = initial_masks(case["method"], network(case["network"]), BATCHES, case["density"])
    assert sum(int(mask.sum()) for mask in masks.values()) == case["kept"]
    for name, shape in case["layers"].items():
        expected = np.unpackbits(ARRAYS[f"{case['key']}/{name}"])[: np.prod(shape)].astype(bool)
        assert np.array_equal(masks[name].numpy(), expected.reshape(shape)), name


@pytest.mark.parametrize("method", ["magnitude", "snip", "grasp", "synflow"])
def test_the_model_stays_as_it_was(method: str) -> None:
    model = network("cnn").train()
    model[0].weight.grad = torch.ones_like(model[0].weight)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    initial_masks(method, model, BATCHES, 0.1)
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(model[0].weight.grad, torch.ones_like(model[0].weight))


def test_snip_scores_by_all_the_batches() -> None:
    model = network("mlp")
    gradient = torch.autograd.grad(
        sum(nn.functional.cross_entropy(model(x), y) for x, y in BATCHES),
        [model[1].weight, model[3].weight, model[5].weight],
    )
    scores = torch.cat(
        [
            (w * g).abs().flatten()
            for w, g in zip((model[1].weight, model[3].weight, model[5].weight), gradient, strict=True)
        ]
    )
    masks = torch.cat([mask.flatten() for mask in initial_masks("snip", model, BATCHES, 0.3).values()])
    assert scores[masks].min() >= scores[~masks].max()


def test_grasp_keeps_the_highest_products_of_weight_and_hessian() -> None:
    """Hg by a difference of gradients, on one linear layer."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 4)).double()
    x, y = torch.randn(50, 6, dtype=torch.float64), torch.randint(4, (50,))

    def gradient(weight: Tensor) -> Tensor:
        weight = weight.detach().requires_grad_()
        logits = nn.functional.linear(x, weight, model[0].bias.detach()) / 200
        return torch.autograd.grad(nn.functional.cross_entropy(logits, y), weight)[0]

    weight = model[0].weight.detach()
    g = gradient(weight)
    step = 1e-2 / g.norm()
    scores = weight * (gradient(weight + step * g) - gradient(weight - step * g)) / (2 * step)
    mask = initial_masks("grasp", model, [(x, y)], 0.5)["0.weight"]
    assert int(mask.sum()) == 12
    assert scores[mask].min() >= scores[~mask].max()


def test_a_layer_off_every_path_is_named() -> None:
    model = network("mlp")
    masks = {
        name: torch.ones_like(weight, dtype=torch.bool) for name, weight in model.named_parameters() if weight.dim() > 1
    }
    assert disconnected_layers(model, masks, (1, 8, 8)) == []
    masks["3.weight"][:] = False
    assert disconnected_layers(model, masks, (1, 8, 8))[:2] == ["1.weight", "3.weight"]


@pytest.mark.parametrize(
    ("method", "batches", "density", "told"),
    [
        ("snap", BATCHES, 0.1, "method='snap': choose"),
        ("snip", [], 0.1, "needs a batch"),
        ("snip", BATCHES, 0.0, "density=0.0"),
        ("magnitude", [], 1.5, "density=1.5"),
    ],
)
def test_a_wrong_value_is_a_value_error(method: str, batches: Any, density: float, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        initial_masks(method, network("mlp"), batches, density)


def test_magnitude_needs_no_batches() -> None:
    masks = initial_masks("magnitude", network("mlp"), [], 1.0)
    assert all(bool(mask.all()) for mask in masks.values())
