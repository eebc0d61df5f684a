"""Small models and assertions for the tests of DynamicSparsity."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import VisionTransformer

from dst.sparsity import DynamicSparsity

torch.set_num_threads(1)


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
    """Independent Linear and Conv layers of any shape; tests set their gradients."""

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


class TinyViT(nn.Module):
    """torchvision's vision transformer for the grey 8×8 digits."""

    def __init__(self, input_shape: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        sizes: dict[str, int] = {"num_layers": 2, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 32}
        self.vit = VisionTransformer(image_size=input_shape[-1], patch_size=2, num_classes=outputs, **sizes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.vit(x.expand(-1, 3, -1, -1))
        return logits


class Conv1D(nn.Module):
    """A stand-in for the class of that name in transformers, which is not installed: x · W + b, W stored (in, out)."""

    __module__ = "transformers.pytorch_utils"
    __qualname__ = "Conv1D"

    def __init__(self, n_out: int, n_in: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(n_in, n_out) / n_in**0.5), nn.Parameter(torch.zeros(n_out))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight + self.bias


class TinyGPT(nn.Module):
    """The matrices of GPT-2: Conv1D blocks, and a head tied to the token embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(20, 8), nn.Embedding(6, 8)
        self.c_attn, self.c_proj = Conv1D(24, 8), Conv1D(8, 8)
        self.lm_head = nn.Linear(8, 20, bias=False)
        self.lm_head.weight = self.wte.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1]))
        q, k, v = self.c_attn(x).chunk(3, dim=-1)
        logits: Tensor = self.lm_head(x + self.c_proj(nn.functional.scaled_dot_product_attention(q, k, v)))
        return logits


BIG: list[tuple[int, ...]] = [(20, 10), (8, 4, 3, 3), (5, 20)]


def gradients_for(model: nn.Module) -> Callable[[int, float], dict[str, Tensor]]:
    """``hessian_gradient`` of tests that draw their gradients: the gradients themselves."""
    return lambda step, temperature: {
        name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None
    }


def sparse(model: nn.Module, optimizer: str = "momentum", **options: Any) -> DynamicSparsity:
    defaults: dict[str, Any] = {"density": 0.3, "update_period": 2, "total_steps": 10}
    defaults["hessian_gradient"] = gradients_for(model)
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
    """Yields each optimizer state in the shape of a sparse weight, with the weight's mask."""
    for layer in sparsity.layers:
        for value in sparsity.optimizer.state[layer.weight].values():
            if isinstance(value, Tensor) and value.shape == layer.weight.shape:
                yield value, layer.mask


class Net(nn.Module):
    """A convolution, a norm and two linear layers."""

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
    """Random 4×4 images; the label is the brightest of the first three rows. Equal steps give equal batches."""
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
