"""The spectrum of the Hessian, against known and slowly computed ones; its probe leaves no trace in a run."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from dst.config import compose
from dst.probes.spectrum import Hessian, lanczos, spectrum
from dst.train import run
from tests.probes.test_logs import probe_logs, run_folder
from tests.run.outcomes import outcomes
from tests.run.test_resume import kill_again_and_again

Overrides = Callable[..., list[str]]

TINY = ("model=small_mlp", "model.hidden=[6]", "probes=hessian", "probes.hessian.sample=40")


def samples(count: int = 30, *, batch: int = 12) -> list[tuple[Tensor, Tensor]]:
    torch.manual_seed(3)
    x, y = torch.randn(count, 4), torch.randint(3, (count,))
    return [*zip(x.split(batch), y.split(batch), strict=True)]


def masked_network(*between: nn.Module) -> tuple[nn.Module, dict[str, Tensor]]:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(4, 6), *between, nn.Tanh(), nn.Linear(6, 3))
    name, weight = "0.weight", model[0].weight
    mask = torch.rand_like(weight) < 0.5
    weight.data.mul_(mask)
    return model, {name: mask}


def test_the_matrix_is_that_of_the_active_weights_and_biases() -> None:
    model, masks = masked_network()
    batches = samples()
    x, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
    names, weights = zip(*((name, weight.detach()) for name, weight in model.named_parameters()), strict=True)

    def loss(*values: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(model, dict(zip(names, values, strict=True)), (x,)), y)

    blocks: Any = torch.autograd.functional.hessian(loss, weights)
    sizes = [weight.numel() for weight in weights]
    rows = [[block.reshape(n, -1) for block in row] for row, n in zip(blocks, sizes, strict=True)]
    full = torch.cat([torch.cat(row, dim=1) for row in rows])
    active = {name: masks.get(name, torch.ones_like(value) > 0) for name, value in zip(names, weights, strict=True)}
    kept = torch.cat([mask.flatten() for mask in active.values()])
    matrix = Hessian(model, masks, batches, F.cross_entropy).matrix()
    assert matrix.shape == (int(kept.sum()), int(kept.sum()))
    assert len(matrix) < sum(sizes)
    assert torch.allclose(matrix, full[kept][:, kept], atol=1e-6)


class Point(nn.Module):
    """Gives its parameter whatever the input."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(size))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight.expand(len(x), -1)


def quadratic(values: Tensor, masks: dict[str, Tensor]) -> tuple[Hessian, Tensor]:
    """Returns ½ θᵀAθ as a loss, and A with the given eigenvalues."""
    torch.manual_seed(2)
    turn = torch.linalg.qr(torch.randn(len(values), len(values), dtype=torch.float64))[0]
    matrix = turn @ torch.diag(values.double()) @ turn.T

    def loss(w: Tensor, y: Tensor) -> Tensor:
        return ((w @ matrix.to(w.dtype)) * w).sum(dim=1).mean() / 2

    return Hessian(Point(len(values)), masks, samples(), loss, dtype=torch.float64), matrix


def test_a_quadratic_has_the_spectrum_it_was_made_of() -> None:
    values = torch.cat([torch.linspace(-3, -1, 5), torch.zeros(3), torch.logspace(-2, 2, 22)])
    hessian, _ = quadratic(values, {})
    found = spectrum(hessian, method="exact")
    assert torch.allclose(found["eigenvalues"], values.double().sort().values, atol=1e-6)
    assert (found["size"], found["method"], int(found["negative"])) == (30, "exact", 5)
    assert found["largest"] == pytest.approx(100, rel=1e-6)
    assert found["smallest"] == pytest.approx(-3, rel=1e-6)


def test_a_mask_leaves_the_matching_rows_and_columns() -> None:
    mask = torch.arange(30) % 3 > 0
    hessian, matrix = quadratic(torch.linspace(-1, 5, 30), {"weight": mask})
    expected = torch.linalg.eigvalsh(matrix[mask][:, mask])
    assert torch.allclose(spectrum(hessian)["eigenvalues"], expected, atol=1e-8)


def test_lanczos_finds_the_ends_of_the_exact_spectrum() -> None:
    values = torch.cat([torch.tensor([-9.0, -6.0, 50.0, 80.0]), torch.linspace(-1, 10, 200)])
    hessian, _ = quadratic(values, {})
    exact, some = spectrum(hessian, method="exact"), spectrum(hessian, method="lanczos", steps=40, k=2)
    assert len(some["eigenvalues"]) == 4
    expected = torch.cat([exact["eigenvalues"][:2], exact["eigenvalues"][-2:]])
    assert torch.allclose(some["eigenvalues"], expected, rtol=1e-8)
    assert some["method"] == "lanczos"
    assert some["negative"] is None


