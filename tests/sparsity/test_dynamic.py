"""DynamicSparsity in anybody's loop: what holds after every step, and what an update does."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from dst.components import options
from dst.sparsity import Constant, Cosine, Criterion, DynamicSparsity, layer_densities, sparsifiable_weights

torch.set_num_threads(1)
law = settings(deadline=None, max_examples=60)

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-2),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=1e-2),
    "amsgrad": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.9),
}


class Layers(nn.ModuleList):
    """Linear and Conv layers of any shape, side by side; the tests give their gradients."""

    def __init__(self, shapes: list[tuple[int, ...]], dtype: torch.dtype = torch.float32, seed: int = 0) -> None:
        kinds = {2: nn.Linear, 3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}
        super().__init__(
            kinds[len(shape)](shape[1], shape[0], *([shape[2:]] if len(shape) > 2 else []), dtype=dtype)
            for shape in shapes
        )
        self.stream = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=self.stream))

    def draw_gradients(self, kind: str = "normal") -> None:
        for parameter in self.parameters():
            grad = torch.randn(parameter.shape, generator=self.stream)
            some = torch.rand(parameter.shape, generator=self.stream) < 0.3
            match kind:
                case "zero":
                    grad.zero_()
                case "NaN":
                    grad.masked_fill_(some, torch.nan)
                case "infinite":
                    grad.masked_fill_(some, torch.inf)
            parameter.grad = grad.to(parameter)


def sparse(model: nn.Module, optimizer: str = "momentum", **options: Any) -> DynamicSparsity:
    defaults: dict[str, Any] = {"density": 0.3, "update_period": 2, "total_steps": 10}
    return DynamicSparsity(model, OPTIMIZERS[optimizer](model.parameters()), **(defaults | options))


def copied(masks: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: mask.clone() for name, mask in masks.items()}


def counts(masks: dict[str, Tensor]) -> dict[str, int]:
    return {name: int(mask.sum()) for name, mask in masks.items()}


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def assert_inactive_is_exactly_zero(sparsity: DynamicSparsity) -> None:
    for layer in sparsity.layers:
        inactive = layer.weight.detach()[~layer.mask]
        assert torch.equal(inactive, torch.zeros_like(inactive)), layer.name


def states(sparsity: DynamicSparsity) -> Iterator[tuple[Tensor, Tensor]]:
    """Every optimizer state of a sparse weight's shape, with the weight's mask."""
    for layer in sparsity.layers:
        for value in sparsity.optimizer.state[layer.weight].values():
            if isinstance(value, Tensor) and value.shape == layer.weight.shape:
                yield value, layer.mask


SHAPES = st.lists(st.lists(st.integers(1, 6), min_size=2, max_size=5).map(tuple), min_size=1, max_size=4)


@st.composite
def settings_of(draw: st.DrawFn, scope: str = "local") -> dict[str, Any]:
    momentum = draw(st.sampled_from(["masked", "dense"]))
    growths = [name for name in options("growth") if name != "momentum" or momentum == "dense"]
    return {
        "density": draw(st.one_of(st.floats(1e-3, 1), st.just(1.0))),
        "distribution": draw(st.sampled_from(["erk", "er", "uniform"])),
        "criterion": draw(st.sampled_from(options("criterion"))),
        "growth": draw(st.sampled_from(growths)),
        "update_period": draw(st.integers(1, 3)),
        "prune_fraction": draw(st.one_of(st.sampled_from(["cosine", "linear", "constant"]), st.floats(0, 1))),
        "total_steps": 8,
        "scope": scope,
        "momentum": momentum,
        "seed": draw(st.integers(0, 2**31)),
    }


KINDS = st.sampled_from(["normal", "zero", "NaN", "infinite"])
DTYPES = st.sampled_from([torch.float32, torch.bfloat16])
NAMES = st.sampled_from(list(OPTIMIZERS))


@law
@given(shapes=SHAPES, dtype=DTYPES, optimizer=NAMES, options=settings_of(), kind=KINDS)
def test_after_every_step_counts_are_kept_and_inactive_weights_and_their_state_are_zero(
    shapes: list[tuple[int, ...]], dtype: torch.dtype, optimizer: str, options: dict[str, Any], kind: str
) -> None:
    model = Layers(shapes, dtype)
    sparsity = sparse(model, optimizer, **options)
    before = counts(sparsity.masks)
    assert_inactive_is_exactly_zero(sparsity)
    for _ in range(options["total_steps"]):
        model.draw_gradients(kind)
        sparsity.step()
        assert counts(sparsity.masks) == before
        assert_inactive_is_exactly_zero(sparsity)
        if options["momentum"] == "masked":
            for state, mask in states(sparsity):
                assert not state[~mask].any()


@law
@given(shapes=SHAPES, dtype=DTYPES, optimizer=NAMES, options=settings_of("global"), kind=KINDS)
def test_global_scope_keeps_the_count_of_all_layers_together(
    shapes: list[tuple[int, ...]], dtype: torch.dtype, optimizer: str, options: dict[str, Any], kind: str
) -> None:
    model = Layers(shapes, dtype)
    sparsity = sparse(model, optimizer, **options)
    total, density = sum(counts(sparsity.masks).values()), sparsity.density
    for _ in range(options["total_steps"]):
        model.draw_gradients(kind)
        sparsity.step()
        assert sum(counts(sparsity.masks).values()) == total
        assert_inactive_is_exactly_zero(sparsity)
    assert sparsity.density == density
    for update in sparsity.pop_updates():
        rows = update["layers"].values()
        assert sum(row["active"] for row in rows) == total
        n_prune = math.ceil(update["prune_fraction"] * total)
        assert sum(row["pruned"] for row in rows) == sum(row["grown"] for row in rows) == n_prune


@law
@given(shapes=SHAPES, dtype=DTYPES, options=settings_of(), kind=st.sampled_from(["normal", "zero"]))
def test_an_update_keeps_regrown_values_starts_new_weights_at_zero_and_prunes_rho_of_the_active(
    shapes: list[tuple[int, ...]], dtype: torch.dtype, options: dict[str, Any], kind: str
) -> None:
    model = Layers(shapes, dtype)
    sparsity = sparse(model, **options)
    model.draw_gradients(kind)
    sparsity.step()
    sparsity.pop_updates()
    masks = copied(sparsity.masks)
    weights = {layer.name: layer.weight.detach().clone() for layer in sparsity.layers}
    model.draw_gradients(kind)
    sparsity.update()
    (update,) = sparsity.pop_updates()
    for layer in sparsity.layers:
        both = masks[layer.name] & layer.mask
        assert torch.equal(layer.weight, torch.where(both, weights[layer.name], 0))
        n = math.ceil(update["prune_fraction"] * int(masks[layer.name].sum()))
        assert update["layers"][layer.name] == {"active": int(layer.mask.sum()), "pruned": n, "grown": n}
        assert int((masks[layer.name] & ~layer.mask).sum()) <= n


@law
@given(shapes=SHAPES, dtype=DTYPES, optimizer=NAMES, options=settings_of(), scope=st.sampled_from(["local", "global"]))
def test_equal_seeds_give_equal_masks_and_weights(
    shapes: list[tuple[int, ...]], dtype: torch.dtype, optimizer: str, options: dict[str, Any], scope: str
) -> None:
    def trained() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        model = Layers(shapes, dtype)
        sparsity = sparse(model, optimizer, **(options | {"scope": scope, "criterion": "random", "growth": "random"}))
        for _ in range(6):
            torch.rand(1)  # the global stream moves, which must not matter
            model.draw_gradients()
            sparsity.step()
        return sparsity.masks, dict(model.named_parameters())

    for first, second in zip(trained(), trained(), strict=True):
        assert equal(first, second)


BIG: list[tuple[int, ...]] = [(20, 10), (8, 4, 3, 3), (5, 20)]


def grown_with(seed: int, same_masks: DynamicSparsity | None = None) -> dict[str, Tensor]:
    model = Layers(BIG)
    sparsity = sparse(model, seed=seed, growth="random")
    if same_masks:
        sparsity.load_state_dict(same_masks.state_dict())
    model.draw_gradients()
    sparsity.update()
    return sparsity.masks


def test_different_seeds_draw_different_masks() -> None:
    assert not equal(sparse(Layers(BIG), seed=1).masks, sparse(Layers(BIG), seed=2).masks)


def test_different_seeds_and_different_steps_grow_different_weights_from_equal_masks() -> None:
    start = sparse(Layers(BIG), seed=9)
    assert equal(grown_with(1, start), grown_with(1, start))
    assert not equal(grown_with(1, start), grown_with(2, start))
    first = grown_with(1, start)
    start.steps = 4
    assert not equal(grown_with(1, start), first)


def test_one_seed_draws_the_same_masks_whatever_the_criterion_growth_or_period() -> None:
    reference = sparse(Layers(BIG), seed=3).masks
    for change in ({"criterion": "snip"}, {"growth": "gradient"}, {"update_period": None}, {"prune_fraction": 0.1}):
        assert equal(sparse(Layers(BIG), seed=3, **change).masks, reference)


class Net(nn.Module):
    """A convolution, a norm and two linear layers: a model like a user's."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.conv = nn.Conv2d(1, 6, 3, padding=1)
            self.norm = nn.BatchNorm2d(6)
            self.hidden = nn.Linear(6 * 16, 24)
            self.out = nn.Linear(24, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.out(F.relu(self.hidden(F.relu(self.norm(self.conv(x))).flatten(1))))
        return logits


def batch(step: int) -> tuple[Tensor, Tensor]:
    """Which third of a 4×4 picture is brightest: learnable, and the same for the same step."""
    x = torch.randn(32, 1, 4, 4, generator=torch.Generator().manual_seed(step))
    return x, torch.stack([x[:, 0, 0].sum(1), x[:, 0, 1].sum(1), x[:, 0, 2].sum(1)], dim=1).argmax(dim=1)


def backward(model: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> float:
    x, y = batch(step)
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    return loss.item()


def train(model: nn.Module, sparsity: DynamicSparsity, first: int, last: int) -> list[float]:
    losses = []
    for step in range(first, last + 1):
        losses.append(backward(model, sparsity.optimizer, step))
        sparsity.step()
    return losses


@pytest.mark.parametrize("momentum", ["masked", "dense"])
@pytest.mark.parametrize("growth", ["random", "gradient"])
def test_a_model_learns_in_a_plain_loop_while_its_density_stays(momentum: str, growth: str) -> None:
    model = Net()
    sparsity = sparse(model, density=0.2, update_period=10, total_steps=200, growth=growth, momentum=momentum)
    densities = layer_densities([layer.weight.shape for layer in sparsity.layers], 0.2)
    for layer, density in zip(sparsity.layers, densities, strict=True):
        assert layer.n_active == max(1, round(density * layer.weight.numel()))
    start = copied(sparsity.masks)
    losses = train(model, sparsity, 1, 200)
    assert sum(losses[-20:]) < 0.5 * sum(losses[:20])
    assert not equal(start, sparsity.masks)
    assert counts(start) == counts(sparsity.masks)
    assert_inactive_is_exactly_zero(sparsity)


@pytest.mark.parametrize("momentum", ["masked", "dense"])
def test_training_is_that_of_the_plain_definition_step_by_step(momentum: str) -> None:
    """RigL with SGD written out: update from the batch's own gradient, then the optimizer's step."""
    lr, beta, period, total, rho = 0.1, 0.9, 3, 12, 0.5
    model, plain = Net(), Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=beta)
    sparsity = DynamicSparsity(
        model,
        optimizer,
        growth="gradient",
        update_period=period,
        total_steps=total,
        prune_fraction=rho,
        momentum=momentum,
    )
    masks = copied(sparsity.masks)
    parameters = dict(plain.named_parameters())
    buffers = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    everything = {name: masks.get(name, torch.ones_like(p, dtype=torch.bool)) for name, p in parameters.items()}
    for name, parameter in parameters.items():
        parameter.data *= everything[name]
    for step in range(1, total + 1):
        backward(model, optimizer, step)
        sparsity.step()

        x, y = batch(step)
        plain.zero_grad()
        F.cross_entropy(plain(x), y).backward()
        for name, parameter in parameters.items():
            weight, grad, mask = parameter.data, parameter.grad, everything[name]
            assert grad is not None
            if name in masks and step % period == 0 and step < total:
                n = math.ceil(rho / 2 * (1 + math.cos(math.pi * step / total)) * int(mask.sum()))
                pruned = weight.abs().masked_fill(~mask, torch.inf).flatten().argsort(stable=True)[:n]
                mask.view(-1)[pruned] = False
                grown = grad.abs().masked_fill(mask, -1).flatten().argsort(descending=True, stable=True)[:n]
                mask.view(-1)[grown] = True
                weight *= mask
                buffers[name] *= mask if momentum == "masked" else 1
            step_of = grad * mask if momentum == "masked" else grad
            buffers[name] = beta * buffers[name] + step_of
            parameter.data = (weight - lr * buffers[name]) * mask
        for name, mask in sparsity.masks.items():
            assert torch.equal(mask, everything[name]), (step, name)
        for (name, ours), expected in zip(model.named_parameters(), parameters.values(), strict=True):
            torch.testing.assert_close(ours, expected, msg=f"{name} after step {step}")


def test_the_gradient_an_update_scores_is_the_batch_s_own_and_dense() -> None:
    seen: list[Tensor] = []

    @dataclass(frozen=True)
    class Recording(Criterion):
        def score(self, weight: Tensor, grad: Tensor) -> Tensor:
            seen.append(grad.clone())
            return weight.abs()

    model = Net()
    sparsity = sparse(model, criterion=Recording(), density=0.1, update_period=2, total_steps=3)
    train(model, sparsity, 1, 1)
    backward(model, sparsity.optimizer, 2)
    expected = [layer.gradient.clone() for layer in sparsity.layers]
    sparsity.step()
    assert len(seen) == len(expected) == 3
    for given_, own, mask in zip(seen, expected, sparsity.masks.values(), strict=True):
        assert torch.equal(given_, own)
        assert mask.all() or own[~mask].any()  # not masked away
    assert sparsity.density < 0.11


@pytest.mark.parametrize(
    ("period", "total", "stop_at", "steps"),
    [
        (3, 12, 1.0, [3, 6, 9]),
        (3, 13, 1.0, [3, 6, 9, 12]),
        (1, 4, 1.0, [1, 2, 3]),
        (4, 16, 0.5, [4]),
        (4, 17, 0.5, [4, 8]),
        (5, 100, 0.55, list(range(5, 55, 5))),  # 0.55 · 100 is 55.00000000000001 in floating point
        (20, 12, 1.0, []),
        (3, 12, 0.0, []),
        (None, None, 1.0, []),
    ],
)
def test_updates_come_at_every_period_before_the_stop(
    period: int | None, total: int | None, stop_at: float, steps: list[int]
) -> None:
    model = Layers([(6, 5)])
    sparsity = sparse(model, update_period=period, total_steps=total, stop_at=stop_at, prune_fraction="constant")
    for _ in range((total or 12) + 5):
        model.draw_gradients()
        sparsity.step()
    updates = sparsity.pop_updates()
    assert [update["step"] for update in updates] == steps
    assert all(update["prune_fraction"] == 0.5 for update in updates)
    assert sparsity.pop_updates() == []


def test_the_fraction_follows_the_schedule_up_to_the_stop() -> None:
    model = Layers([(20, 20)])
    sparsity = sparse(model, density=0.5, total_steps=20, stop_at=0.5, prune_fraction=0.4)
    for _ in range(20):
        model.draw_gradients()
        sparsity.step()
    updates = sparsity.pop_updates()
    expected = [0.2 * (1 + math.cos(math.pi * step / 10)) for step in (2, 4, 6, 8)]
    assert [update["prune_fraction"] for update in updates] == pytest.approx(expected)
    assert [update["layers"]["0.weight"]["pruned"] for update in updates] == [math.ceil(rho * 200) for rho in expected]


def test_the_prune_fraction_is_a_number_a_name_or_a_schedule() -> None:
    schedules = [sparse(Layers(BIG), prune_fraction=given_).schedule for given_ in (0.3, "constant", Cosine(0.1))]
    assert schedules == [Cosine(0.3), Constant(0.5), Cosine(0.1)]


def test_static_training_never_changes_the_masks() -> None:
    model = Net()
    sparsity = sparse(model, update_period=None, total_steps=None)
    start = copied(sparsity.masks)
    train(model, sparsity, 1, 20)
    assert equal(sparsity.masks, start)
    assert sparsity.itop_ratio() == sparsity.density
    assert_inactive_is_exactly_zero(sparsity)


@pytest.mark.parametrize("momentum", ["masked", "dense"])
@pytest.mark.parametrize("optimizer", ["nesterov", "adam"])
@pytest.mark.parametrize("criterion", ["magnitude", "set", "rsensitivity"])
def test_at_density_one_every_pruned_weight_is_regrown_and_training_is_the_bare_optimizer_s(
    momentum: str, optimizer: str, criterion: str
) -> None:
    model, bare = Net(), Net()
    sparsity = sparse(model, optimizer, density=1.0, criterion=criterion, momentum=momentum)
    optimizer_alone = OPTIMIZERS[optimizer](bare.parameters())
    for step in range(1, 11):
        backward(bare, optimizer_alone, step)
        optimizer_alone.step()
    train(model, sparsity, 1, 10)
    assert all(row["pruned"] > 0 for update in sparsity.pop_updates() for row in update["layers"].values())
    assert all(mask.all() for mask in sparsity.masks.values())
    assert equal(dict(model.named_parameters()), dict(bare.named_parameters()))


@pytest.mark.parametrize("growth", ["random", "gradient"])
def test_a_layer_with_one_active_weight_keeps_one(growth: str) -> None:
    model = Layers([(9, 9)])
    sparsity = sparse(model, density=1e-9, growth=growth, update_period=1)
    positions = set()
    for _ in range(9):
        model.draw_gradients()
        sparsity.step()
        positions.add(int(sparsity.masks["0.weight"].flatten().nonzero()))
        assert_inactive_is_exactly_zero(sparsity)
    assert len(positions) > 1


@pytest.mark.parametrize("criterion", ["magnitude", "set", "mest", "snip", "sensitivity", "rsensitivity", "random"])
def test_weights_that_became_nan_do_not_change_the_count(criterion: str) -> None:
    model = Layers([(9, 9)])
    sparsity = sparse(model, criterion=criterion, growth="gradient")
    before = counts(sparsity.masks)
    with torch.no_grad():
        model[0].weight.fill_(torch.nan)
        sparsity.layers[0].mask_weight()
    model.draw_gradients("NaN")
    sparsity.update()
    assert counts(sparsity.masks) == before
    assert_inactive_is_exactly_zero(sparsity)


def test_with_dense_momentum_the_state_of_inactive_weights_is_the_bare_optimizer_s() -> None:
    model = Layers([(9, 9)])
    sparsity = sparse(model, "momentum", update_period=None, momentum="dense")
    grads = []
    for _ in range(3):
        model.draw_gradients()
        grads.append(sparsity.layers[0].gradient.clone())
        sparsity.step()
    ((buffer, mask),) = states(sparsity)
    expected = 0.81 * grads[0] + 0.9 * grads[1] + grads[2]  # the weight decay of a weight of 0 is 0
    torch.testing.assert_close(buffer[~mask], expected[~mask])


def test_a_newly_grown_weight_starts_without_momentum() -> None:
    model = Layers([(20, 20)])
    sparsity = sparse(model, update_period=2, total_steps=4)
    model.draw_gradients()
    sparsity.step()
    before = sparsity.masks["0.weight"].clone()
    model.draw_gradients()
    grad = sparsity.layers[0].gradient.clone()
    sparsity.step()
    ((buffer, mask),) = states(sparsity)
    new = mask & ~before
    assert new.any()
    assert torch.equal(buffer[new], grad[new])
    assert torch.equal(model[0].weight[new], -0.1 * grad[new])


@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_momentum_growth_follows_the_momentum_not_the_gradient(optimizer: str) -> None:
    model = Layers([(12, 12)])
    sparsity = sparse(model, optimizer, growth="momentum", momentum="dense", density=0.2, total_steps=3)
    model.draw_gradients()
    sparsity.step()
    ((momentum, mask),) = list(states(sparsity))[:1]
    before, promise = mask.clone(), momentum.abs()
    model.draw_gradients()
    sparsity.update()
    new = mask & ~before
    pruned_and_gone = before & ~mask
    assert new.any()
    left_out = ~mask & ~pruned_and_gone
    assert float(promise[new].min()) >= float(promise[left_out].max())


def test_global_scope_prunes_the_lowest_of_all_layers_and_grows_where_gradients_are_largest() -> None:
    model = Layers([(10, 10), (10, 10), (10, 10)])
    with torch.no_grad():
        for factor, module in zip((100, 1, 100), model, strict=True):
            module.weight.uniform_(1, 2).mul_(factor)
    sparsity = sparse(
        model, density=0.3, distribution="uniform", growth="gradient", scope="global", prune_fraction="constant"
    )
    model.draw_gradients()
    model[2].weight.grad.mul_(1000)
    sparsity.steps = 1
    sparsity.update()
    (update,) = sparsity.pop_updates()
    # of 90 active weights 45 go: all 30 of the second layer, then 15 more; 45 come, all to the third
    second, third = update["layers"]["1.weight"], update["layers"]["2.weight"]
    assert second == {"active": 0, "pruned": 30, "grown": 0}
    assert third["grown"] == 45
    assert sum(row["pruned"] for row in update["layers"].values()) == 45
    assert counts(sparsity.masks) == {name: row["active"] for name, row in update["layers"].items()}
    assert sum(counts(sparsity.masks).values()) == 90


def test_global_set_balances_the_signs_of_all_layers_together() -> None:
    model = Layers([(10, 10), (10, 10)])
    with torch.no_grad():
        model[0].weight.uniform_(1, 2)
        model[1].weight.uniform_(-2, -1)
    sparsity = sparse(
        model, density=0.5, distribution="uniform", criterion="set", scope="global", prune_fraction="constant"
    )
    model.draw_gradients()
    sparsity.update()
    (update,) = sparsity.pop_updates()
    assert [row["pruned"] for row in update["layers"].values()] == [25, 25]


def test_the_itop_ratio_is_the_share_of_weights_ever_active() -> None:
    model = Net()
    sparsity = sparse(model, density=0.2, update_period=3, total_steps=30)
    ever = copied(sparsity.masks)
    assert sparsity.itop_ratio() == sparsity.density
    for step in range(1, 31):
        train(model, sparsity, step, step)
        for name, mask in sparsity.masks.items():
            ever[name] |= mask
    assert sparsity.itop_ratio() == sum(counts(ever).values()) / sum(mask.numel() for mask in ever.values())
    assert sparsity.itop_ratio() > sparsity.density


def saved_and_loaded(state: Any) -> Any:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("stop", [1, 7, 10])
@pytest.mark.parametrize(
    ("criterion", "growth", "scope", "momentum"),
    [
        ("magnitude", "random", "local", "masked"),
        ("random", "random", "local", "masked"),
        ("snip", "gradient", "local", "masked"),
        ("set", "momentum", "local", "dense"),
        ("random", "random", "global", "masked"),
        ("magnitude", "gradient", "global", "dense"),
    ],
)
def test_training_saved_and_continued_in_new_objects_ends_the_same(
    stop: int, criterion: str, growth: str, scope: str, momentum: str
) -> None:
    chosen = {
        "criterion": criterion,
        "growth": growth,
        "scope": scope,
        "momentum": momentum,
        "total_steps": 25,
        "seed": 5,
    }
    whole = Net()
    uninterrupted = sparse(whole, update_period=5, **chosen)
    train(whole, uninterrupted, 1, 25)

    half = Net()
    first = sparse(half, update_period=5, **chosen)
    train(half, first, 1, stop)
    state = saved_and_loaded(
        {"model": half.state_dict(), "optimizer": first.optimizer.state_dict(), "sparsity": first.state_dict()}
    )
    rest = Net(seed=1)
    second = sparse(rest, update_period=5, **chosen)
    rest.load_state_dict(state["model"])
    second.optimizer.load_state_dict(state["optimizer"])
    second.load_state_dict(state["sparsity"])
    torch.rand(3)
    train(rest, second, stop + 1, 25)

    assert equal(second.masks, uninterrupted.masks)
    assert equal(rest.state_dict(), whole.state_dict())
    assert second.itop_ratio() == uninterrupted.itop_ratio()
    assert second.density == uninterrupted.density
    assert first.pop_updates() + second.pop_updates() == uninterrupted.pop_updates()


def test_a_state_of_another_model_is_refused_with_the_layer_named() -> None:
    state = sparse(Layers([(4, 5), (6, 4)])).state_dict()
    with pytest.raises(ValueError, match=r"^these masks are of another model: 1\.weight does not match$"):
        sparse(Layers([(4, 5), (7, 4)])).load_state_dict(state)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon")
def test_an_optimizer_that_mixes_weights_leaves_inactive_ones_at_zero_too() -> None:
    model = nn.Sequential(nn.Linear(9, 9, bias=False), nn.Linear(9, 9, bias=False))
    sparsity = DynamicSparsity(model, torch.optim.Muon(model.parameters(), lr=0.1), update_period=2, total_steps=8)
    for _ in range(8):
        model.zero_grad()
        model(torch.randn(4, 9)).square().sum().backward()
        sparsity.step()
        assert_inactive_is_exactly_zero(sparsity)


def test_only_linear_and_convolution_weights_are_sparse() -> None:
    class Everything(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(4, 4)
            self.conv1 = nn.Conv1d(2, 3, 3)
            self.conv2 = nn.Conv2d(2, 3, 3)
            self.conv3 = nn.Conv3d(2, 3, 3)
            self.norm = nn.BatchNorm2d(3)
            self.layer_norm = nn.LayerNorm(4)
            self.head = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 2, bias=False))

    names = ["conv1.weight", "conv2.weight", "conv3.weight", "head.0.weight", "head.1.weight"]
    assert list(sparsifiable_weights(Everything())) == names
    assert list(sparsifiable_weights(nn.Linear(3, 2))) == ["weight"]


