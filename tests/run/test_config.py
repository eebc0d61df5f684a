"""The schema: what is refused, and with which line; the paper's defaults; what a run's name depends on."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from dst.config import checked, compose, run_id
from dst.config.tree import options
from dst.errors import UserError
from tests.conftest import ROOT


def refusal(*overrides: str) -> str:
    with pytest.raises(UserError) as error:
        checked(compose(list(overrides)))
    line = str(error.value)
    assert "\n" not in line
    return line


def identifier(*overrides: str) -> str:
    return run_id(compose(list(overrides)))


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("model=big_mlp", ["model=big_mlp", "large_mlp", "resnet56"]),
        ("criterion=magnitud", ["criterion=magnitud", "did you mean magnitude", "snip"]),
        ("densty=d0.1", ["densty"]),
        ("density=d0.12", ["density=d0.12", "d0.1, ", "density.value=…"]),
        ("update_period=dt7", ["update_period=dt7", "dt100", "update_period.steps=…"]),
        ("density.valeu=0.1", ["valeu", "value"]),
        ("density.value=1.5", ["density.value=1.5", "(0, 1]", "density=dense"]),
        ("density.value=0", ["density.value=0", "(0, 1]"]),
        ("density.value=much", ["density.value", "much"]),
        ("update_period.steps=0", ["update_period.steps=0", "1 step or more", "never"]),
        ("recipe.epochs=-1", ["recipe.epochs=-1", "0 or more"]),
        ("recipe.epochs=many", ["recipe.epochs", "many"]),
        ("recipe.optimizer=lion", ["recipe.optimizer=lion", "sgd"]),
        ("recipe.batch_size=0", ["recipe.batch_size=0"]),
        ("precision=fp8", ["precision=fp8", "fp32, tf32, bf16, fp16"]),
        ("sparsity.scope=layer", ["sparsity.scope=layer", "local, global"]),
        ("sparsity.normalise=neuron", ["sparsity.normalise=neuron", "none, layer, input, output"]),
        ("criterion.beta=0.9", ["criterion.beta"]),
        ("criterion=running_snip criterion.beta=1", ["criterion.beta=1", "[0, 1)"]),
        ("criterion=mest criterion.lam=-1", ["criterion.lam=-1", "0 or more"]),
        ("criterion=running_snip procedure=imp", ["criterion=running_snip", "procedure=imp", "magnitude"]),
        ("probes=jaccard sparsity.update_order=after", ["probes.jaccard", "sparsity.update_order=after"]),
        ("probes=update_effect sparsity.update_order=after", ["probes.update_effect", "sparsity.update_order=after"]),
        ("prune_fraction.initial=2", ["prune_fraction.initial=2", "[0, 1]"]),
        ("+criterion.lambda=2", ["criterion.lambda=2"]),
        ("seed=-1", ["seed=-1"]),
        ("sparsity.include=[]", ["sparsity.include=[]", "null", "[classifier.*]"]),
        ("sparsity.exclude=classifier.*", ["sparsity.exclude", "write sparsity.exclude=[…]"]),
        ("growth=momentum sparsity.momentum=masked", ["sparsity.momentum=masked", "set dense"]),
        (
            "growth._target_=dst.sparsity.MomentumGrowth growth.name=mine",
            ["growth=mine needs the momentum", "set dense"],
        ),
    ],
)
def test_a_mistake_is_one_line_with_the_key_the_value_and_what_is_valid(override: str, told: list[str]) -> None:
    line = refusal(*override.split())
    assert all(word in line for word in told), line


def test_the_defaults_are_the_papers() -> None:
    config = checked(compose())
    assert (config.dataset.name, config.model["name"]) == ("cifar10", "large_mlp")
    assert (config.criterion["name"], config.growth["name"]) == ("magnitude", "random")
    assert (config.density.value, config.update_period.steps) == (0.1, 800)
    assert (config.distribution.name, config.prune_fraction["name"], config.prune_fraction["initial"]) == (
        "erk",
        "cosine",
        0.5,
    )
    recipe = config.recipe
    assert (recipe.epochs, recipe.batch_size, recipe.lr, recipe.momentum, recipe.nesterov) == (
        100,
        128,
        0.01,
        0.9,
        True,
    )
    assert (list(recipe.lr_milestones), recipe.lr_decay) == ([0.5, 0.75], 0.1)


@pytest.mark.parametrize(
    "group",
    [
        "model",
        "dataset",
        "criterion",
        "growth",
        "density",
        "update_period",
        "prune_fraction",
        "distribution",
        "tracker",
    ],
)
def test_every_choice_of_a_group_composes_to_a_valid_config(group: str) -> None:
    for choice in options(group):
        more = ["sparsity.momentum=dense"] if choice == "momentum" else []
        more += [f"{group}.name=resnet18"] if (group, choice) == ("model", "torchvision") else []
        more += ["dataset.root=/images"] if choice == "image_folder" else []
        assert checked(compose([f"{group}={choice}", *more]))


WITHOUT_EFFECT = {
    "any run": (
        (), ["output_dir=/elsewhere", "data_dir=/data", "tracker=local", "device=cpu", "checkpoint.minutes=1",
             "checkpoint.keep=all", "recipe.name=mine"],
    ),
    "a dense run": (
        ("density=dense",), ["criterion=snip", "growth=gradient", "update_period=dt100", "prune_fraction=linear",
                             "distribution=uniform", "sparsity.scope=global", "sparsity.momentum=dense",
                             "sparsity.exclude=[layers.1.*]"],
    ),
    "a static run": (
        ("update_period=never",),
        ["criterion=snip", "growth=gradient", "prune_fraction=linear", "sparsity.scope=global"],
    ),
    "scores that compete within a layer": ((), ["sparsity.normalise=layer"]),
}  # fmt: skip


@pytest.mark.parametrize("case", WITHOUT_EFFECT)
def test_the_run_id_does_not_depend_on_what_has_no_effect(case: str) -> None:
    base, changes = WITHOUT_EFFECT[case]
    assert {identifier(*base, change) for change in changes} == {identifier(*base)}


def test_the_run_id_depends_on_everything_that_decides_the_result() -> None:
    changes = [
        "model=small_cnn", "dataset=cifar100", "dataset.augment=none", "criterion=snip", "criterion=mest",
        "growth=gradient", "density=d0.2", "density=dense", "update_period=dt100", "update_period=never",
        "prune_fraction=linear", "prune_fraction.initial=0.3", "prune_fraction.stop_at=0.8", "distribution=er",
        "sparsity.scope=global", "sparsity.momentum=dense", "sparsity.normalise=input", "sparsity.update_order=after",
        "sparsity.include=[*]", "sparsity.exclude=[layers.1.*]",
        "seed=2", "precision=bf16", "deterministic=false",
        "recipe.epochs=99", "recipe.lr=0.02", "recipe.batch_size=64", "recipe.weight_decay=0", "recipe.lr_decay=0.2",
    ]  # fmt: skip
    ids = [identifier(), *map(identifier, changes), identifier("criterion=mest", "criterion.lam=2")]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("method", ["update_period=never", "procedure=imp", "procedure=sculpt"])
def test_what_is_sparse_decides_the_result_without_topology_updates_too(method: str) -> None:
    assert identifier(method, "sparsity.exclude=[layers.1.*]") != identifier(method)
    assert identifier(method, "sparsity.momentum=dense") == identifier(method)


@pytest.mark.parametrize(
    "spellings",
    [
        ("density=d0.1", "density.value=0.1"),
        ("update_period=dt800", "update_period.steps=800"),
        ("recipe.weight_decay=0", "recipe.weight_decay=0.0"),
        ("prune_fraction.stop_at=1", "prune_fraction.stop_at=1.0"),
        ("seed=1", "device=auto"),
        ("seed=1", "recipe.decay_biases=true"),
        ("seed=1", "recipe.label_smoothing=0"),
        ("seed=1", "sparsity.normalise=none"),
        ("seed=1", "sparsity.update_order=before"),
        ("seed=1", "sparsity.exclude=null"),
        ("sparsity.exclude=[a.*,b.*]", "sparsity.exclude=[b.*,a.*,a.*]"),
    ],
)
def test_two_spellings_of_one_run_have_one_id(spellings: tuple[str, str]) -> None:
    assert identifier(spellings[0]) == identifier(spellings[1])


def test_the_id_of_a_run_is_what_it_was_before_the_recipe_had_a_key() -> None:
    config = asdict(checked(compose([])))
    later = ("decay_biases", "label_smoothing", "sync_batch_norm")
    before = {**config, "recipe": {key: value for key, value in config["recipe"].items() if key not in later}}
    assert run_id(config) == run_id(before) == "365a3f1173e1"
    assert identifier("recipe.decay_biases=false") != run_id(before)
    assert identifier("recipe.label_smoothing=0.1") != run_id(before)
    assert identifier("recipe.sync_batch_norm=true") != run_id(before)
    without = ("recipe.weight_decay=0", "recipe.decay_biases=false")
    assert identifier(*without) == identifier("recipe.weight_decay=0")


def test_the_run_id_is_the_same_from_a_composed_a_checked_and_a_plain_config() -> None:
    cfg = compose(["criterion=mest"])
    config = checked(cfg)
    assert run_id(cfg) == run_id(config) == run_id(asdict(config))


def test_seeds_and_densities_give_runs_of_their_own() -> None:
    grid = list(itertools.product(("d0.05", "d0.5"), (1, 2, 3)))
    assert len({identifier(f"density={density}", f"seed={seed}") for density, seed in grid}) == len(grid)


def test_the_config_is_found_from_any_working_directory(tmp_path: Path) -> None:
    line = "from dst.config import compose, run_id; print(run_id(compose()))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    found = subprocess.run([sys.executable, "-c", line], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert found.stdout.strip() == identifier(), found.stderr