def test_lanczos_with_as_many_steps_as_parameters_finds_every_eigenvalue() -> None:
    model, masks = masked_network()
    hessian = Hessian(model, masks, samples(), F.cross_entropy, dtype=torch.float64)
    exact = spectrum(hessian, method="exact")["eigenvalues"]
    found = lanczos(hessian.times, hessian.start(), 10_000)
    assert len(found) <= hessian.size
    assert max(float((exact - value).abs().min()) for value in found) < 1e-8
    assert [float(found[0]), float(found[-1])] == pytest.approx([float(exact[0]), float(exact[-1])], abs=1e-10)


def test_lanczos_ends_where_the_products_leave_nothing_new() -> None:
    matrix = torch.diag(torch.tensor([1.0, 1.0, 2.0, 2.0, 2.0, 5.0], dtype=torch.float64))
    found = lanczos(lambda vectors: vectors @ matrix, torch.ones(6, dtype=torch.float64), 6)
    assert found.tolist() == pytest.approx([1.0, 2.0, 5.0])


def test_products_draw_the_same_dropout_and_leave_model_and_random_state_alone() -> None:
    model, masks = masked_network(nn.BatchNorm1d(6), nn.Dropout(0.5))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    batches = samples()
    state = torch.get_rng_state()
    hessian = Hessian(model, masks, batches, F.cross_entropy, seed=5)
    vectors = torch.randn(20, hessian.size, generator=torch.Generator().manual_seed(0))
    together = hessian.times(vectors)
    assert torch.allclose(hessian.times(vectors[7:8])[0], together[7], atol=1e-6)
    matrix = hessian.matrix()
    assert torch.allclose(together, vectors @ matrix, atol=1e-4)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(weight.grad is None for weight in model.parameters())
    assert not torch.allclose(Hessian(model, masks, samples(), F.cross_entropy, seed=6).matrix(), matrix, atol=1e-3)


def test_a_loss_that_is_not_finite_has_eigenvalues_that_are_not() -> None:
    model, masks = masked_network()
    model[0].bias.data.fill_(math.nan)  # type: ignore[union-attr]
    for method in ("exact", "lanczos"):
        found = spectrum(Hessian(model, masks, samples(), F.cross_entropy), method=method)
        assert found["eigenvalues"].isnan().all()
        assert found["negative"] is None


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["at=[]"], "at=[]: give one step or more, counted from 1, or null"),
        (["at=[0,5]"], "at=[0, 5]: give one step or more"),
        (["method=power"], "method=power: choose one of auto, exact, lanczos"),
        (["dtype=bfloat16"], "dtype=bfloat16: choose one of float32, float64"),
        (["sample=0"], "sample=0: must be 1 or more"),
        (["sample=1258"], "sample=1258: the training split has 1257 samples; give 1257 or fewer"),
        (
            ["method=exact", "max_size=59"],
            "method=exact: the Hessian of 60 parameters is a matrix of 14,400 bytes in float32; set method=lanczos, or "
            "max_size=60",
        ),
    ],
)
def test_a_mistake_is_one_line(more: list[str], told: str, overrides: Overrides, type_in: Any, tmp_path: Path) -> None:
    status, _, err = type_in(*overrides(*TINY, *(f"probes.hessian.{word}" for word in more)))
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert status == 2
    assert line.startswith(f"error: probes.hessian.{told}")
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize("method", ["exact", "lanczos"])
def test_kill_9_at_random_moments_changes_no_line_and_the_probe_nothing(
    method: str, overrides: Overrides, tmp_path: Path
) -> None:
    probe = (
        f"probes.hessian.method={method}",
        "probes.hessian.every=8",
        "probes.hessian.steps=6",
        "probes.hessian.k=2",
    )
    more = [*TINY, *probe, "growth=gradient", "update_period=5", "recipe.epochs=8", "checkpoint.minutes=0"]
    kill_again_and_again(overrides, tmp_path, *more, kills=5)
    folder = run_folder(tmp_path / "killed")
    lines = probe_logs(folder)["hessian"]
    assert [line["step"] for line in lines] == [1, *range(8, 81, 8)]
    assert all(line["eigenvalues"] == sorted(line["eigenvalues"]) for line in lines)
    assert {len(line["eigenvalues"]) for line in lines} == {4 if method == "lanczos" else lines[0]["size"]}
    assert lines == probe_logs(run_folder(tmp_path / "undisturbed"))["hessian"]
    unprobed = [word for word in more if not word.startswith("probes")]
    run(compose(overrides(*unprobed, f"output_dir={tmp_path / 'without'}")))
    assert outcomes(tmp_path / "without") == outcomes(tmp_path / "killed")


def test_steps_can_be_chosen(train: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    train(*TINY, "probes.hessian.at=[2,9,5]", "probes.hessian.method=exact", "probes.hessian.dtype=float64")
    log = run_folder(tmp_path / "outputs") / "probes" / "hessian.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 5, 9]
    for line in lines:
        assert line["largest"] == line["eigenvalues"][-1] > 0
        assert line["smallest"] == line["eigenvalues"][0]
        assert line["size"] == len(line["eigenvalues"])
        assert 0 <= line["negative"] < line["size"]
