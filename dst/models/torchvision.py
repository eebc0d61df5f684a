"""torchvision's classifiers by name, untrained."""

from __future__ import annotations

from torch import nn

from dst.errors import unknown


def from_torchvision(*, name: str, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    """Returns torchvision's classifier ``name`` with random weights and ``outputs`` logits, those alone.

    Raises:
        ValueError: for a name torchvision has no classifier for.
    """
    import torchvision.models  # slow to import, and most models do without

    if name not in torchvision.models.list_models(module=torchvision.models):
        raise ValueError(f"name={name}: {unknown(name, torchvision.models.list_models(module=torchvision.models))}")
    # GoogLeNet and Inception would return the logits of auxiliary heads beside their own while training
    auxiliary = {"aux_logits": False, "init_weights": True} if name in ("googlenet", "inception_v3") else {}
    model: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=outputs, **auxiliary)
    return model
