"""timm's classifiers by name, untrained or with the weights that timm publishes."""

from __future__ import annotations

import difflib
from typing import Any

import torch
from torch import nn

from dst.errors import unknown
from dst.hub import missing_library, missing_told

_OF_THE_DATA = ("num_classes", "in_chans", "img_size")


def from_timm(
    *, name: str, input_shape: tuple[int, ...], outputs: int, weights: str | None = None, **parameters: Any
) -> nn.Module:
    """Returns a classifier of timm for the channels, and where it is built for one size, the size of the images.

    Args:
        name: as in ``timm.list_models``; with a tag (``vit_base_patch16_224.mae``) it chooses among several weights.
        input_shape: of one image, ``(channels, height, width)``.
        outputs: number of logits.
        weights: ``imagenet``: those that timm publishes, fitted by timm to the channels and the size of the images,
            except for the last layer where the number of classes differs; None: random weights.
        parameters: further ones of the network, such as ``depth``, ``patch_size`` or ``drop_path_rate``.

    Raises:
        PlaceError: if the weights can be neither found nor downloaded.
        UserError: if timm is not installed.
        ValueError: if timm has no classifier of that name or no such weights for it, if the data are no images, or for
            a parameter that the data decide.
    """
    timm = _timm()
    _check_name(name)
    if len(input_shape) != 3:
        raise ValueError("timm's networks take images")
    for key in (*_OF_THE_DATA, "pretrained"):
        if key in parameters:
            raise ValueError(f"model.{key}: {'comes from the dataset' if key in _OF_THE_DATA else 'is model.weights'}")
    channels, *size = input_shape
    config = timm.get_pretrained_cfg(name)
    if config is not None and config.fixed_input_size:
        parameters["img_size"] = tuple(size)
    parameters |= {"num_classes": outputs, "in_chans": channels}
    if weights is None:
        model: nn.Module = timm.create_model(name, **parameters)
        return model
    _check_published(name, weights)
    with torch.random.fork_rng(devices=[]):  # so that what fails from here on is the fault of the weights
        timm.create_model(name, **parameters)
    return _with_trained(name, config, parameters)


def _timm() -> Any:
    try:
        import timm  # imported here: slow, and an extra
    except ImportError as error:
        raise missing_library("timm", error) from error
    return timm


def _check_name(name: str) -> None:
    timm = _timm()
    architecture, _, tag = name.partition(".")
    names = timm.list_models()
    if architecture not in names:
        close = difflib.get_close_matches(architecture, names, n=5)
        hint = f"did you mean {', '.join(close)}? " if close else ""
        raise ValueError(f"name={name}: unknown; {hint}timm.list_models() has all {len(names):,}")
    tagged = [full.partition(".")[2] for full in timm.list_models(f"{architecture}.*", pretrained=True)]
    if tag and tag not in tagged:
        raise ValueError(f"name={name}: no weights of {architecture} are called {tag}; {unknown(tag, tagged)}")


def _check_published(name: str, weights: str) -> None:
    if weights != "imagenet":
        raise ValueError(f"weights={weights}: {unknown(weights, ['imagenet'])}, or null")
    if not _timm().list_models(name if "." in name else f"{name}.*", pretrained=True):
        raise ValueError(f"weights={weights}: there are none for {name}; give null")


def _with_trained(name: str, config: Any, parameters: dict[str, Any]) -> nn.Module:
    """Returns the network with its trained weights, from the cache of Hugging Face or torch, or downloaded into it."""
    where = () if config.hf_hub_id else ("TORCH_HOME", torch.hub.get_dir())
    with missing_told(f"model.weights=imagenet, {config.hf_hub_id or config.url}", *where):
        model: nn.Module = _timm().create_model(name, pretrained=True, **parameters)
    return model