def test_biases_and_norms_are_trained_as_without_sparsity() -> None:
    model = Net()
    sparsity = sparse(model, density=0.05)
    dense = {name: p.detach().clone() for name, p in model.named_parameters() if name not in sparsity.masks}
    backward(model, sparsity.optimizer, 1)
    grads = {name: model.get_parameter(name).grad.clone() for name in dense}
    sparsity.step()
    for name, before in dense.items():
        torch.testing.assert_close(model.get_parameter(name), before - 0.1 * (grads[name] + 1e-2 * before))


def test_a_weight_shared_by_two_layers_is_one_weight_with_one_mask() -> None:
    first, second = nn.Linear(8, 8), nn.Linear(8, 8)
    second.weight = first.weight
    model = nn.Sequential(first, second)
    sparsity = sparse(model, density=0.5)
    assert list(sparsity.masks) == ["0.weight"]
    assert int((first.weight != 0).sum()) == 32


def test_the_active_weights_keep_their_initial_values() -> None:
    model, initial = Net(), Net()
    sparsity = sparse(model)
    for name, mask in sparsity.masks.items():
        assert torch.equal(model.get_parameter(name), initial.get_parameter(name) * mask)


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"density": 0}, r"density=0: must lie in \(0, 1\]"),
        ({"density": 1.5}, r"density=1\.5: must lie in \(0, 1\]"),
        ({"distribution": "erks"}, r"distribution='erks': choose one of erk, er, uniform, uniform_plus"),
        ({"scope": "layer"}, r"scope='layer': choose local or global"),
        ({"momentum": "none"}, r"momentum='none': choose masked or dense"),
        ({"prune_fraction": 1.5}, r"prune_fraction=1\.5: must lie in \[0, 1\]"),
        ({"update_period": 0}, r"update_period=0: must be 1 step or more, or None"),
        ({"total_steps": None}, r"total_steps is needed [^\n]*update_period=None"),
        ({"growth": "momentum"}, r"momentum growth needs [^\n]*momentum='dense'"),
    ],
)
def test_a_wrong_setting_is_refused_in_one_line_before_the_model_is_touched(wrong: dict[str, Any], line: str) -> None:
    model, untouched = Net(), Net()
    with pytest.raises(ValueError, match=f"^{line}$"):
        sparse(model, **wrong)
    assert equal(model.state_dict(), untouched.state_dict())


