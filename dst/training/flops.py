"""Floating-point operations of a network and of its training, counted as Evci et al. (2020, Appendix H) do.

Forward passes are counted by torch's FLOP counter (a multiply-add is two operations; only
matrix products and convolutions count), each sparse layer at its density. A backward pass takes twice a forward
pass: once for the gradients of the activations, once for those of the weights. The latter are dense where a growth rule
needs the gradients of inactive weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode  # torch's documented way in, despite its name

from dst.training.loop import Sparsity


@dataclass(frozen=True)
class ForwardFlops:
    """The operations of one sample's forward pass through the dense network.

    Attributes:
        total: of the whole network.
        weights: of those, the ones with each weight, by parameter name.
    """

    total: int
    weights: Mapping[str, int]

    def at(self, densities: Mapping[str, float]) -> float:
        """Returns the operations when the weights named have these densities; the others are dense."""
        return float(self.total) - sum(self.weights[name] * (1 - density) for name, density in densities.items())


def count_forward(model: nn.Module, input_shape: Sequence[int]) -> ForwardFlops:
    """Counts the forward pass of one blank sample, in evaluation mode.

    Args:
        model: on any device; unchanged afterwards.
        input_shape: of one sample, without the batch dimension.
    """
    training = model.training
    weight = next(model.parameters())
    sample = torch.zeros(1, *input_shape, device=weight.device, dtype=weight.dtype)
    # unfused attention: its matrix products are counted alike on every device
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), _Counter(dict(model.named_parameters())) as counter:
        model.eval()(sample)
    model.train(training)
    return ForwardFlops(counter.total, counter.weights)


class _Counter(TorchDispatchMode):
    """Counts operations by torch's formulas, and for each weight those that read it."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        from torch.utils.flop_counter import flop_registry  # takes a quarter of a second

        super().__init__()
        self.total, self.weights = 0, Counter[str]()
        self._formulas = {str(operator).replace(".", "::"): count for operator, count in flop_registry.items()}
        self._names = {weight.untyped_storage().data_ptr(): name for name, weight in weights.items()}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # or torch would import torch.compile, which takes longer than the rest of a run's start

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if count := self._formulas.get(func.name().partition(".")[0]):
            flops = count(*args, **(kwargs or {}), out_val=result)
            self.total += flops
            operands = [arg.untyped_storage().data_ptr() for arg in args if isinstance(arg, Tensor)]
            self.weights.update({self._names[operand]: flops for operand in operands if operand in self._names})
        return result


Density = Mapping[str, float]
"""Of each sparse weight, by parameter name."""


def density_history(sparsity: Sparsity, updates: Iterable[Mapping[str, Any]]) -> list[tuple[int, Density]]:
    """Returns the steps from which on densities held: 0, and each topology update.

    Args:
        sparsity: at the end of the training.
        updates: the lines of ``topology.jsonl``.
    """
    sizes: Counter[str] = Counter()
    for layer in sparsity.layers:
        sizes[layer.parameter_name] += layer.mask.numel()

    def densities(active: Mapping[str, int]) -> Density:
        counts: Counter[str] = Counter()
        for layer in sparsity.layers:
            counts[layer.parameter_name] += active[layer.name]
        return {name: counts[name] / size for name, size in sizes.items()}

    logged = [(update["step"], update["layers"]) for update in updates]
    if logged:
        first = logged[0][1].items()
        start = {name: counts["active"] + counts["pruned"] - counts["grown"] for name, counts in first}
    else:
        start = {layer.name: int(layer.mask.sum()) for layer in sparsity.layers}
    later = [(step, {name: counts["active"] for name, counts in layers.items()}) for step, layers in logged]
    return [(step, densities(active)) for step, active in [(0, start), *later]]


def training_flops(
    forward: ForwardFlops,
    samples: Callable[[int], int],
    steps: int,
    history: Sequence[tuple[int, Density]],
    *,
    dense_gradients: str,
    beside: tuple[int, int] = (0, 0),
) -> float:
    """Returns the operations of a training; its evaluations do not count.

    Args:
        forward: see :func:`count_forward`.
        samples: how many the steps 1 … n saw.
        steps: of the training.
        history: see :func:`density_history`; empty for a dense network. An update's own step counts at the densities
            before it.
        dense_gradients: of the weights: ``never`` needed, at ``updates``, or at ``every`` step.
        beside: numbers of samples besides the batch whose gradients each update takes: of the active weights alone,
            and of all.
    """
    ends = [step for step, _ in history[1:]] + [steps]
    total = 0.0
    for (start, densities), end in zip(history or [(0, {})], ends, strict=True):
        sparse = forward.at(densities)
        dense = 2 * sparse + forward.total
        total += (dense if dense_gradients == "every" else 3 * sparse) * (samples(end) - samples(start))
        if end == ends[-1]:
            continue
        if dense_gradients == "updates":
            total += (dense - 3 * sparse) * (samples(end) - samples(end - 1))
        total += 3 * sparse * beside[0] + dense * beside[1]
    return total
