"""The sets of weights that the probe ``jaccard`` records, and runs that end at their first topology update."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dst.attempt import Stopped
from dst.config import compose, run_id
from dst.errors import UserError
from dst.probes.bits import from_text, to_number, to_text
from dst.sparsity import prune_mask
from dst.train import run
from tests.probes.test_measures import Seen, training_of
from tests.run.outcomes import run_outcome
from tests.run.test_resume import kill_again_and_again

Overrides = Callable[..., list[str]]

PROBE = ("probes=jaccard", "probes.jaccard.every=10", "update_period=5")
FIRST = ("probes=jaccard", "probes.jaccard.every=first", "probes.jaccard.stop=true", "update_period=12")


def folder_of(outputs: Path) -> Path:
    (folder,) = (outputs / "runs").iterdir()
    return folder


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "probes" / "jaccard.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("own", ["magnitude", "set", "snip"])
def test_each_set_is_what_the_criterion_prunes_of_the_masks_weights_and_gradients_then(
    own: str, overrides: Overrides
) -> None:
    training = training_of(overrides, *PROBE, f"criterion={own}", "growth=gradient")
    seen = Seen(training, 1)
    lines = seen.records["jaccard"]
    updates = {update["step"]: update for update in training.sparsity.pop_updates()}
    assert [*lines] == [1, 10, 20]
    assert all({*sets} == {"active"} for sets in lines[1]["layers"].values())
    for step in (10, 20):
        weights = dict(seen.models[step].named_parameters())
        for layer, sets in lines[step]["layers"].items():
            mask, count = seen.masks[step][layer], updates[step]["layers"][layer]["pruned"]
            assert from_text(sets["active"]) == to_number(mask)
            names = {name: name for name in ("magnitude", "set", "mest", "snip", "rsensitivity") if name != own}
            for key, name in {"removed": own, **names}.items():
                kept = prune_mask(name, weights[layer].detach(), seen.gradients[step][layer], mask, count)
                assert from_text(sets[key]) == to_number(mask & ~kept), (step, layer, key)
            random = from_text(sets["random"])
            assert random.bit_count() == count
            assert random & ~to_number(mask) == 0
            assert {*sets} == {"active", "removed", "random", *names}


@pytest.mark.parametrize("scope", ["local", "global"])
def test_a_run_with_the_probe_is_the_run_without_it_bit_for_bit(
    scope: str, overrides: Overrides, tmp_path: Path
) -> None:
    chosen = ["criterion=random", "growth=random", f"sparsity.scope={scope}", "recipe.epochs=2", "update_period=5"]
    outcomes = []
    for name, probes in (("without", ()), ("with", PROBE)):
        run(compose(overrides(*chosen, *probes, f"output_dir={tmp_path / name}")))
        outcomes.append(run_outcome(folder_of(tmp_path / name)))
    assert outcomes[0] == outcomes[1]
    (line,) = [line for line in records(folder_of(tmp_path / "with")) if line["step"] > 1]
    update = next(json.loads(line) for line in outcomes[1]["topology"].splitlines() if json.loads(line)["step"] == 10)
    assert {layer: from_text(sets["removed"]).bit_count() for layer, sets in line["layers"].items()} == {
        layer: counts["pruned"] for layer, counts in update["layers"].items()
    }


def test_kill_9_at_random_moments_changes_no_set(overrides: Overrides, tmp_path: Path) -> None:
    more = [*PROBE, "growth=gradient", "recipe.epochs=12", "checkpoint.minutes=0"]
    kill_again_and_again(overrides, tmp_path, *more, kills=4)
    found = records(folder_of(tmp_path / "killed"))
    assert [line["step"] for line in found] == [1, *range(10, 120, 10)]
    assert found == records(folder_of(tmp_path / "undisturbed"))


def test_a_run_that_stops_at_its_first_update_is_finished_however_it_got_there(
    overrides: Overrides, tmp_path: Path
) -> None:
    summary = run(compose(overrides(*FIRST, f"output_dir={tmp_path / 'undisturbed'}")))
    assert (summary["status"], summary["epochs"], summary["topology_updates"]) == ("finished", 1, 1)
    folder = folder_of(tmp_path / "undisturbed")
    assert [line["step"] for line in records(folder)] == [1, 12]
    outcome = run_outcome(folder)
    (folder / "summary.json").unlink()  # as if killed right before it was written
    cfg = compose(overrides(*FIRST, f"output_dir={tmp_path / 'stopped'}"))
    for steps in (7, 2):
        asked = iter(range(steps))
        with pytest.raises(Stopped):
            run(cfg, should_stop=lambda asked=asked: next(asked, None) is None)  # type: ignore[misc]
    run(cfg)
    run(compose(overrides(*FIRST, f"output_dir={tmp_path / 'undisturbed'}")))
    for name in ("stopped", "undisturbed"):
        assert run_outcome(folder_of(tmp_path / name)) == outcome
        assert len(records(folder_of(tmp_path / name))) == 2


@pytest.mark.parametrize("every", ["first", "3200"])  # a run that ends there records its first update in any case
def test_runs_of_one_seed_record_at_their_first_update_what_runs_of_the_other_criteria_remove(
    every: str, overrides: Overrides, tmp_path: Path
) -> None:
    found = {}
    for own in ("magnitude", "rsensitivity"):
        chosen = (*FIRST, f"probes.jaccard.every={every}", f"criterion={own}", f"output_dir={tmp_path / own}")
        run(compose(overrides(*chosen)))
        found[own] = records(folder_of(tmp_path / own))[-1]["layers"]
    for layer, sets in found["magnitude"].items():
        assert sets["rsensitivity"] == found["rsensitivity"][layer]["removed"]
        assert sets["removed"] == found["rsensitivity"][layer]["magnitude"]


def test_only_stopping_is_part_of_the_id() -> None:
    plain = run_id(compose(["dataset=digits", "model=small_mlp"]))
    ids = [
        run_id(compose(["dataset=digits", "model=small_mlp", "probes=jaccard", *more]))
        for more in ([], ["probes.jaccard.every=first"], ["probes.jaccard.stop=true"])
    ]
    assert ids[:2] == [plain, plain]
    assert ids[2] != plain


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["probes.jaccard.every=frist"], "probes.jaccard.every=frist: give a number of steps, or first"),
        (["probes.jaccard.every=0"], "probes.jaccard.every=0: must be 1 step or more"),
        (["probes.jaccard.criteria=[magnitud]"], "probes.jaccard.criteria=['magnitud']: criterion=magnitud: unknown"),
        (["probes.jaccard.criteria=magnitude"], "probes.jaccard.criteria=magnitude: must be a list; write prob"),
        (["probes.jaccard.stop=true", "update_period=never"], "probes.jaccard.stop=true: the run has no topology"),
        (["probes.jaccard.stop=true", "update_period=400"], "probes.jaccard.stop=true: the run has no topology"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    more: list[str], told: str, overrides: Overrides, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as error:
        run(compose(overrides("probes=jaccard", *more)))
    assert str(error.value).startswith(told)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 4, 8)])
def test_a_mask_is_read_as_it_was_written(shape: tuple[int, ...]) -> None:
    mask = torch.rand(shape) < 0.4
    number = from_text(to_text(mask))
    assert number == to_number(mask)
    assert [bool(number >> index & 1) for index in range(mask.numel())] == mask.flatten().tolist()
    with pytest.raises(ValueError, match="no mask"):
        from_text("no mask at all")
