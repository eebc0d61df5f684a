"""What a run leaves behind: the files, their keys, and what asking again does."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from dst.config import checked, compose, run_id
from dst.errors import UserError
from dst.files.records import Damaged
from dst.run.outcome import read_summary
from dst.train import run
from tests.run.outcomes import MEASURED

SUMMARY = (
    "run_id status model dataset criterion growth density update_period seed epochs test_acc test_acc_best_val val_acc "
    "best_val_acc train_loss val_loss parameters_total parameters_sparsifiable parameters_active dense_parameters "
    "flops_inference flops_training "
    "density_actual topology_updates itop_ratio duration_s steps_per_s device versions"
).split()
METRICS = (
    "epoch step lr train_loss train_acc val_loss val_acc prune_fraction density itop_ratio epoch_s"
).split()  # fmt: skip

Train = Callable[..., dict[str, Any]]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_run_leaves_every_file_of_the_contract(train: Train, tmp_path: Path) -> None:
    summary = train("criterion=snip", "growth=gradient", "recipe.epochs=6")
    folder = tmp_path / "outputs" / "runs" / summary["run_id"]
    assert json.loads((folder / "summary.json").read_text()) == summary
    assert set(SUMMARY) <= set(summary)
    assert summary["status"] == "finished"
    assert (summary["criterion"], summary["growth"], summary["update_period"]) == ("snip", "gradient", 25)
    assert run_id(OmegaConf.load(folder / "config.yaml")) == summary["run_id"] == folder.name  # type: ignore[arg-type]

    epochs = lines(folder / "metrics.jsonl")
    assert [record["epoch"] for record in epochs] == [1, 2, 3, 4, 5, 6]
    assert all(set(METRICS) <= set(record) for record in epochs)
    steps = epochs[-1]["step"]
    assert steps == 6 * math.ceil(1257 / 128)
    assert [record["lr"] for record in epochs] == pytest.approx([0.01] * 3 + [0.001] * 2 + [0.0001])

    updates = lines(folder / "topology.jsonl")
    assert [update["step"] for update in updates] == list(range(25, steps, 25))
    assert summary["topology_updates"] == len(updates)
    for update in updates:
        for layer in update["layers"].values():
            assert layer["pruned"] == layer["grown"] == math.ceil(update["prune_fraction"] * layer["active"] - 1e-9)

    masks = torch.load(folder / "masks.pt", weights_only=True)
    assert all(mask.dtype == torch.bool for mask in masks.values())
    assert sum(int(mask.sum()) for mask in masks.values()) == summary["parameters_active"]
    assert summary["parameters_active"] == pytest.approx(0.1 * summary["parameters_sparsifiable"], abs=len(masks))
    weights = torch.load(folder / "checkpoint.pt", weights_only=True)["training"]["model"]
    assert all(not weights[name][~mask].any() for name, mask in masks.items())


def test_a_better_model_than_chance_comes_out(train: Train) -> None:
    assert train("density=d0.5", "recipe.epochs=20")["test_acc"] > 0.7


@pytest.mark.parametrize("method", ["density=dense", "update_period=never"])
def test_a_run_without_updates_has_no_criterion_growth_or_period(train: Train, method: str, tmp_path: Path) -> None:
    summary = train(method, "recipe.epochs=1")
    assert (summary["criterion"], summary["growth"], summary["update_period"]) == (None, None, None)
    assert summary["topology_updates"] == 0
    dense = method == "density=dense"
    assert summary["density"] == (1.0 if dense else 0.1)
    assert summary["itop_ratio"] == pytest.approx(summary["density_actual"])
    masks = torch.load(tmp_path / "outputs" / "runs" / summary["run_id"] / "masks.pt", weights_only=True)
    assert (not masks) == dense


def test_static_masks_are_those_a_dynamic_run_of_the_same_seed_begins_with(train: Train, tmp_path: Path) -> None:
    static = train("update_period=never", "recipe.epochs=1")
    dynamic = train("recipe.epochs=0")
    first, second = (
        torch.load(tmp_path / "outputs" / "runs" / summary["run_id"] / "masks.pt", weights_only=True)
        for summary in (static, dynamic)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_finished_run_is_returned_at_once_and_left_as_it_is(train: Train, tmp_path: Path) -> None:
    summary = train("recipe.epochs=1")
    folder = tmp_path / "outputs" / "runs" / summary["run_id"]
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert train("recipe.epochs=1") == summary
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_equal_seeds_give_equal_runs_and_other_seeds_other_ones(
    overrides: Callable[..., list[str]], tmp_path: Path
) -> None:
    def weights(place: str, *more: str) -> dict[str, torch.Tensor]:
        summary = run(compose(overrides("recipe.epochs=2", f"output_dir={tmp_path / place}", *more)))
        return torch.load(tmp_path / place / "runs" / summary["run_id"] / "checkpoint.pt")["training"]["model"]

    one, again, other = weights("a"), weights("b"), weights("c", "seed=2")
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_no_epochs_evaluates_the_initial_weights(train: Train) -> None:
    summary = train("recipe.epochs=0")
    assert (summary["status"], summary["epochs"], summary["topology_updates"]) == ("finished", 0, 0)
    assert summary["test_acc"] < 0.35
    assert summary["train_loss"] is None


def test_no_damaged_summary_passes_for_one(train: Train, tmp_path: Path) -> None:
    summary = train("recipe.epochs=0")
    folder = tmp_path / "outputs" / "runs" / summary["run_id"]
    texts = [b"[]", b"3", b'"finished"', b"null", b"{}", b"", b"\xff\xfe\x00", b'{"status": "finished"']
    texts += [b'{"n": ' + b"9" * 5000 + b"}", b"[" * 200_000, b'{"a":' * 400 + b"1" + b"}" * 400]
    changes: list[dict[str, Any]] = [{"status": "weird"}, {"status": []}, {"run_id": "0" * 12}, {"versions": "x"}]
    changes += [{"test_acc": None}, {"test_acc": 1e308}, {"test_acc": "0.5"}, {"epochs": 2**63}, {"mine": "\ud800"}]
    for content in (*texts, *(json.dumps(summary | change).encode() for change in changes)):
        (folder / "summary.json").write_bytes(content)
        with pytest.raises(Damaged, match=r"summary\.json"):
            read_summary(folder)


@pytest.mark.parametrize("content", [b"[]", b"\xff", None])
def test_a_damaged_summary_counts_for_nothing_and_is_kept_beside_the_next(
    content: bytes | None, train: Train, tmp_path: Path
) -> None:
    summary = train("recipe.epochs=0")
    path = tmp_path / "outputs" / "runs" / summary["run_id"] / "summary.json"
    path.unlink()
    path.write_bytes(content) if content is not None else path.mkdir()
    again = train("recipe.epochs=0")
    results = again.keys() - {*MEASURED}
    assert {key: again[key] for key in results} == {key: summary[key] for key in results}
    assert results == summary.keys() - {*MEASURED}
    assert json.loads(path.read_bytes()) == again == train("recipe.epochs=0")
    aside = path.with_name("summary.json.damaged")
    assert aside.is_dir() if content is None else aside.read_bytes() == content


def test_a_loss_that_is_not_finite_ends_the_run_as_diverged(train: Train, tmp_path: Path) -> None:
    summary = train("recipe.lr=1e30", "recipe.epochs=50")
    assert summary["status"] == "diverged"
    assert 1 <= summary["epochs"] < 50
    text = (tmp_path / "outputs" / "runs" / summary["run_id"] / "summary.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    assert train("recipe.lr=1e30", "recipe.epochs=50") == summary


def test_a_model_that_cannot_take_the_data_is_refused_before_any_work(train: Train, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="model=vgg16.*8.*8"):
        train("model=vgg16")
    assert not (tmp_path / "outputs").exists()


def test_an_output_folder_that_cannot_be_written_is_one_line(train: Train, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="output_dir=.*cannot be written"):
        train(f"output_dir={tmp_path / 'file'}")


def test_global_scope_and_dense_momentum_keep_the_overall_count(train: Train) -> None:
    local = train("recipe.epochs=2")
    other = train("recipe.epochs=2", "sparsity.scope=global", "sparsity.momentum=dense")
    assert other["parameters_active"] == local["parameters_active"]


def test_what_is_in_the_config_file_is_what_was_trained(train: Train, tmp_path: Path) -> None:
    summary = train("recipe.epochs=1", "density.value=0.12")
    loaded = OmegaConf.load(tmp_path / "outputs" / "runs" / summary["run_id"] / "config.yaml")
    assert checked(loaded).density.value == summary["density"] == 0.12  # type: ignore[arg-type]
