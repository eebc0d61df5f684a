"""The Hessian of the mean loss of some samples, as an operator, and its eigenvalues (Evci et al., 2022)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from dst.probes.base import Batch

METHODS = ("auto", "exact", "lanczos")
"""``auto`` is ``exact`` up to the largest size allowed, else ``lanczos``."""

DTYPES = {"float32": torch.float32, "float64": torch.float64}
"""By name, those that a Hessian can be computed in."""

_ROWS = 8
"""Vectors that are multiplied at once."""


class Hessian:
    """The Hessian with respect to the active weights and all other trainable parameters, as one vector.

    The model, its buffers, its ``grad`` and the random state stay as they are. The loss is that of the model in its
    present mode; random numbers such as those of dropout are the same in every product.

    Args:
        model: see :func:`torch.func.functional_call`; inactive weights are 0.
        masks: bool, the active weights by parameter name; a parameter without one is all active.
        batches: the samples ``(x, y)``; iterated once for each call of :meth:`times`.
        loss_of: returns the mean loss of logits and labels.
        dtype: float32 or float64.
        seed: of the random numbers.

    Attributes:
        dtype: of the matrix.
    """

    def __init__(
        self,
        model: nn.Module,
        masks: Mapping[str, Tensor],
        batches: Sequence[Batch],
        loss_of: Callable[[Tensor, Tensor], Tensor],
        *,
        dtype: torch.dtype = torch.float32,
        seed: int = 0,
    ) -> None:
        self._model, self._batches, self._loss_of = model, batches, loss_of
        self.dtype, self._seed = dtype, seed
        self._trained = {name: weight.detach() for name, weight in model.named_parameters() if weight.requires_grad}
        self._all = _flat(weight.to(dtype) for weight in self._trained.values())
        self._index = active_index(self._trained, masks)
        self._active = self._all[self._index].requires_grad_()

    @property
    def size(self) -> int:
        """Number of rows."""
        return len(self._index)

    def times(self, vectors: Tensor) -> Tensor:
        """Returns the products of the Hessian and vectors.

        Args:
            vectors: ``(vectors, size)``, of the Hessian's dtype and device.
        """
        total = torch.zeros_like(vectors)
        for gradient in self._gradients():
            for begin in range(0, len(vectors), _ROWS):
                rows = slice(begin, begin + _ROWS)
                (product,) = torch.autograd.grad(
                    gradient, self._active, vectors[rows], is_grads_batched=True, retain_graph=True
                )
                total[rows] += product
        return total

    def matrix(self) -> Tensor:
        """Returns the Hessian, made symmetric: ``(size, size)``."""
        full = self.times(torch.eye(self.size, dtype=self.dtype, device=self._all.device))
        return (full + full.T) / 2

    def start(self) -> Tensor:
        """Returns a random vector ``(size,)``, equal on every device."""
        drawn = torch.randn(self.size, generator=torch.Generator().manual_seed(self._seed))
        return drawn.to(self._all)

    def _gradients(self) -> Iterator[Tensor]:
        """Yields each batch's share of the gradient, with the graph that it can be differentiated by."""
        samples = sum(len(y) for _, y in self._batches)
        device = self._all.device
        on_gpu = device.type == "cuda"
        with torch.random.fork_rng(devices=[device] if on_gpu else []), torch.enable_grad():
            torch.default_generator.manual_seed(self._seed)
            if on_gpu:
                with torch.cuda.device(device):
                    torch.cuda.manual_seed(self._seed)
            for x, y in self._batches:
                x = x.to(self.dtype) if x.is_floating_point() else x
                logits = functional_call(self._model, self._state(), (x,))
                loss = self._loss_of(logits, y) * (len(y) / samples)
                yield torch.autograd.grad(loss, self._active, create_graph=True)[0]

    def _state(self) -> dict[str, Tensor]:
        """Returns the parameters, as functions of the active ones, and copies of the buffers."""
        values = self._all.index_copy(0, self._index, self._active).split([w.numel() for w in self._trained.values()])
        parameters = {
            name: value.view(weight.shape) for (name, weight), value in zip(self._trained.items(), values, strict=True)
        }
        fixed = {name: weight.detach() for name, weight in self._model.named_parameters() if name not in parameters}
        buffers = {name: buffer.clone() for name, buffer in self._model.named_buffers()}
        others = {name: t.to(self.dtype) if t.is_floating_point() else t for name, t in {**fixed, **buffers}.items()}
        return {**parameters, **others}


