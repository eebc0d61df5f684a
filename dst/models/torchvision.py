"""Untrained torchvision classifiers by name."""

from __future__ import annotations

from torch import nn

from dst.errors import unknown


def from_torchvision(*, name: str, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    """Returns a torchvision classifier with random weights and without auxiliary heads.

    Args:
        name: as in ``torchvision.models.list_models``.
        input_shape: not used; the network adapts to the image size.
        outputs: number of logits.

    Raises:
        ValueError: if torchvision has no classifier of that name.
    """
    import torchvision.models  # imported here: slow, and most models do not need it

    if name not in torchvision.models.list_models(module=torchvision.models):
        raise ValueError(f"name={name}: {unknown(name, torchvision.models.list_models(module=torchvision.models))}")
    # in training mode, GoogLeNet and Inception would return the logits of their auxiliary heads too
    auxiliary = {"aux_logits": False, "init_weights": True} if name in ("googlenet", "inception_v3") else {}
    model: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=outputs, **auxiliary)
    return model