def test_a_model_without_sparsifiable_layers_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^LayerNorm has no Linear or Conv layer"):
        sparse(nn.LayerNorm(4))


def test_an_update_without_gradient_says_what_to_call_first() -> None:
    with pytest.raises(ValueError, match=r"^0\.weight has no gradient: call step\(\) after backward\(\)$"):
        sparse(Layers(BIG)).update()


@contextmanager
def synchronisation_forbidden() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("growth", options("growth"))
@pytest.mark.parametrize("scope", ["local", "global"])
@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_neither_update_nor_step_waits_for_the_gpu(growth: str, scope: str, optimizer: str) -> None:
    momentum = "dense" if growth == "momentum" else "masked"
    for criterion in options("criterion"):
        model = Layers(BIG).to("cuda")
        sparsity = sparse(model, optimizer, criterion=criterion, growth=growth, scope=scope, momentum=momentum)
        total = sum(counts(sparsity.masks).values())
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter)
        sparsity.step()  # the optimizer makes its state
        with synchronisation_forbidden():
            sparsity.update()
            sparsity.step()
        assert sum(counts(sparsity.masks).values()) == total
        assert_inactive_is_exactly_zero(sparsity)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_the_synchronisation_check_above_would_notice() -> None:
    with synchronisation_forbidden(), pytest.raises(RuntimeError):
        torch.ones(1, device="cuda").item()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("growth", ["random", "gradient"])
def test_a_gpu_draws_the_masks_of_the_cpu_and_repeats_itself(growth: str) -> None:
    def trained() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        model = Layers(BIG).to("cuda")
        sparsity = sparse(model, growth=growth, seed=4)
        start = {name: mask.cpu().clone() for name, mask in sparsity.masks.items()}
        stream = torch.Generator("cuda").manual_seed(0)
        for _ in range(8):
            for parameter in model.parameters():
                parameter.grad = torch.randn(parameter.shape, device="cuda", generator=stream)
            sparsity.step()
        return start, sparsity.masks

    (start, first), (_, second) = trained(), trained()
    assert equal(start, sparse(Layers(BIG), seed=4).masks)
    assert equal(first, second)
