"""``model.weights=imagenet``: torchvision's trained weights, from its cache or one clear line."""

from __future__ import annotations

import urllib.request
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from dst.config import compose, run_id
from dst.config.tree import component
from dst.errors import UserError, is_of_place
from dst.models import build_model
from launch.plan import Plan
from launch.sweep import Point

torch.set_num_threads(1)


def build(model: str, classes: int, **changes: Any) -> nn.Module:
    node = component("model", model) | changes
    node.pop("defaults")
    return build_model(node, input_shape=(3, 32, 32), num_classes=classes, seed=1)


def expected_file(home: Path, name: str) -> Path:
    url = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"].url
    return home / "hub" / "checkpoints" / url.rpartition("/")[2]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty TORCH_HOME on a machine without network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for proxy in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(proxy, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setattr(urllib.request, "_opener", None)  # the one that knows the environment as it was
    return tmp_path


def cache(home: Path, name: str) -> dict[str, torch.Tensor]:
    file = expected_file(home, name)
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    state: dict[str, torch.Tensor] = torchvision.models.get_model(name).state_dict()
    torch.save(state, file)
    return state


@pytest.mark.parametrize(
    ("model", "name", "head"),
    [("resnet18", "resnet18", "fc"), ("torchvision", "squeezenet1_1", "classifier.1")],
)
def test_all_layers_have_the_trained_weights_but_a_head_of_another_number_of_classes(
    model: str, name: str, head: str, home: Path
) -> None:
    trained = cache(home, name)
    whole = build(model, 1000, name=name, weights="imagenet").state_dict()
    assert all(torch.equal(whole[key], value) for key, value in trained.items())
    untrained = build(model, 7, name=name).state_dict()
    for key, value in build(model, 7, name=name, weights="imagenet").state_dict().items():
        assert torch.equal(value, (untrained if key.startswith(f"{head}.") else trained)[key]), key


def test_without_network_one_line_names_the_file_and_what_to_set(home: Path) -> None:
    with pytest.raises(UserError) as error:
        build("efficientnet_b0", 200, weights="imagenet")
    line = str(error.value)
    assert "\n" not in line
    assert line.startswith(f"model.weights=imagenet: {expected_file(home, 'efficientnet_b0')} is not there")
    assert "downloading https://download.pytorch.org/models/efficientnet_b0_rwightman" in line
    assert line.endswith(
        "put the file there, or set TORCH_HOME to a folder with hub/checkpoints/" + line.split("/")[-1]
    )
    assert is_of_place(error.value)  # a sweep's runs wait for the file instead of failing


def test_runs_are_planned_without_the_file_with_a_warning(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    chosen = ("model=efficientnet_b0", "dataset=tiny_imagenet", "model.weights=imagenet")
    assert len(Plan.make("fine-tuned", home, [Point(chosen)]).runs) == 1
    [line] = caplog.messages
    assert line.startswith("efficientnet_b0 is not checked: model.weights=imagenet: ")
    with pytest.raises(UserError, match="weights=imagnet: unknown"):
        Plan.make("mistyped", home, [Point((*chosen[:2], "model.weights=imagnet"))])


def test_a_damaged_file_is_named_and_kept(home: Path) -> None:
    file = expected_file(home, "resnet18")
    file.parent.mkdir(parents=True)
    file.write_bytes(b"half a file")
    with pytest.raises(UserError, match=f"^model.weights=imagenet: {file} cannot be read "):
        build("resnet18", 10, weights="imagenet")
    assert file.read_bytes() == b"half a file"


@pytest.mark.parametrize(
    ("name", "weights", "told"),
    [
        ("resnet18", "imagnet", "weights=imagnet: unknown; did you mean imagenet? choose one of imagenet, or null"),
        ("googlenet", "imagenet", "weights=imagenet: there are none for googlenet; give null"),
        ("vit_h_14", "imagenet", "weights=imagenet: there are none for vit_h_14; give null"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_weights_that_do_not_exist_are_refused(name: str, weights: str, told: str, home: Path) -> None:
    with pytest.raises(UserError) as error:
        build("torchvision", 10, name=name, weights=weights)
    assert told in str(error.value)
    assert not is_of_place(error.value)


def test_trained_weights_are_another_run_and_none_are_the_run_of_before() -> None:
    chosen = ["model=efficientnet_b0", "dataset=tiny_imagenet"]
    assert run_id(compose(chosen)) == run_id(compose([*chosen, "model.weights=null"])) == "803016386e15"
    assert run_id(compose([*chosen, "model.weights=imagenet"])) != "803016386e15"
