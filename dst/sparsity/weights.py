"""Finds the weights of a model that can be sparse: linear maps, listed in a registry of layer classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from torch import Tensor, nn

_WEIGHT: dict[str, Sequence[str]] = {"weight": ()}
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)

_LINEAR: dict[type[nn.Module] | str, Mapping[str, Sequence[str]]] = {
    nn.Linear: _WEIGHT,
    **dict.fromkeys(_CONVOLUTIONS, _WEIGHT),
    nn.MultiheadAttention: {"in_proj_weight": "qkv", "q_proj_weight": (), "k_proj_weight": (), "v_proj_weight": ()},
    "transformers.pytorch_utils.Conv1D": _WEIGHT,  # GPT-2's linear layer, its weight stored (in, out)
}
"""Layer class, or its qualified name for an optional dependency, to its weight names; see :func:`register_linear`."""


class PackedWeight(NamedTuple):
    """One of several weight matrices packed in a parameter, such as the query weight of ``in_proj_weight``."""

    name: str
    rows: slice


def register_linear(kind: type[nn.Module] | str, weights: Mapping[str, Sequence[str]] = _WEIGHT) -> None:
    """Registers the weights of a layer class and its subclasses as sparsifiable.

        register_linear(MyLinear)  # its parameter ``weight``
        register_linear(MyAttention, {"qkv": ("q", "k", "v"), "out": ()})
        register_linear(MyHead, {})  # a subclass of nn.Linear that stays dense

    Args:
        kind: the class, or its qualified name such as ``transformers.pytorch_utils.Conv1D``.
        weights: parameter name to the names of the weight matrices that it packs in equal blocks of rows, ``()`` if
            it is a single one. Shape ``(out, in, …)`` or ``(in, out, …)``. An instance may lack some of them.
    """
    _LINEAR[kind] = dict(weights)


def linear_weights(
    model: nn.Module, *, tied_embeddings: bool = False
) -> Iterator[tuple[str, nn.Parameter, tuple[PackedWeight, ...]]]:
    """Yields name, parameter and packed weights of each sparsifiable parameter, in the order of the modules.

    Args:
        model: see :func:`sparsifiable_weights` for what is included.
        tied_embeddings: include weights shared with an embedding.

    Raises:
        ValueError: if the rows of a parameter cannot be divided equally among its packed weights.
    """
    seen = set() if tied_embeddings else _embeddings(model)
    for prefix, module in model.named_modules():
        for name, packed_names in _registered(module).items():
            weight = getattr(module, name, None)
            if not isinstance(weight, nn.Parameter) or weight in seen or not weight.requires_grad:
                continue
            seen.add(weight)
            full_name = f"{prefix}.{name}" if prefix else name
            yield full_name, weight, _packed_weights(full_name, weight, packed_names)


def sparsifiable_weights(model: nn.Module, *, tied_embeddings: bool = False) -> dict[str, nn.Parameter]:
    """Returns the weights that can be sparse by parameter name, including those of the first and last layer.

    These are the weights of linear layers, convolutions, transposed convolutions, attention and the layers added with
    :func:`register_linear`, except frozen ones (``requires_grad=False``). A weight shared by several layers appears
    once, under its first name.

    Args:
        model: any module.
        tied_embeddings: include weights that a linear layer shares with an embedding.
    """
    return {name: weight for name, weight, _ in linear_weights(model, tied_embeddings=tied_embeddings)}


def dense_weights(model: nn.Module, *, tied_embeddings: bool = False) -> dict[str, nn.Parameter]:
    """Returns the parameters with two or more dimensions that are not :func:`sparsifiable_weights`, by name.

    Args:
        model: any module.
        tied_embeddings: count weights that a linear layer shares with an embedding as sparsifiable.
    """
    sparse = set(sparsifiable_weights(model, tied_embeddings=tied_embeddings).values())
    return {name: weight for name, weight in model.named_parameters() if weight.dim() >= 2 and weight not in sparse}


def describe_dense(model: nn.Module, dense: Mapping[str, nn.Parameter]) -> str:
    """Returns a log line with the names of the dense weights and their share of all weights.

    Args:
        model: any module.
        dense: its :func:`dense_weights`.
    """
    embeddings = _embeddings(model)
    count = sum(weight.numel() for weight in dense.values())
    total = sum(weight.numel() for weight in model.parameters() if weight.dim() >= 2)
    names = [name + _reason(weight, embeddings) for name, weight in dense.items()]
    rest = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    share = f"{count:,} of {total:,} weights ({count / total:.0%}) stay dense"
    return f"{share}, the density does not apply to them: {', '.join(names[:_MAX_NAMES])}{rest}"


_MAX_NAMES = 20
"""Weights named in one log line; a large language model has hundreds."""


def _reason(weight: nn.Parameter, embeddings: set[Tensor]) -> str:
    return " (frozen)" if not weight.requires_grad else " (embedding)" if weight in embeddings else ""


def _embeddings(model: nn.Module) -> set[Tensor]:
    return {module.weight for module in model.modules() if isinstance(module, (nn.Embedding, nn.EmbeddingBag))}


def _registered(module: nn.Module) -> Mapping[str, Sequence[str]]:
    """Returns the registry entry of the module's class, or of its closest registered base class."""
    for kind in type(module).__mro__:
        for key in (kind, f"{kind.__module__}.{kind.__qualname__}"):
            if key in _LINEAR:
                return _LINEAR[key]
    return {}


def _packed_weights(name: str, parameter: nn.Parameter, packed_names: Sequence[str]) -> tuple[PackedWeight, ...]:
    if not packed_names:
        return ()
    rows, rest = divmod(len(parameter), len(packed_names))
    if rest:
        raise ValueError(f"{name}: its {len(parameter)} rows do not divide into {', '.join(packed_names)}")
    return tuple(PackedWeight(packed, slice(i * rows, (i + 1) * rows)) for i, packed in enumerate(packed_names))
