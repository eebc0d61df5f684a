"""Finds the weights of a model that can be sparse: linear maps, listed in a registry of layer classes."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from torch import Tensor, nn

Patterns = str | Sequence[str] | None
"""Glob patterns of parameter names, see :func:`sparsifiable_weights`."""

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
    model: nn.Module, *, include: Patterns = None, exclude: Patterns = None, tied_embeddings: bool = False
) -> Iterator[tuple[str, nn.Parameter, tuple[PackedWeight, ...]]]:
    """Yields name, parameter and packed weights of each sparsifiable parameter, in the order of the modules.

    Args:
        model: see :func:`sparsifiable_weights`, also for the other arguments.
        include: patterns of the weights to yield.
        exclude: patterns of the weights to leave out.
        tied_embeddings: include weights shared with an embedding.

    Raises:
        ValueError: if a pattern matches nothing, or the rows of a parameter cannot be divided equally among its packed
            weights.
    """
    included = None if include is None else _matching("include", include, model)
    seen = set() if exclude is None else _matching("exclude", exclude, model)
    if included is None and not tied_embeddings:
        seen |= _embeddings(model)
    for prefix, module in model.named_modules():
        registered = _registered(module)
        for name in registered if included is None else dict(module.named_parameters(recurse=False)):
            weight = getattr(module, name, None)
            if not isinstance(weight, nn.Parameter) or weight in seen or not weight.requires_grad:
                continue
            if included is not None and weight not in included:
                continue
            seen.add(weight)
            full_name = f"{prefix}.{name}" if prefix else name
            yield full_name, weight, _packed_weights(full_name, weight, registered.get(name, ()))


def sparsifiable_weights(
    model: nn.Module, *, include: Patterns = None, exclude: Patterns = None, tied_embeddings: bool = False
) -> dict[str, nn.Parameter]:
    """Returns the weights that can be sparse by parameter name, including those of the first and last layer.

    These are the weights of linear layers, convolutions, transposed convolutions, attention and the layers added with
    :func:`register_linear`, except frozen ones (``requires_grad=False``). A weight shared by several layers appears
    once, under its first name.

    With ``include``, they are instead exactly the trainable parameters of two or more dimensions, embeddings too, whose
    name matches one of its patterns; ``exclude`` then takes out those that match one of its own.

    Args:
        model: any module.
        include: glob patterns of whole parameter names, case-sensitive, such as ``encoder.*.weight``; ``*`` matches
            dots too. A shared weight has several names, of which one has to match.
        exclude: likewise.
        tied_embeddings: include weights that a linear layer shares with an embedding; no effect with ``include``.

    Raises:
        ValueError: if a pattern matches no parameter of two or more dimensions.
    """
    found = linear_weights(model, include=include, exclude=exclude, tied_embeddings=tied_embeddings)
    return {name: weight for name, weight, _ in found}


def dense_weights(
    model: nn.Module, *, include: Patterns = None, exclude: Patterns = None, tied_embeddings: bool = False
) -> dict[str, nn.Parameter]:
    """Returns the parameters with two or more dimensions that are not :func:`sparsifiable_weights`, by name.

    Args:
        model: any module.
        include: see :func:`sparsifiable_weights`, also for the other arguments.
        exclude: patterns of weights that are dense.
        tied_embeddings: count weights that a linear layer shares with an embedding as sparsifiable.
    """
    found = linear_weights(model, include=include, exclude=exclude, tied_embeddings=tied_embeddings)
    sparse = {weight for _, weight, _ in found}
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
    share = f"{count:,} of {total:,} weights ({count / total:.1%}) stay dense"
    return f"{share}, the density does not apply to them: {', '.join(names[:_MAX_NAMES])}{rest}"


_MAX_NAMES = 20
"""Weights named in one log line; a large language model has hundreds."""


def _reason(weight: nn.Parameter, embeddings: set[Tensor]) -> str:
    return " (frozen)" if not weight.requires_grad else " (embedding)" if weight in embeddings else ""


def _matching(key: str, patterns: str | Sequence[str], model: nn.Module) -> set[Tensor]:
    """Returns the parameters of two or more dimensions with a name that matches one of the patterns."""
    named = [(name, weight) for name, weight in model.named_parameters(remove_duplicate=False) if weight.dim() >= 2]
    found: set[Tensor] = set()
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        matched = {weight for name, weight in named if fnmatchcase(name, pattern)}
        if not matched:
            close = difflib.get_close_matches(pattern, [name for name, _ in named], n=3, cutoff=0.0)
            raise ValueError(
                f"{key}={pattern}: matches no parameter of two or more dimensions; the closest names are "
                f"{', '.join(close)}"
            )
        found |= matched
    return found


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