def active_index(parameters: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> Tensor:
    """Returns the positions of the active weights and all other parameters in the parameters as one vector: int64.

    Args:
        parameters: by name.
        masks: bool, the active weights by parameter name.
    """
    active = [masks[name] if name in masks else torch.ones_like(w, dtype=torch.bool) for name, w in parameters.items()]
    return _flat(mask.to(w.device) for mask, w in zip(active, parameters.values(), strict=True)).nonzero()[:, 0]


def spectrum(
    hessian: Hessian, *, method: str = "auto", max_size: int = 5000, steps: int = 100, k: int = 20
) -> dict[str, Any]:
    """Returns the measures of the probe ``hessian``.

    ``eigenvalues`` are ascending: all (``exact``), or the lowest and highest ``k`` (``lanczos``); NaN where the loss
    has no finite Hessian. ``negative``, of ``exact`` alone, counts those further below 0 than rounding can push an
    eigenvalue of 0: 10 eps times the Frobenius norm.

    Args:
        hessian: the operator.
        method: one of :data:`METHODS`.
        max_size: the largest size for ``exact``.
        steps: of the Lanczos iteration.
        k: number of values at each end that ``lanczos`` returns.

    Returns:
        ``size``, ``method``, ``largest``, ``smallest``, ``negative`` and ``eigenvalues``.
    """
    method = choose_method(method, hessian.size, max_size)
    if exact := method == "exact":
        values = _eigenvalues(hessian.matrix())
    else:
        values = _ends(lanczos(hessian.times, hessian.start(), steps), k)
    rounding = 10 * torch.finfo(hessian.dtype).eps * torch.linalg.vector_norm(values)
    return {
        "size": hessian.size,
        "method": method,
        "largest": values[-1],
        "smallest": values[0],
        "negative": (values < -rounding).sum() if exact and values.isfinite().all() else None,
        "eigenvalues": values,
    }


def choose_method(method: str, size: int, max_size: int) -> str:
    """Returns ``exact`` or ``lanczos``.

    Args:
        method: one of :data:`METHODS`.
        size: of the Hessian.
        max_size: the largest size for ``exact``.

    Raises:
        ValueError: if the matrix for ``exact`` is too large.
    """
    if method == "exact" and size > max_size:
        raise ValueError(
            f"the Hessian of {size} parameters is a matrix of {size**2 * 4:,} bytes in float32; "
            f"set method=lanczos, or max_size={size}"
        )
    return method if method != "auto" else "exact" if size <= max_size else "lanczos"


def lanczos(times: Callable[[Tensor], Tensor], start: Tensor, steps: int) -> Tensor:
    """Returns the Ritz values of a symmetric operator, ascending: float64 ``(steps or fewer,)``.

    Every new vector is made orthogonal to all earlier ones, twice. Where they span an invariant space, it ends early.
    The outermost values come close to eigenvalues first; an eigenvalue is found once, whatever its multiplicity.

    Args:
        times: returns the products with vectors ``(vectors, size)``.
        start: a vector ``(size,)``.
        steps: number of products.
    """
    basis = (start / torch.linalg.vector_norm(start))[None]
    diagonal: list[float] = []
    beside: list[float] = []
    for _ in range(min(steps, len(start))):
        product = times(basis[-1:])[0]
        diagonal.append(float(basis[-1] @ product))
        for _ in range(2):
            product = product - basis.T @ (basis @ product)
        beside.append(float(torch.linalg.vector_norm(product)))
        if not beside[-1] > 10 * torch.finfo(start.dtype).eps * max(map(abs, diagonal)):
            break
        basis = torch.cat([basis, product[None] / beside[-1]])
    off = torch.tensor(beside[: len(diagonal) - 1], dtype=torch.float64)
    return _eigenvalues(
        torch.diag(torch.tensor(diagonal, dtype=torch.float64)) + torch.diag(off, 1) + torch.diag(off, -1)
    )


def _eigenvalues(matrix: Tensor) -> Tensor:
    matrix = matrix.double()
    if not matrix.isfinite().all():
        return torch.full_like(matrix[0], torch.nan)
    return torch.linalg.eigvalsh(matrix)


def _ends(values: Tensor, k: int) -> Tensor:
    return values if len(values) <= 2 * k else torch.cat([values[:k], values[-k:]])


def _flat(tensors: Iterable[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])
