"""tracker=tensorboard: event files say what the run's own logs say, however often the run was interrupted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dst.config import checked, compose, run_id
from dst.run.tracker import Tracker
from dst.run.trackers import Trackers, make_tracker
from dst.run.wandb_tracker import WandbTracker
from tests.run.outcomes import run_with_stops

pytest.importorskip("tensorboard")
Overrides = Callable[..., list[str]]


def scalars(run_dir: Path) -> dict[str, dict[int, float]]:
    """Returns what TensorBoard shows: value by step by name."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run_dir / "tensorboard")).Reload()
    found: dict[str, dict[int, float]] = {}
    for name in events.Tags()["scalars"]:
        points = [(event.step, event.value) for event in events.Scalars(name)]
        found[name] = dict(points)
        assert len(found[name]) == len(points), f"{name}: a step is there twice"
    return found


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_an_interrupted_runs_event_files_say_what_its_logs_say(overrides: Overrides, tmp_path: Path) -> None:
    cfg = compose(overrides("tracker=tensorboard", "recipe.epochs=5", "update_period=10", "probes=[gradient_flow]"))
    run_dir = tmp_path / "outputs" / "runs" / run_with_stops(cfg, 13, 17)["run_id"]
    found = scalars(run_dir)
    for line in lines(run_dir / "metrics.jsonl"):
        for name in ("train_loss", "val_acc", "lr", "density", "epoch"):
            assert found[name][line["step"]] == pytest.approx(line[name], rel=1e-6), (name, line["step"])
    updates = lines(run_dir / "topology.jsonl")
    assert len(updates) > 3
    for update in updates:
        layer, counts = next(iter(update["layers"].items()))
        assert found[f"topology/{layer}/pruned"][update["step"]] == counts["pruned"]
    assert len(found["topology/prune_fraction"]) == len(updates)
    (measured, *_) = lines(run_dir / "probes" / "gradient_flow.jsonl")
    assert found["probes/gradient_flow/masked"][1] == pytest.approx(measured["masked"])


def test_several_trackers_report_at_once_in_either_order() -> None:
    base = ["dataset=digits", "model=small_mlp"]
    configs = [
        checked(compose([*base, f"tracker={names}"])) for names in ("[wandb,tensorboard]", "[tensorboard,wandb]")
    ]
    assert configs[0] == configs[1]
    made = make_tracker(configs[0].tracker)
    assert isinstance(made, Trackers)
    assert WandbTracker in map(type, made.trackers)
    assert type(make_tracker(checked(compose([*base, "tracker=local"])).tracker)) is Tracker
    assert run_id(configs[0]) == run_id(compose(base))
