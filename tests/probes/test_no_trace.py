"""Probes leave no trace in a run: weights, masks, metrics, topology and id are those of the run without them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from dst.config import checked, compose, run_id
from dst.probes import Observer, Probe, View
from dst.tasks import Classification
from dst.train import run
from dst.training.beginning import NOTHING
from dst.training.build import training_factory
from dst.training.evaluation import run_epoch
from dst.training.recorded_step import RecordedStep
from dst.training.step_graph import WARM_UP
from tests.run.outcomes import assert_equal, run_outcome, training_outcome
from tests.run.recording import HostRecorder

Overrides = Callable[..., list[str]]

BOTH = ("probes=[gradient_flow,weights,update_effect]", "probes.gradient_flow.every=3", "probes.weights.every=5")
METHODS = {
    "dense": ["density=dense"],
    "static": ["update_period=never"],
    "dropout": ["criterion=snip", "growth=gradient", "model=large_mlp_dropout"],
    "batch norm": [
        "growth=random",
        "model=resnet56",
        "model.depth=8",
        "recipe=sgd_100",
        "probes.gradient_flow.every=9",
    ],
    "the batch's gradient": ["growth=gradient", "probes.gradient_flow.sample=0"],
    "cyclic": ["procedure=cyclic", "procedure.cycles=2", "update_period=7"],
    "gradual": ["procedure=gradual", "criterion=mest"],
    "iterative": ["procedure=imp", "criterion=mest", "density.value=0.7"],
}


@pytest.mark.parametrize("method", METHODS)
def test_a_run_with_probes_is_the_run_without_them_bit_for_bit(
    method: str, overrides: Overrides, tmp_path: Path
) -> None:
    outcomes = []
    for name, probes in (("without", []), ("with", BOTH)):
        chosen = METHODS[method] if probes else [word for word in METHODS[method] if not word.startswith("probes")]
        run(compose(overrides(*probes, *chosen, "recipe.epochs=2", f"output_dir={tmp_path / name}")))
        (folder,) = (tmp_path / name / "runs").iterdir()
        assert (folder / "probes").exists() == bool(probes)
        outcomes.append(run_outcome(folder))
    assert outcomes[0] == outcomes[1]


def test_probes_are_no_part_of_a_runs_id() -> None:
    base = ["dataset=digits", "model=small_mlp"]
    assert run_id(compose(base)) == run_id(compose([*base, *BOTH]))


@dataclass(frozen=True)
class Rude(Probe):
    """Draws from the global stream, switches the mode, trains the statistics and keeps what it drew."""

    def measure(self, view: View) -> dict[str, Any]:
        drawn = torch.rand(())
        view.model.eval()
        for buffer in view.model.buffers():
            buffer.zero_()
        return {"drawn": drawn, "sample": sum(len(y) for _, y in view.sample(300))}


def test_random_state_buffers_and_mode_are_restored_and_draws_depend_on_seed_and_step_alone(
    overrides: Overrides,
) -> None:
    config = checked(compose(overrides("model=resnet56", "model.depth=8", "recipe=sgd_100", "recipe.epochs=1")))
    drawn = []
    for disturb in (0, 3):
        training = training_factory(config)(NOTHING)
        torch.rand(disturb)
        observer = Observer([Rude("rude", every=1)], training, Classification().loss, seed=1)
        buffers = [buffer.clone() for buffer in training.model.buffers()]
        training.model.train()
        before = torch.get_rng_state()
        for training.step in range(3):
            observer.observe(training, torch.zeros(()))
        assert torch.equal(torch.get_rng_state(), before)
        assert all(module.training for module in training.model.modules())
        assert all(torch.equal(*pair) for pair in zip(training.model.buffers(), buffers, strict=True))
        (records,) = observer.pop_records().values()
        assert {record["sample"] for record in records} == {300}
        drawn.append([record["drawn"] for record in records])
        assert not observer.pop_records()
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) == 3


@pytest.mark.parametrize("growth", ["growth=random", "growth=gradient"])
def test_steps_without_a_measurement_are_replayed(growth: str, overrides: Overrides) -> None:
    more = ("recipe.epochs=3", growth, "probes=[gradient_flow,weights]")
    every = ("probes.gradient_flow.every=11", "probes.weights.every=11")
    ordinary, recorded = (training_factory(checked(compose(overrides(*more, *every))))(NOTHING) for _ in range(2))
    recorder: Any = HostRecorder()
    recorded.recorded = RecordedStep(recorder, deterministic=True)
    outcomes = []
    for training in (ordinary, recorded):
        for _ in range(3):
            run_epoch(training)
        assert training.observer
        outcomes.append(training_outcome(training) | {"measured": training.observer.pop_records()})
    assert_equal(outcomes[1], outcomes[0])
    steps = [record["step"] for record in outcomes[0]["measured"]["weights"]]
    assert steps == [1, 11, 22]
    full_batches = 3 * (len(recorded.data.train) - 1)
    measured_after_warm_up, updates = 2, 1  # the first step comes before the warm-up; its batch does not count there
    assert recorder.replays == full_batches - 1 - WARM_UP - measured_after_warm_up - updates
    assert recorder.replays > 15
