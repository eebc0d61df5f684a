"""torchvision's classifiers by name, untrained or trained on ImageNet, and its residual networks for small images."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from dst.errors import PlaceError, unknown

_WITH_AUXILIARY_HEADS = ("googlenet", "inception_v3")
_PUBLISHED = "IMAGENET1K_V1"
_DEPTHS = (18, 34, 50, 101, 152)


def from_torchvision(*, name: str, input_shape: tuple[int, ...], outputs: int, weights: str | None = None) -> nn.Module:
    """Returns a torchvision classifier without auxiliary heads.

    Args:
        name: as in ``torchvision.models.list_models``.
        input_shape: not used; the network adapts to the image size.
        outputs: number of logits.
        weights: ``imagenet``: torchvision's ``IMAGENET1K_V1``, except for the last layer where ``outputs`` is not 1000;
            None: random weights.

    Raises:
        PlaceError: if the weights can be neither found nor downloaded.
        ValueError: if torchvision has no classifier of that name, or no such weights for it.
    """
    import torchvision.models  # imported here: slow, and most models do not need it

    if name not in torchvision.models.list_models(module=torchvision.models):
        raise ValueError(f"name={name}: {unknown(name, torchvision.models.list_models(module=torchvision.models))}")
    if weights is not None:
        _check_published(name, weights)
    # in training mode, GoogLeNet and Inception would return the logits of their auxiliary heads too
    auxiliary = {"aux_logits": False, "init_weights": True} if name in _WITH_AUXILIARY_HEADS else {}
    model: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=outputs, **auxiliary)
    if weights is not None:
        own, trained = model.state_dict(), _trained(name)
        model.load_state_dict({key: trained[key] if trained[key].shape == own[key].shape else own[key] for key in own})
    return model


def _check_published(name: str, weights: str) -> None:
    import torchvision.models

    if weights != "imagenet":
        raise ValueError(f"weights={weights}: {unknown(weights, ['imagenet'])}, or null")
    if name in _WITH_AUXILIARY_HEADS or _PUBLISHED not in torchvision.models.get_model_weights(name).__members__:
        raise ValueError(f"weights={weights}: there are none for {name}; give null")


def _trained(name: str) -> dict[str, Tensor]:
    """Returns the trained weights from torchvision's cache, or downloads them into it."""
    import torchvision.models

    url = torchvision.models.get_model_weights(name)[_PUBLISHED].url
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name
    try:
        with contextlib.redirect_stdout(sys.stderr):  # torch tells of a download where commands print their results
            trained = torchvision.models.get_model(name, weights=_PUBLISHED, progress=False)
    except Exception as error:  # of the network, of the disk, or of the file's contents
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        failed = "cannot be read" if file.exists() else f"is not there, and downloading {url} failed"
        raise PlaceError(
            f"model.weights=imagenet: {file} {failed} ({reason}); put the file there, or set TORCH_HOME to a folder "
            f"with hub/checkpoints/{file.name}"
        ) from error
    state: dict[str, Tensor] = trained.state_dict()
    return state


def small_image_resnet(*, depth: int, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    """Returns torchvision's residual network with a first layer for small images: 3×3, stride 1, no max-pooling.

    Args:
        depth: 18, 34, 50, 101 or 152.
        input_shape: of one image, ``(channels, height, width)``.
        outputs: number of logits.

    Raises:
        ValueError: for another depth.
    """
    import torchvision.models

    if depth not in _DEPTHS:
        raise ValueError(f"depth={depth}: must be one of {', '.join(map(str, _DEPTHS))}")
    model: nn.Module = torchvision.models.get_model(f"resnet{depth}", weights=None, num_classes=outputs)
    model.conv1 = nn.Conv2d(input_shape[0], 64, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")  # as torchvision's own
    model.maxpool = nn.Identity()
    return model
