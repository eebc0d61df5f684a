"""Runs that start from masks chosen by score."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dst.attempt import Stopped
from dst.config import checked, compose, run_id
from dst.sparsity import initial_masks, sparsifiable_weights
from dst.tasks import Classification
from dst.train import run
from dst.training.beginning import NOTHING
from dst.training.build import training_factory
from tests.run.outcomes import run_outcome

Overrides = Callable[..., list[str]]
METHODS = ["magnitude", "snip", "grasp", "synflow"]


@pytest.mark.parametrize("method", METHODS)
def test_a_static_run_trains_the_weights_that_the_method_chose(
    method: str, overrides: Overrides, tmp_path: Path
) -> None:
    more = [f"initial_mask={method}", "update_period=never", "density=0.07", "recipe.epochs=1"]
    training = training_factory(checked(compose(overrides("density=dense"))))(NOTHING)
    weights = {name: weight.detach().clone() for name, weight in training.model.named_parameters()}
    batches = training.data.train.epoch(-1)
    expected = initial_masks(method, training.model, batches, 0.07, Classification().loss)
    summary = run(compose(overrides(*more)))
    folder = tmp_path / "outputs" / "runs" / summary["run_id"]
    found = torch.load(folder / "masks.pt")
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    size = sum(weight.numel() for weight in sparsifiable_weights(training.model).values())
    assert summary["parameters_active"] == size - int(0.93 * size)
    assert summary["dead_layers"] == ([] if method != "magnitude" else list(found))  # which leaves a narrow layer empty
    final = torch.load(folder / "checkpoint.pt")["training"]["model"]
    assert all(not bool(final[name][~mask].any()) for name, mask in found.items())
    assert any(not torch.equal(final[name], weights[name]) for name in found)


@pytest.mark.parametrize(
    "more", [["growth=gradient"], ["update_period=never"], ["procedure=cyclic", "procedure.cycles=2"]]
)
def test_a_stopped_run_ends_like_one_that_never_stopped(more: list[str], overrides: Overrides, tmp_path: Path) -> None:
    config = [*more, "initial_mask=snip", "initial_mask.batches=3"]
    whole = run(compose(overrides(*config)))
    cfg = compose(overrides(*config, f"output_dir={tmp_path / 'stopped'}"))
    for steps in (7, 12):
        asked = iter(range(steps))
        with pytest.raises(Stopped):
            run(cfg, should_stop=lambda asked=asked: next(asked, None) is None)  # type: ignore[misc]
    summary = run(cfg)
    folders = [tmp_path / "outputs" / "runs" / whole["run_id"], tmp_path / "stopped" / "runs" / summary["run_id"]]
    assert run_outcome(folders[1]) == run_outcome(folders[0])


def test_a_mask_that_cuts_a_layer_off_is_told_and_recorded(overrides: Overrides, caplog: Any) -> None:
    """Of weights so few that the small last layer gets none of the largest."""
    with caplog.at_level("WARNING", logger="dst"):
        summary = run(
            compose(overrides("initial_mask=magnitude", "density=0.0001", "update_period=never", "recipe.epochs=0"))
        )
    assert "layers.1.weight" in summary["dead_layers"]
    assert caplog.text.count("lies on a path from input to output") == 1


BASE = ["dataset=digits", "model=small_mlp"]


@pytest.mark.parametrize(
    ("base", "more", "same"),
    [
        ([], ["initial_mask=random"], True),
        ([], ["initial_mask=snip"], False),
        (["initial_mask=snip"], ["initial_mask.batches=3"], False),
        (["initial_mask=snip"], ["distribution=uniform"], True),
        (["initial_mask=synflow"], ["initial_mask.batches=3"], True),
        (["procedure=gradual"], ["initial_mask=snip"], True),
        (["density=dense"], ["initial_mask=snip"], True),
    ],
)
def test_a_choice_with_an_effect_makes_another_run(base: list[str], more: list[str], same: bool) -> None:
    assert (run_id(compose([*BASE, *base])) == run_id(compose([*BASE, *base, *more]))) == same


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["initial_mask=snap"], "initial_mask=snap: unknown; did you mean snip?"),
        (["initial_mask=snip", "initial_mask.batches=0"], "initial_mask.batches=0: must be 1 or more"),
        (["initial_mask=snip", "initial_mask.batches=99"], "initial_mask.batches=99: dataset=digits has 10 training"),
    ],
)
def test_a_mistake_is_one_line_before_any_work(
    more: list[str], told: str, overrides: Overrides, type_in: Any, tmp_path: Path
) -> None:
    status, _, err = type_in(*overrides(*more))
    assert (status, len(err.splitlines())) == (2, 1)
    assert told in err
    assert not (tmp_path / "outputs").exists()
