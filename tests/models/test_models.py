"""The paper's networks: published sizes, seeded initial weights, and errors for unsupported input shapes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from dst.config import compose, run_id
from dst.config.tree import component
from dst.errors import UserError
from dst.models import MLP, PlainVGG16, build_model
from dst.sparsity import sparsifiable_weights

torch.set_num_threads(1)

PUBLISHED: dict[str, tuple[tuple[int, ...], int, int, int]] = {  # input shape, classes, parameters, sparsifiable
    "small_mlp": ((24,), 2, 72_449, 71_936),
    "large_mlp": ((3, 32, 32), 10, 3_676_682, 3_675_136),
    "small_cnn": ((3, 32, 32), 10, 94_538, 94_304),
    "lenet5_caffe": ((1, 28, 28), 10, 431_080, 430_500),
    "resnet56": ((3, 32, 32), 10, 855_770, 851_504),
    "vgg16": ((3, 32, 32), 100, 14_770_212, 14_761_664),
    "vgg16_imagenet": ((3, 64, 64), 1000, 15_222_464, 15_222_464),  # whatever the images' size
    "efficientnet_b0": ((3, 64, 64), 200, 4_263_748, 4_212_192),
    "resnet50": ((3, 224, 224), 1000, 25_557_032, 25_502_912),
    "resnet18": ((3, 224, 224), 1000, 11_689_512, 11_678_912),
    "resnet20": ((3, 32, 32), 10, 272_474, 270_896),
    "resnet18_cifar": ((3, 32, 32), 10, 11_173_962, 11_164_352),
    "resnet50_cifar": ((3, 32, 32), 100, 23_705_252, 23_652_032),
    "large_mlp_dropout": ((3, 32, 32), 10, 3_676_682, 3_675_136),
    "lenet300_100": ((1, 28, 28), 10, 266_610, 266_200),
    "lenet300_100_glorot": ((1, 28, 28), 10, 266_610, 266_200),
    "lenet5": ((1, 28, 28), 10, 44_426, 44_190),  # 150 + 2,400 + 256·120 + 120·84 + 84·10 weights, 236 biases
}
SMALL = [name for name, (_, _, parameters, _) in PUBLISHED.items() if parameters < 4_000_000]


def node_of(model: str, **changes: Any) -> dict[str, Any]:
    node = component("model", model)
    node.pop("defaults", None)
    return node | changes


def build(name: str, seed: int = 0, **changes: Any) -> nn.Module:
    shape, classes, _, _ = PUBLISHED[name]
    return build_model(node_of(name, **changes), input_shape=shape, num_classes=classes, seed=seed)


def error_of(node: dict[str, Any], shape: tuple[int, ...], dataset: str = "digits") -> str:
    with pytest.raises(UserError) as error:
        build_model(node, input_shape=shape, num_classes=10, seed=0, dataset=dataset)
    assert "\n" not in str(error.value)
    return str(error.value)


def same_weights(first: nn.Module, second: nn.Module) -> bool:
    return all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameter_counts_are_the_published_ones_and_logits_have_the_right_shape(name: str) -> None:
    shape, classes, total, sparsifiable = PUBLISHED[name]
    model = build(name)
    assert sum(parameter.numel() for parameter in model.parameters()) == total
    assert sum(weight.numel() for weight in sparsifiable_weights(model).values()) == sparsifiable
    assert model.training
    logits = model.eval()(
        torch.randn(2, *(shape if len(shape) == 1 else (shape[0], min(shape[1], 64), min(shape[2], 64))))
    )
    assert logits.shape == (2, 1 if classes == 2 else classes)


@pytest.mark.parametrize(
    ("model", "changes", "parameters"),
    [("lenet5", {"widths": [3, 3, 27, 20]}, 2_399), ("lenet300_100_glorot", {"hidden": [8, 8]}, 6_442)],
)
def test_small_dense_models_have_the_sizes_of_the_gradient_flow_paper(
    model: str, changes: dict[str, Any], parameters: int
) -> None:
    assert sum(parameter.numel() for parameter in build(model, **changes).parameters()) == parameters


@pytest.mark.parametrize("name", ["lenet5", "lenet300_100_glorot"])
def test_glorot_weights_fill_their_interval_and_biases_are_zero(name: str) -> None:
    layers = [module for module in build(name).modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    for layer in layers:
        outputs, inputs = layer.weight.shape[:2]
        limit = math.sqrt(6 / ((inputs + outputs) * math.prod(layer.weight.shape[2:])))
        assert 0.95 * limit < layer.weight.abs().max() <= limit
        assert float(layer.weight.detach().std()) == pytest.approx(limit / math.sqrt(3), rel=0.15)
        assert layer.bias is not None
        assert not layer.bias.any()


@pytest.mark.parametrize("name", SMALL)
def test_the_same_seed_gives_the_same_weights_whatever_the_global_generator_state(name: str) -> None:
    torch.manual_seed(1)
    first = build(name, seed=3)
    torch.manual_seed(2)
    torch.rand(100)
    assert same_weights(first, build(name, seed=3))
    assert not same_weights(first, build(name, seed=4))


def test_building_a_model_does_not_advance_the_global_generator() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    build("small_mlp")
    assert torch.equal(torch.rand(3), expected)


def test_the_trial_forward_pass_does_not_change_batch_norm_statistics() -> None:
    norms = [module for module in build("resnet56").modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 57
    for norm in norms:
        assert norm.num_batches_tracked == 0
        assert not norm.running_mean.any()


@pytest.mark.parametrize("name", ["small_mlp", "large_mlp", "lenet300_100"])
def test_an_mlp_accepts_any_input_shape(name: str) -> None:
    model = build_model(node_of(name), input_shape=(1, 8, 8), num_classes=10, seed=0)
    assert model(torch.randn(4, 1, 8, 8)).shape == (4, 10)


@pytest.mark.parametrize("name", ["small_cnn", "resnet56"])
def test_the_small_image_networks_accept_the_digits(name: str) -> None:
    model = build_model(node_of(name), input_shape=(1, 8, 8), num_classes=10, seed=0)
    assert model(torch.randn(4, 1, 8, 8)).shape == (4, 10)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("lenet5_caffe", (1, 8, 8)),
        ("lenet5", (1, 8, 8)),
        ("vgg16", (1, 8, 8)),
        ("small_cnn", (24,)),
        ("small_cnn", (3, 2, 2)),
        ("resnet56", (24,)),
        ("efficientnet_b0", (1, 28, 28)),
        ("resnet50", (1, 28, 28)),
    ],
)
def test_an_unsupported_shape_is_rejected_in_one_line_with_model_data_and_shape(
    name: str, shape: tuple[int, ...]
) -> None:
    line = error_of(node_of(name), shape)
    assert line.startswith(f"model={name}: cannot be built for digits's {'×'.join(map(str, shape))} inputs (")


def test_large_mlp_dropout_is_large_mlp_with_dropout_0_05_after_each_hidden_layer() -> None:
    def kinds(name: str) -> list[str]:
        return [type(module).__name__ for module in build(name).modules() if not list(module.children())]

    dropouts = [module for module in build("large_mlp_dropout").modules() if isinstance(module, nn.Dropout)]
    assert [dropout.p for dropout in dropouts] == [0.05, 0.05]
    assert kinds("large_mlp_dropout") == ["Flatten", *["Linear", "ReLU", "Dropout"] * 2, "Linear"]
    assert kinds("large_mlp") == ["Flatten", *["Linear", "ReLU"] * 2, "Linear"]
    assert same_weights(build("large_mlp"), build("large_mlp_dropout"))


def test_lenet300_100_has_hidden_layers_of_300_and_100() -> None:
    shapes = [tuple(weight.shape) for weight in sparsifiable_weights(build("lenet300_100")).values()]
    assert shapes == [(300, 784), (100, 300), (10, 100)]


def test_resnet56_has_two_1x1_convolutions_in_its_shortcuts() -> None:
    shapes = [tuple(weight.shape) for weight in sparsifiable_weights(build("resnet56")).values()]
    assert [shape for shape in shapes if len(shape) == 4 and shape[2:] == (1, 1)] == [(32, 16, 1, 1), (64, 32, 1, 1)]
    assert len(shapes) == 58


def test_resnet_accepts_other_depths_and_rejects_invalid_ones() -> None:
    assert sum(len(weight.shape) == 4 for weight in sparsifiable_weights(build("resnet56", depth=20)).values()) == 21
    assert "depth=21: must be 6n + 2" in error_of(node_of("resnet56", depth=21), (3, 32, 32))


def test_a_resnet_for_small_images_reduces_32_pixels_to_4_before_it_averages() -> None:
    model, sizes = build("resnet18_cifar").eval(), []
    model.avgpool.register_forward_pre_hook(lambda _, inputs: sizes.append(inputs[0].shape))
    model(torch.zeros(1, 3, 32, 32))
    assert sizes == [(1, 512, 4, 4)]
    one_channel = build_model(node_of("resnet18_cifar"), input_shape=(1, 8, 8), num_classes=10, seed=0)
    assert one_channel(torch.randn(2, 1, 8, 8)).shape == (2, 10)
    assert "depth=20: must be one of 18, 34" in error_of(node_of("resnet18_cifar", depth=20), (3, 32, 32))


def test_any_torchvision_classifier_can_be_built_by_name() -> None:
    import torchvision

    for name in ("resnet18", "squeezenet1_1"):
        model = build_model(node_of("torchvision", name=name), input_shape=(3, 32, 32), num_classes=7, seed=0)
        assert type(model) is type(torchvision.models.get_model(name))
        assert model.eval()(torch.randn(2, 3, 32, 32)).shape == (2, 7)


@pytest.mark.filterwarnings("ignore")
def test_torchvision_models_have_no_auxiliary_heads() -> None:
    model = build_model(node_of("torchvision", name="googlenet"), input_shape=(3, 32, 32), num_classes=7, seed=0)
    assert model.train()(torch.randn(2, 3, 32, 32)).shape == (2, 7)


def test_an_unknown_torchvision_name_is_rejected_with_the_closest_one() -> None:
    line = error_of(node_of("torchvision", name="resnt18"), (3, 32, 32))
    assert line.startswith("model=resnt18: ")
    assert "did you mean resnet18?" in line


def test_an_unknown_model_or_key_is_rejected_in_one_line_with_the_valid_ones() -> None:
    with pytest.raises(UserError, match=r"^model=larg_mlp: unknown; did you mean large_mlp\?[^\n]*small_cnn[^\n]*$"):
        node_of("larg_mlp")
    assert error_of(node_of("small_mlp", hiden=[3]), (24,)).startswith("model.hiden=[3]: unknown; did you mean hidden?")
    assert error_of(node_of("small_mlp", hidden="wide"), (24,)).startswith("model.hidden=wide: ")


def test_the_plain_vgg16_has_neither_norms_nor_biases_and_he_normal_weights() -> None:
    model = build_model(node_of("vgg16_imagenet", width=0.5), input_shape=(3, 32, 32), num_classes=10, seed=0)
    weights = dict(model.named_parameters())
    assert not list(model.buffers())
    assert [weight.dim() for weight in weights.values()] == [4] * 13 + [2]
    for weight in weights.values():
        he = math.sqrt(2 / math.prod(weight.shape[1:]))
        assert float(weight.detach().std()) == pytest.approx(he, rel=0.1)


def test_a_narrow_vgg16_is_as_large_as_the_sparse_one() -> None:
    with torch.device("meta"):
        narrow, full = (PlainVGG16(input_shape=(3, 224, 224), outputs=1000, width=width) for width in (0.44, 1.0))
    sizes = [sum(weight.numel() for weight in model.parameters()) for model in (narrow, full)]
    assert sizes == [3_062_313, 15_222_464]
    assert sizes[0] == pytest.approx(0.2 * sizes[1], rel=0.01)


def test_dropout_on_the_input_is_an_option_that_leaves_earlier_ids_as_they_were() -> None:
    model = MLP(input_shape=(100,), outputs=1, hidden=[], input_dropout=0.5)
    torch.nn.init.ones_(model.layers[-1].weight)  # type: ignore[arg-type]
    torch.nn.init.zeros_(model.layers[-1].bias)  # type: ignore[arg-type]
    sums = model(torch.ones(50, 100))
    assert set((sums % 2).flatten().tolist()) == {0.0}  # kept inputs count twice
    assert 60 < sums.mean() < 140
    assert len(sums.unique()) > 5
    assert torch.equal(model.eval()(torch.ones(1, 100)), torch.tensor([[100.0]]))
    assert run_id(compose(["model=large_mlp_dropout"])) == "2bfa31e013cd"
    assert run_id(compose(["model=large_mlp_dropout", "model.input_dropout=0.05"])) != "2bfa31e013cd"
