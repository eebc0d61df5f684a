"""Analyses of trained networks, on real runs of two epochs on digits."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from analysis.collect import collect
from analysis.models.disagreement import disagreement, predict
from analysis.models.distances import distances
from analysis.models.interpolate import ALPHAS, Line, barriers, interpolate, point_between, reestimate_batch_norm
from analysis.models.load import Place, load_network, load_weights
from analysis.models.pairs import distance_matrix, scale, summarise_pairs
from analysis.models.states import NetworkState, select_states
from analysis.source import Source
from dst.config import compose
from dst.data import training_samples
from dst.errors import UserError
from dst.run.directory import read_checkpoint
from dst.train import run

TypeIn = Callable[..., tuple[int, str, str]]
CPU = Place("cpu")
SHORT = ("dataset=digits", "model=small_mlp", "tracker=local", "device=cpu", "recipe.epochs=2", "update_period=5")
RUNS = {
    **{f"{name} {seed}": (f"criterion={name}", f"seed={seed}") for name in ("magnitude", "snip") for seed in (1, 2)},
    "dense": ("density=dense", "update_period=never"),
    "bfloat16": ("precision=bf16",),
    "scored": ("initial_mask=snip", "update_period=never"),
}
OTHERS = {
    "cnn": ("model=small_cnn", "recipe.epochs=0"),
    "other_split": ("dataset.split_seed=7", "recipe.epochs=0"),
    "dropped": ("checkpoint.keep=nothing", "recipe.epochs=0"),
    "diverged": ("recipe.lr=1e9", "recipe.epochs=2", "density=dense"),
}


@pytest.fixture(scope="session")
def networks(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Path:
    """An ``output_dir`` with the runs, and ``names.json`` with their ids."""
    output_dir = tmp_path_factory.mktemp("networks")
    ids = {}
    for name, choices in {**RUNS, **OTHERS}.items():
        words = [*SHORT, *choices, f"data_dir={data_dir}", f"output_dir={output_dir}"]
        ids[name] = run(compose(words))["run_id"]
    (output_dir / "names.json").write_text(json.dumps(ids))
    return output_dir


@pytest.fixture
def ids(networks: Path) -> dict[str, str]:
    return json.loads((networks / "names.json").read_text())


@pytest.fixture
def state(networks: Path, ids: dict[str, str]) -> Callable[..., NetworkState]:
    def make(name: str, point: str = "last") -> NetworkState:
        return NetworkState(ids[name], networks / "runs" / ids[name], point, name.partition(" ")[0])

    return make


@pytest.fixture
def folders(networks: Path, tmp_path: Path) -> tuple[str, ...]:
    return (f"output_dir={networks}", f"results_dir={tmp_path / 'results'}")


def summary(state: NetworkState) -> dict[str, Any]:
    return json.loads((state.path / "summary.json").read_text())


@pytest.mark.parametrize("names", [("magnitude 1", "snip 2"), ("dense", "scored"), ("bfloat16", "bfloat16")])
def test_the_ends_of_a_line_have_the_test_accuracy_of_the_summaries(names: tuple[str, str], state: Any) -> None:
    start, end = map(state, names)
    points = interpolate([start], end, Line(splits=("test",)), CPU).set_index("alpha")
    assert points.loc[0.0, "accuracy"] == summary(start)["test_acc"]
    assert points.loc[1.0, "accuracy"] == summary(end)["test_acc"]
    assert tuple(points.index) == ALPHAS
    assert (len(ALPHAS), min(ALPHAS), max(ALPHAS)) == (29, -0.2, 1.2)


def test_the_best_weights_have_the_test_accuracy_of_the_best_epoch(state: Any) -> None:
    best = state("magnitude 1", "best")
    points = interpolate([best], best, Line(splits=("test",)), CPU).set_index("alpha")
    assert points.loc[0.0, "accuracy"] == summary(best)["test_acc_best_val"]


def test_the_loss_on_a_line_is_that_of_the_weighted_sum_of_the_weights(state: Any) -> None:
    start, end = state("magnitude 1"), state("snip 1")
    points = interpolate([start], end, Line(), CPU).set_index(["split", "alpha"])
    a, b = (read_checkpoint(one.path / "checkpoint.pt")["training"]["model"] for one in (start, end))
    network = load_network(start, CPU)
    network.load({name: 0.7 * a[name] + 0.3 * b[name] for name in a})
    network.model.eval()
    for split, batches in (("train", training_samples(network.data.train)), ("test", network.data.test)):
        x, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
        expected = nn.functional.cross_entropy(network.model(x), y).item()
        assert points.loc[(split, 0.3), "loss"] == pytest.approx(expected, rel=1e-5)


def test_a_network_has_no_barrier_with_itself(state: Any) -> None:
    table = barriers(interpolate([state("magnitude 1")], state("magnitude 1"), Line(), CPU))
    assert table["barrier"].tolist() == [0.0, 0.0]
    assert table["loss_start"].tolist() == table["loss_end"].tolist()


def test_the_barrier_is_the_largest_excess_over_the_straight_line_between_the_ends() -> None:
    alphas = list(ALPHAS)
    loss = [9.0 if alpha < 0 else 1 + alpha + {0.25: 0.5, 0.5: 2.0}.get(alpha, 0.0) for alpha in alphas]
    points = pd.DataFrame({"start": "a", "end": "b", "split": "test", "alpha": alphas, "loss": loss, "accuracy": 0.5})
    assert barriers(points)["barrier"].tolist() == [pytest.approx(2.0)]


def test_the_first_step_is_the_untrained_masked_network(state: Any) -> None:
    for name in ("magnitude 1", "scored"):
        start = load_weights(state(name, "0"), CPU)
        assert start.masks
        for parameter, mask in start.masks.items():
            assert not start.tensors[parameter][~mask].any()
            assert start.tensors[parameter][mask].all()
    scored, trained = load_weights(state("scored", "0"), CPU), load_weights(state("scored"), CPU)
    assert all(torch.equal(mask, trained.masks[name]) for name, mask in scored.masks.items())
    assert any(not torch.equal(tensor, trained.tensors[name]) for name, tensor in scored.tensors.items())


@pytest.mark.parametrize("mask", ["none", "start", "end", "both"])
def test_a_mask_applies_to_both_ends(mask: str, state: Any) -> None:
    start, end = state("magnitude 1"), state("snip 2")
    points = interpolate([start], end, Line(mask, splits=("test",)), CPU).set_index("alpha")
    network = load_network(start, CPU)
    used = {"none": (), "start": (start,), "end": (end,), "both": (start, end)}[mask]
    for alpha, weights in ((0.0, load_weights(start, CPU)), (1.0, load_weights(end, CPU))):
        tensors = dict(weights.tensors)
        for one in used:
            for name, kept in torch.load(one.path / "masks.pt", weights_only=True).items():
                tensors[name] = tensors[name] * kept
        network.load(tensors)
        probabilities, labels, predicted = predict(network)
        assert points.loc[alpha, "accuracy"] == pytest.approx((predicted == labels).mean())
        loss = -probabilities[range(len(labels)), labels].log().mean().item()
        assert points.loc[alpha, "loss"] == pytest.approx(loss, rel=1e-5)


def test_masks_of_the_best_epoch_are_not_stored_and_said_so(state: Any) -> None:
    with pytest.raises(UserError, match=r"^mask=start: the masks of \w+@best were not stored; use mask=none"):
        interpolate([state("magnitude 1", "best")], state("snip 1"), Line("start"), CPU)


def test_a_point_is_exactly_an_end_at_0_and_1_and_no_variance_is_negative() -> None:
    torch.manual_seed(1)
    first, last = ({"weight": torch.randn(50), "bn.running_var": torch.rand(50), "n": torch.tensor(3)} for _ in "ab")
    assert all(torch.equal(value, first[name]) for name, value in point_between(first, last, 0.0).items())
    assert all(torch.equal(value, last[name]) for name, value in point_between(first, last, 1.0).items())
    beyond = point_between(first, last, 1.2)
    assert beyond["bn.running_var"].min() == 0
    assert torch.allclose(beyond["weight"], -0.2 * first["weight"] + 1.2 * last["weight"], atol=1e-6)


def test_batch_norm_is_estimated_anew_on_the_training_split(state: Any) -> None:
    network = load_network(state("dense"), CPU)
    layer = nn.BatchNorm1d(64)
    network.model = nn.Sequential(nn.Flatten(), layer, nn.Dropout(0.5), nn.Linear(64, 10))
    layer.running_mean.fill_(99.0)
    reestimate_batch_norm(network)
    means = torch.stack([x.flatten(1).mean(dim=0) for x, _ in training_samples(network.data.train)])
    assert torch.allclose(layer.running_mean, means.mean(dim=0), atol=1e-5)
    assert layer.momentum == 0.1
    assert not network.model[2].training


def test_disagreement_is_the_share_of_test_examples_that_a_slow_loop_counts(state: Any) -> None:
    states = [state("magnitude 1"), state("magnitude 2"), state("snip 1")]
    pairs, members = disagreement(states, CPU)
    network = load_network(states[0], CPU)
    classes: dict[str, list[int]] = {}
    for one in states:
        network.load(load_weights(one, CPU).tensors)
        classes[one.name] = [int(network.model(x[None])[0].argmax()) for xs, _ in network.data.test for x in xs]
    for row in pairs.itertuples():
        differing = sum(a != b for a, b in zip(classes[row.first], classes[row.second], strict=True))
        assert row.disagreement == differing / 270 > 0
    expected = np.mean([summary(one)["test_acc"] for one in states[:2]])
    assert members.set_index("line").loc["magnitude", "accuracy"] == pytest.approx(expected)


def test_an_ensemble_predicts_by_the_mean_of_the_probabilities(state: Any) -> None:
    states = [state("magnitude 1"), state("magnitude 2")]
    _, members = disagreement(states, CPU)
    network = load_network(states[0], CPU)
    total, labels = 0, None
    for one in states:
        network.load(load_weights(one, CPU).tensors)
        probabilities, labels, _ = predict(network)
        total = total + probabilities
    assert members["ensemble"].tolist() == [(total.argmax(dim=1).numpy() == labels).mean()]


def test_an_ensemble_of_identical_networks_is_that_network(state: Any) -> None:
    one = state("magnitude 1")
    same = [one, NetworkState(one.run_id, one.path, "last", one.group)]
    _, members = disagreement(same, CPU)
    assert members["ensemble"].tolist() == members["accuracy"].tolist() == [summary(one)["test_acc"]]


def test_distances_are_those_of_all_parameters(state: Any) -> None:
    first, second = state("magnitude 1"), state("dense")
    found = distances([first, second], CPU).iloc[0]
    a, b = (load_weights(one, CPU).tensors for one in (first, second))
    squared = sum(((a[name] - b[name]).double() ** 2).sum().item() for name in a)
    product = sum((a[name].double() * b[name].double()).sum().item() for name in a)
    norms = [sum((one[name].double() ** 2).sum().item() for name in one) ** 0.5 for one in (a, b)]
    assert found["l2"] == pytest.approx(squared**0.5, rel=1e-6)
    assert found["cosine"] == pytest.approx(1 - product / (norms[0] * norms[1]), abs=1e-6)


def test_the_plane_reproduces_the_distances_of_points_in_a_plane() -> None:
    points = np.random.default_rng(1).normal(size=(7, 2)) @ np.array([[3.0, 1.0], [0.0, 0.5]])
    matrix = np.linalg.norm(points[:, None] - points[None], axis=2)
    places, kept = scale(matrix)
    assert np.allclose(np.linalg.norm(places[:, None] - places[None], axis=2), matrix)
    assert kept == pytest.approx(1.0)


def test_a_plane_cannot_keep_all_of_a_tetrahedron() -> None:
    assert scale(1 - np.eye(4))[1] == pytest.approx(2 / 3)


def test_pairs_are_summarised_within_and_between_lines() -> None:
    names = {"a": "x", "b": "x", "c": "y", "d": "x"}
    pairs = pd.DataFrame(
        [("a", "b", 1.0), ("a", "c", 2.0), ("a", "d", 3.0), ("b", "c", 4.0), ("b", "d", 5.0), ("c", "d", 6.0)],
        columns=["first", "second", "value"],
    )
    found = summarise_pairs(pairs, names, "value").set_index(["line", "other"])
    assert found.loc[("x", "x"), ["mean", "std", "pairs"]].tolist() == [3.0, 2.0, 3]
    assert found.loc[("x", "y"), ["mean", "std", "pairs"]].tolist() == [4.0, 2.0, 3]
    assert len(found) == 2
    assert distance_matrix(pairs, list(names), "value")[3, 0] == 3.0


def test_a_group_is_runs_that_differ_in_their_seeds_alone(networks: Path, ids: dict[str, str], tmp_path: Path) -> None:
    runs = collect(Source(output_dir=networks, results_dir=tmp_path)).runs
    named = [ids[name] for name in ("magnitude 1", "magnitude 2", "snip 1", "dense")]
    assert [one.line for one in select_states(runs, named).states] == ["magnitude", "magnitude", "snip", "dense"]
    masks = select_states(runs, [ids["dense"], ids["scored"], ids["magnitude 1"], ids["bfloat16"]]).states
    assert [one.line.partition(",")[0] for one in masks] == ["dense", "static", "magnitude", "magnitude"]
    assert len({one.line for one in masks}) == 4
    by_both = select_states(runs, named, group="criterion,density").states
    assert by_both[0].line == "magnitude, density=0.1"


def test_a_run_is_named_by_a_beginning_of_its_id_that_no_other_has() -> None:
    runs = pd.DataFrame({"run_id": ["aa11", "aa22", "b333"], "status": ["finished", "finished", "running"]})
    with pytest.raises(UserError, match=r"^aa: begins the ids of 2 runs, aa11, aa22; give more digits$"):
        select_states(runs, ["aa"])
    with pytest.raises(UserError, match=r"^b333: the run is running; give a finished run$"):
        select_states(runs, ["b"])


def test_the_beginning_of_an_id_is_enough(networks: Path, ids: dict[str, str], tmp_path: Path) -> None:
    runs = collect(Source(output_dir=networks, results_dir=tmp_path)).runs
    found = select_states(runs, [f"{ids['dense'][:8]}@best"]).states
    assert [one.name for one in found] == [f"{ids['dense']}@best"]
    assert found[0].line == "dense, best epoch"


def test_runs_that_diverged_are_left_out_of_a_selection_with_a_note(networks: Path, tmp_path: Path) -> None:
    where = "dataset == 'digits' and model == 'small_mlp' and epochs > 0 and dataset.split_seed == 0"
    selection = select_states(collect(Source(output_dir=networks, results_dir=tmp_path, where=where)).runs)
    assert len(selection.states) == len(RUNS)
    assert selection.notes == ["1 runs that diverged or have not finished are left out"]


def test_a_damaged_checkpoint_is_named_in_one_line(
    ids: dict[str, str], networks: Path, tmp_path: Path, type_in: TypeIn
) -> None:
    output_dir = shutil.copytree(networks, tmp_path / "outputs")
    damaged = output_dir / "runs" / ids["snip 1"] / "checkpoint.pt"
    damaged.write_bytes(damaged.read_bytes()[:-500])
    words = (ids["dense"], ids["snip 1"], f"output_dir={output_dir}", f"results_dir={tmp_path}", "device=cpu")
    status, _, err = type_in("distances", *words)
    assert status == 2
    assert err.startswith(f"error: {damaged}: is damaged (")
    assert err.count("\n") == 1


COMMANDS = {
    "interpolate": ("interpolation", "interpolation_barriers"),
    "disagreement": ("disagreement", "disagreement_pairs", "disagreement_ensembles"),
    "distances": ("distances", "distances_plane"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_writes_tables_and_a_figure_and_computes_once(
    command: str, ids: dict[str, str], networks: Path, data_dir: Path, tmp_path: Path, type_in: TypeIn
) -> None:
    output_dir = shutil.copytree(networks, tmp_path / "outputs")
    moved = shutil.copytree(data_dir, tmp_path / "data")
    words = [ids[name] for name in ("magnitude 1", "magnitude 2", "snip 1", "dense")]
    words += [f"output_dir={output_dir}", f"results_dir={tmp_path / 'results'}", "device=cpu", f"data_dir={moved}"]
    status, out, err = type_in(command, *words)
    assert (status, err) == (0, "")
    for name in COMMANDS[command]:
        assert len(pd.read_csv(tmp_path / "results" / f"{name}.csv")) > 0
    for suffix, start in ((".png", b"\x89PNG"), (".pdf", b"%PDF")):
        content = (tmp_path / "results" / "figures" / f"{COMMANDS[command][0]}{suffix}").read_bytes()
        assert content.startswith(start)
        assert len(content) > 5000
    (kept,) = (tmp_path / "results" / ".models").iterdir()
    written = kept.stat().st_mtime_ns
    shutil.rmtree(moved)
    assert type_in(command, *words) == (0, out, "")
    assert kept.stat().st_mtime_ns == written
    assert list(kept.parent.iterdir()) == [kept]


def test_a_checkpoint_written_anew_is_computed_anew(
    ids: dict[str, str], networks: Path, tmp_path: Path, type_in: TypeIn
) -> None:
    output_dir = shutil.copytree(networks, tmp_path / "outputs")
    words = (ids["dense"], ids["snip 1"], f"output_dir={output_dir}", f"results_dir={tmp_path}", "device=cpu")
    before = type_in("distances", *words)[1]
    runs = output_dir / "runs"
    shutil.copyfile(runs / ids["snip 2"] / "checkpoint.pt", runs / ids["snip 1"] / "checkpoint.pt")
    assert type_in("distances", *words)[1] != before


def test_to_starts_from_every_selected_run(ids: dict[str, str], folders: tuple[str, ...], type_in: TypeIn) -> None:
    where = "where=criterion == 'snip' and model == 'small_mlp' and epochs == 2"
    status, out, err = type_in("interpolate", f"to={ids['snip 1']}", where, "split=test", "device=cpu", *folders)
    assert (status, err) == (0, "")
    rows = [line.split() for line in out.splitlines() if line.startswith("SNIP")]
    assert [row[1:4] for row in rows] == [[ids["snip 2"], ids["snip 1"], "test"]]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("interpolate {dense} {cnn}", "model is small_"),
        ("disagreement {dense} {other_split}", "dataset.split_seed is "),
        ("distances {dense} {dropped}", "1 of 2 runs kept no checkpoint.pt (the first is {dropped}); train them with"),
        ("distances {dense} zzz", "zzz: is the id of none of the 11 selected runs"),
        ("distances {dense}", "{dense}: two networks or more can be compared"),
        ("interpolate {dense}", "interpolate: give two runs or more"),
        ("interpolate {dense} {diverged}", "{diverged}: the run diverged"),
        ("interpolate {dense} {scored} mask=all", "mask=all: unknown; choose one of none, start, end, both"),
        ("interpolate {dense} {scored}@middle", "{scored}@middle: unknown; choose one of last, best, 0"),
        ("distances {dense} {scored} at=end", "at=end: unknown; choose one of last, best, 0"),
        ("distances {dense} {scored} group=colour", "group=colour: unknown"),
        ("distances {dense} {scored} name=../x", "name=../x: give the beginning of a file's name"),
        ("disagreement {dense} {scored} device=tpu", "device=tpu: choose auto, cpu"),
    ],
)
def test_a_mistake_is_one_line_before_any_work(
    line: str, told: str, ids: dict[str, str], folders: tuple[str, ...], type_in: TypeIn, tmp_path: Path
) -> None:
    words = [word.format(**ids) for word in line.split()]
    status, out, err = type_in(*words, *folders)
    assert (status, out) == (2, "")
    assert err.startswith(f"error: {told.format(**ids)}")
    assert err.count("\n") == 1
    assert not (tmp_path / "results" / ".models").exists()
