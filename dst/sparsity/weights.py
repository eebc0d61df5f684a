"""Which weights of a model can be sparse: those used as linear maps, found by a registry of layer classes."""

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
"""Layer classes, or their qualified names where they are not ours to import, and which of their parameters are maps."""


class Part(NamedTuple):
    """A layer's weight within a parameter that packs several: its name and its rows."""

    name: str
    rows: slice


def register_linear(kind: type[nn.Module] | str, weights: Mapping[str, Sequence[str]] = _WEIGHT) -> None:
    """Lets the weights of a layer class, its subclasses included, be sparse.

        register_linear(MyLinear)  # its parameter ``weight``
        register_linear(MyAttention, {"qkv": ("q", "k", "v"), "out": ()})
        register_linear(MyHead, {})  # a subclass of nn.Linear that stays dense

    Args:
        kind: the class, or its qualified name such as ``transformers.pytorch_utils.Conv1D``.
        weights: the names of parameters with two or more dimensions, out and in or in and out first; for one that
            packs several layers' weights in equal blocks of rows, the names of these parts. An instance may lack some.
    """
    _LINEAR[kind] = dict(weights)


def linear_maps(
    model: nn.Module, *, tied_embeddings: bool = False
) -> Iterator[tuple[str, nn.Parameter, tuple[Part, ...]]]:
    """Yields parameter name, parameter and parts of each weight that can be sparse, in the order of the modules.

    A weight that several layers share comes once, under its first name. Left out are frozen weights
    (``requires_grad`` is False) and, unless ``tied_embeddings``, those that are an embedding's too.

    Raises:
        ValueError: for rows that do not divide into the registered parts.
    """
    seen = set() if tied_embeddings else _embeddings(model)
    for prefix, module in model.named_modules():
        for name, part_names in _registered(module).items():
            weight = getattr(module, name, None)
            if not isinstance(weight, nn.Parameter) or weight in seen or not weight.requires_grad:
                continue
            seen.add(weight)
            full_name = f"{prefix}.{name}" if prefix else name
            yield full_name, weight, _parts(full_name, weight, part_names)


def sparsifiable_weights(model: nn.Module, *, tied_embeddings: bool = False) -> dict[str, nn.Parameter]:
    """Returns the weights that can be sparse by parameter name, first and last layer included.

    They are those of linear layers, convolutions, transposed convolutions, attention and whatever
    :func:`register_linear` was told of. A weight that several layers share comes once, under its first name; frozen
    weights and, unless ``tied_embeddings``, a linear layer's weight that is an embedding's too are left out.
    """
    return {name: weight for name, weight, _ in linear_maps(model, tied_embeddings=tied_embeddings)}


def dense_weights(model: nn.Module, *, tied_embeddings: bool = False) -> dict[str, nn.Parameter]:
    """Returns the parameters of two or more dimensions that stay dense, by name: not :func:`sparsifiable_weights`."""
    sparse = set(sparsifiable_weights(model, tied_embeddings=tied_embeddings).values())
    return {name: weight for name, weight in model.named_parameters() if weight.dim() >= 2 and weight not in sparse}


def describe_dense(model: nn.Module, dense: Mapping[str, nn.Parameter]) -> str:
    """Returns a line that names the ``dense`` weights of the model and their share of all of its matrices."""
    embeddings = _embeddings(model)
    count = sum(weight.numel() for weight in dense.values())
    total = sum(weight.numel() for weight in model.parameters() if weight.dim() >= 2)
    names = [name + _reason(weight, embeddings) for name, weight in dense.items()]
    rest = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    share = f"{count:,} of {total:,} weights ({count / total:.0%}) stay dense"
    return f"{share}, the density does not apply to them: {', '.join(names[:_NAMED])}{rest}"


_NAMED = 20
"""Weights named in one line; a large language model has hundreds."""


def _reason(weight: nn.Parameter, embeddings: set[Tensor]) -> str:
    return " (frozen)" if not weight.requires_grad else " (embedding)" if weight in embeddings else ""


def _embeddings(model: nn.Module) -> set[Tensor]:
    return {module.weight for module in model.modules() if isinstance(module, (nn.Embedding, nn.EmbeddingBag))}


def _registered(module: nn.Module) -> Mapping[str, Sequence[str]]:
    """Returns what is registered for the module's class or else for the closest of its bases."""
    for kind in type(module).__mro__:
        for key in (kind, f"{kind.__module__}.{kind.__qualname__}"):
            if key in _LINEAR:
                return _LINEAR[key]
    return {}


def _parts(name: str, weight: nn.Parameter, part_names: Sequence[str]) -> tuple[Part, ...]:
    if not part_names:
        return ()
    rows, rest = divmod(len(weight), len(part_names))
    if rest:
        raise ValueError(f"{name}: its {len(weight)} rows do not divide into {', '.join(part_names)}")
    return tuple(Part(part, slice(i * rows, (i + 1) * rows)) for i, part in enumerate(part_names))
