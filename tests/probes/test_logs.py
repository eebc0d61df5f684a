"""The logs of probes: complete and equal bit for bit however a run was interrupted and its probes changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from dst.attempt import Stopped
from dst.config import compose
from dst.probes import Probe, View
from dst.train import run
from tests.run.outcomes import run_outcome
from tests.run.test_resume import kill_again_and_again

Overrides = Callable[..., list[str]]

FLOW = ("probes.gradient_flow.every=4", "probes.gradient_flow.sample=256")
BOTH = ("probes=[gradient_flow,weights]", *FLOW, "probes.weights.every=5")


def probe_logs(folder: Path) -> dict[str, list[dict[str, Any]]]:
    return {path.stem: [json.loads(line) for line in path.read_text().splitlines()] for path in folder.glob("probes/*")}


def run_folder(outputs: Path) -> Path:
    (folder,) = (outputs / "runs").iterdir()
    return folder


def stopped_after(steps: int, cfg: Any) -> None:
    asked = iter(range(steps - 1))
    with pytest.raises(Stopped):
        run(cfg, should_stop=lambda: next(asked, None) is None)


@pytest.mark.parametrize("method", [["growth=gradient", "model=large_mlp_dropout"], ["density=dense"]])
def test_kill_9_at_random_moments_changes_no_line(method: list[str], overrides: Overrides, tmp_path: Path) -> None:
    more = [*method, *BOTH, "recipe.epochs=12", "checkpoint.minutes=0"]
    kill_again_and_again(overrides, tmp_path, *more, kills=6)
    folder = run_folder(tmp_path / "killed")
    logs = probe_logs(folder)
    assert [line["step"] for line in logs["weights"]] == [1, *range(5, 121, 5)]
    assert [line["step"] for line in logs["gradient_flow"]] == [1, *range(4, 121, 4)]
    assert logs == probe_logs(run_folder(tmp_path / "undisturbed"))


def test_stopping_in_the_middle_of_an_epoch_changes_no_line(overrides: Overrides, tmp_path: Path) -> None:
    run(compose(overrides(*BOTH, f"output_dir={tmp_path / 'undisturbed'}")))
    cfg = compose(overrides(*BOTH, f"output_dir={tmp_path / 'stopped'}"))
    for steps in (13, 1, 7):
        stopped_after(steps, cfg)
    logs = probe_logs(run_folder(tmp_path / "stopped"))
    assert [line["step"] for line in logs["weights"]] == [1, 5, 10, 15, 20]
    run(cfg)
    assert probe_logs(run_folder(tmp_path / "stopped")) == probe_logs(run_folder(tmp_path / "undisturbed"))


@dataclass(frozen=True)
class Count(Probe):
    """Counts its measurements, and the steps since the one before."""

    def measure(self, view: View) -> dict[str, Any]:
        before = dict(view.memory)
        view.memory["count"] = before.get("count", torch.tensor(0)) + 1
        view.memory["step"] = torch.tensor(view.step)
        return {"count": view.memory["count"], "since": view.step - before.get("step", torch.tensor(0))}


def test_what_a_probe_remembers_outlives_an_interruption(overrides: Overrides, tmp_path: Path) -> None:
    node = {"name": "count", "_target_": f"{__name__}.Count", "every": 5}
    cfg = compose(overrides(*(f"+probes.count.{key}={value}" for key, value in node.items())))
    for steps in (13, 9, 1):
        stopped_after(steps, cfg)
    run(cfg)
    lines = probe_logs(run_folder(tmp_path / "outputs"))["count"]
    assert [line["count"] for line in lines] == list(range(1, 10))
    assert [line["since"] for line in lines] == [1, 4, *[5] * 7]


def test_a_resumed_run_may_have_other_probes(overrides: Overrides, tmp_path: Path) -> None:
    run(compose(overrides(*BOTH, f"output_dir={tmp_path / 'undisturbed'}")))
    expected = probe_logs(run_folder(tmp_path / "undisturbed"))
    place = f"output_dir={tmp_path / 'changed'}"
    flow = compose(overrides("probes=gradient_flow", *FLOW, place))
    stopped_after(13, flow)
    stopped_after(8, compose(overrides("probes=weights", "probes.weights.every=5", place)))
    run(flow)
    logs = probe_logs(run_folder(tmp_path / "changed"))
    assert [line["step"] for line in logs["weights"]] == [15, 20]
    assert [line["step"] for line in logs["gradient_flow"]] == [1, 4, 8, 12, 24, 28, 32, 36, 40]
    assert all(line in expected["gradient_flow"] for line in logs["gradient_flow"])
    norms = {line["step"]: line["norm"] for line in expected["weights"]}
    for line in logs["weights"]:  # the weights that the run began with are no longer there
        assert line["norm"] == norms[line["step"]]
        assert "distance" not in line
    assert run_outcome(run_folder(tmp_path / "changed")) == run_outcome(run_folder(tmp_path / "undisturbed"))


@pytest.mark.parametrize("again", [BOTH, ("probes=[]",)])
def test_a_run_without_a_usable_checkpoint_begins_its_logs_anew(
    again: tuple[str, ...], overrides: Overrides, tmp_path: Path
) -> None:
    stopped_after(13, compose(overrides(*BOTH)))
    folder = run_folder(tmp_path / "outputs")
    (folder / "checkpoint.pt").write_bytes(b"no checkpoint")
    (folder / "probes" / ".weights.jsonl.123.tmp").touch()
    run(compose(overrides(*again)))
    assert {path.name for path in (folder / "probes").iterdir()} == {"gradient_flow.jsonl", "weights.jsonl"}
    steps = [line["step"] for line in probe_logs(folder)["weights"]]
    assert steps == ([1, 5, 10, 15, 20, 25, 30, 35, 40] if again == BOTH else [])


def test_a_measure_that_is_no_finite_number_is_null(overrides: Overrides, tmp_path: Path) -> None:
    summary = run(compose(overrides(*BOTH, "recipe.lr=1e30")))
    assert summary["status"] == "diverged"
    lines = probe_logs(run_folder(tmp_path / "outputs"))["gradient_flow"]
    assert lines[-1]["dense"] is None
    assert None in [norms["dense"] for norms in lines[-1]["layers"].values()]
