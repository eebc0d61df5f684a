"""What no training can mean is refused in one line, before any file is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor, nn

from dst.config import checked, compose
from dst.errors import UserError
from dst.models import build_model
from dst.sparsity import Criterion

TypeIn = Callable[..., tuple[int, str, str]]


def refusal(*overrides: str) -> str:
    with pytest.raises(UserError) as error:
        checked(compose(["dataset=digits", "model=small_mlp", *overrides]))
    line = str(error.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("criterion=null", "criterion=null: unknown; choose one of grad_step, grasp, magnitude"),
        ("recipe=1", "recipe=1: unknown; choose one of"),
        ("=1", "=1: write key=value"),
        ("prune_fraction.stop_at=null", "prune_fraction.stop_at=None: "),
        ("prune_fraction.stop_at=abc", "prune_fraction.stop_at=abc: "),
        ("prune_fraction=linear prune_fraction.every=0", "prune_fraction=linear: cannot be built (factor=0.99"),
        ("tracker.timeout_s=nan", "tracker.timeout_s=nan: must be a finite number"),
        ("tracker.timeout_s=-1", "tracker.timeout_s=-1.0: must be above 0"),
        ("tracker.mode=nope", "tracker.mode=nope: unknown; choose one of online, offline, disabled"),
        ("seed=9223372036854775808", "seed=9223372036854775808: must be below 2^63"),
        ("update_period.steps=100000000000000000000", "update_period.steps=100000000000000000000: must be below 2^63"),
        ("recipe.batch_size=100000000000000000000", "recipe.batch_size=100000000000000000000: must be below 2^63"),
        ("recipe.lr=inf", "recipe.lr=inf: must be a finite number"),
        ("recipe.lr=1e308", "recipe.lr=1e+308: must be a finite number"),
        ("recipe.lr_decay=0", "recipe.lr_decay=0.0: must lie in (0, 1]"),
        ("recipe.lr_decay=nan", "recipe.lr_decay=nan: must be a finite number"),
        ("recipe.weight_decay=inf", "recipe.weight_decay=inf: must be a finite number"),
        ("checkpoint.minutes=inf", "checkpoint.minutes=inf: must be a finite number"),
        ("dataset.mean=[nan]", "dataset.mean=nan: must be a finite number"),
        ("dataset.std=[inf]", "dataset.std=inf: must be a finite number"),
        ("dataset.std=[1e-300]", "dataset.std=[1e-300]: must be above 0"),
        ("dataset.val_size=1.0", "dataset.val_size=1.0: must be a share of train below 1, or a number of samples"),
        ("dataset.val_size=2.5", "dataset.val_size=2.5: must be a share of train below 1, or a number of samples"),
        ("dataset.workers=1000000", "dataset.workers=1000000: must be 0 to 1024"),
        ("criterion=mest criterion.lam=nan", "criterion.lam=nan: must be a finite number"),
        ("criterion.name=", "criterion.name=: is empty"),
        ("criterion.name=null", "criterion: the config needs _target_ (what to build) and name"),
        ("output_dir=", "output_dir=: is empty"),
        ("data_dir=", "data_dir=: is empty"),
        ("device=cpu:7", "device=cpu:7: choose auto, cpu, mps, cuda or cuda:N"),
        ("cuda_graph=7", "cuda_graph=7: must be true or false"),
        ("++nope=1", "nope: unknown; choose one of"),
        ("+recipe.ephocs=1", "recipe.ephocs: unknown; did you mean epochs?"),
        ("criterion._target_=builtins.print", "criterion._target_=builtins.print: is no Criterion; name"),
        ("growth._target_=dst.sparsity.MEST", "growth._target_=dst.sparsity.MEST: is no Growth; name"),
        ("growth._target_=builtins.dict", "growth._target_=builtins.dict: is no Growth; name"),
        ("criterion._target_=dst.sparsity.Criterion", "criterion._target_=dst.sparsity.Criterion: is the base class"),
        ("prune_fraction._target_=torch.nn.ReLU", "prune_fraction._target_=torch.nn.ReLU: is no Schedule; name"),
        ("model._target_=dst.sparsity.SNIP", "model._target_=dst.sparsity.SNIP: is no Module; name"),
        ("criterion._target_=no.such", "criterion._target_=no.such: cannot be imported (No module named 'no')"),
    ],
)  # fmt: skip
def test_what_no_training_can_mean_is_refused(line: str, told: str) -> None:
    assert refusal(*line.split()).startswith(told)


@pytest.mark.parametrize("text", ["a\nb", "a\x1b[2Jb", "a\u2028b"])
def test_a_string_is_one_line_without_control_characters(text: str) -> None:
    cfg = compose()
    cfg.recipe.name = text
    with pytest.raises(
        UserError, match=r"^recipe\.name=[^\n\x1b\u2028]*: must be one line without control characters$"
    ):
        checked(cfg)


def test_a_secret_of_the_environment_is_refused_without_being_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "correct-horse")
    monkeypatch.setenv("OTHER_TOKEN", "digits")  # too short to be a secret
    for override in (
        "tracker.entity=correct-horse",
        "tracker.tags=['${oc.env:MY_API_KEY}']",
        "model.name=correct-horse",
    ):
        line = refusal(override)
        assert line.startswith(f"{override.partition('=')[0]}: has the value of MY_API_KEY")
        assert "correct-horse" not in line


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("model.hidden=[0]", "model=small_mlp: cannot be built for digits's 1×8×8 inputs (a layer has no weights)"),
        ("distribution=uniform_plus density.value=0.002", "model=small_mlp, density.value=0.002: density=0.002: dis"),
        ("density=1e-9", "density.value=1e-09: leaves none of the model's weights; give 1/84480 or more"),
        ("model._target_=textwrap.dedent", "model.hidden=[256, 256]: unknown; choose one of text"),
        ("dataset.mean=[1,2]", "dataset.mean=[1.0, 2.0]: give 1 numbers"),
        ("output_dir=/dev/null", "output_dir=/dev/null: cannot be written to (Not a directory)"),
        ("hydra.run.dir=/proc/x", "/proc/x: No such file or directory"),
        ("--dry-run", "--dry-run: unknown; did you mean --run?"),
        ("demo", "demo: "),
    ],
)  # fmt: skip
def test_a_refusal_leaves_nothing_behind(
    line: str, told: str, type_in: TypeIn, overrides: Callable[..., list[str]], tmp_path: Path
) -> None:
    status, _, err = type_in(*overrides(*line.split()))
    assert (status, err.count("\n")) == (2, 1), err
    assert err.startswith(f"error: {told}")
    assert not (tmp_path / "outputs").exists()


def test_a_batch_larger_than_the_training_set_is_told(type_in: TypeIn, overrides: Callable[..., list[str]]) -> None:
    status, _, err = type_in(*overrides("recipe.batch_size=5000", "recipe.epochs=1", "update_period=never"))
    assert (status, err) == (0, "recipe.batch_size=5000: the training set has 1257 samples, all in one batch\n")


def test_help_lists_the_groups_of_a_training_and_no_others(type_in: TypeIn) -> None:
    status, out, _ = type_in("density=0.3", "--help")
    assert status == 0
    assert "\n  criterion       grad_step, grasp, magnitude, mest," in out
    assert "\n  value: 0.3\n" in out
    assert "slurm" not in out


@dataclass(frozen=True)
class Mine(Criterion):
    """A criterion of a user's own."""

    def score(self, weight: Tensor, grad: Tensor) -> Tensor:
        return weight


def make_mine() -> Any:
    return Mine()


def make_network(input_shape: tuple[int, ...], outputs: int, width: int = 4) -> Any:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.Linear(width, outputs))


def make_pair(input_shape: tuple[int, ...], outputs: int) -> tuple[int, int]:
    return 1, 2


@pytest.mark.parametrize("target", ["Mine", "make_mine"])
def test_components_of_a_user_may_be_classes_or_functions(target: str) -> None:
    assert checked(compose([f"criterion._target_={__name__}.{target}", "criterion.name=mine"]))


def test_a_model_of_a_user_may_be_a_function_that_gives_a_module() -> None:
    node = {"_target_": f"{__name__}.make_network", "name": "mine", "width": 5}
    assert isinstance(build_model(node, input_shape=(1, 8, 8), num_classes=10, seed=0), nn.Module)
    with pytest.raises(UserError, match="derived from torch"):
        build_model(
            {"_target_": f"{__name__}.make_pair", "name": "mine"}, input_shape=(1, 8, 8), num_classes=10, seed=0
        )
