"""Phases as rows, families, methods at equal cost and figures of the cyclic-training paper, on short runs on digits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis.collect import Collection
from analysis.cyclic.cost import at_budgets, cost_means, draw_cost, rank_families
from analysis.cyclic.families import family
from analysis.cyclic.figures import FIGURES
from analysis.cyclic.findings import compare_costs, compared_with_best
from analysis.cyclic.panels import crop_outliers, line_styles
from analysis.cyclic.study import Study, studies
from analysis.models.interpolate import Line, interpolate
from analysis.models.load import Place
from analysis.models.states import NetworkState, phase_ends
from dst.config import compose
from dst.train import run

TypeIn = Callable[..., tuple[int, str, str]]
Collect = Callable[..., Collection]
SHORT = ("dataset=digits", "model=small_mlp", "tracker=local", "device=cpu", "recipe.epochs=1", "update_period=never")
LRR = ("procedure=lrr", "procedure.prune_rate=0.5", "density=0.2")
RUNS = {
    "dense": ("density=dense",),
    "static": ("density=0.2", "distribution=balanced"),
    "cyclic": (
        "density=0.2",
        "distribution=balanced",
        "procedure=cyclic",
        "procedure.cycles=3",
        "checkpoint.phases=true",
    ),
    "lrr": LRR,
    "lrr, sparser": (*LRR, "density=0.1"),
    "coupled": ("density=0.2", "parent=[procedure=lrr,procedure.prune_rate=0.5]", "initial_mask=parent"),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> tuple[Path, dict[str, dict[str, Any]]]:
    """An ``output_dir`` and the summaries of its runs by name."""
    output_dir = tmp_path_factory.mktemp("cyclic")
    common = [*SHORT, f"data_dir={data_dir}", f"output_dir={output_dir}"]
    return output_dir, {name: run(compose([*common, *typed])) for name, typed in RUNS.items()}


@pytest.fixture
def study(trained: Any, collected: Collect) -> Study:
    (found,) = studies(collected(trained[0]), {"device": "cpu"})
    return found


def test_a_longer_dense_training_is_not_the_one_that_costs_1(study: Study, trained: Any) -> None:
    dense = study.points[study.points["family"] == "dense"]
    longer = dense.assign(run_id="longer", epoch=3, cost=3.0, accuracy=2.0)
    both = replace(study, points=pd.concat([study.points, longer]))
    assert both.dense_accuracy == trained[1]["dense"]["test_acc"]


@pytest.mark.parametrize(
    ("choices", "name"),
    [
        ({"method": "dense", "procedure": "cyclic"}, "dense cyclic"),
        ({"method": "static", "initial_mask": "random", "distribution": "erk"}, "static erk"),
        ({"method": "static", "initial_mask": "snip", "procedure": "cyclic"}, "cyclic SNIP"),
        ({"method": "dst", "criterion": "set", "growth": "random", "initial_mask": "random"}, "SET"),
        (
            {"method": "dst", "criterion": "snip", "growth": "gradient", "initial_mask": "snip"},
            "snip / gradient from SNIP",
        ),
        ({"method": "iterative", "criterion": "snip", "procedure": "imp"}, "IMP, pruned by snip"),
        (
            {"method": "sculpt", "criterion": "magnitude", "procedure": "sculpt", "initial_mask": "synflow",
             "procedure_start_density": 0.5, "procedure_extend": True},
            "SCULPT SynFlow 0.5, extended",
        ),
        (
            {"method": "static", "initial_mask": "parent", "weight_init": "parent", "weight_init_step": "20",
             "procedure": "cyclic"},
            "cyclic LRR mask, warm-up weights",
        ),
        ({"method": "static", "initial_mask": "parent", "weight_init": "default"}, "LRR mask, own init"),
    ],
)  # fmt: skip
def test_the_choices_of_a_run_decide_its_family(choices: dict[str, Any], name: str) -> None:
    assert family(choices, "LRR") == name


def test_each_level_and_cycle_is_a_point_with_its_cost(trained: Any, study: Study) -> None:
    _, summaries = trained
    points = study.points.set_index("family")
    levels = points.loc["LRR"].sort_values("density", ascending=False)
    assert levels["density"].tolist() == [1.0, 0.5, 0.25, 0.2, 0.125, 0.1]  # shared levels once
    dense = summaries["dense"]["flops_training"]
    last = levels.iloc[-1]
    assert last["cost"] == pytest.approx(summaries["lrr, sparser"]["flops_training"] / dense)
    assert last["accuracy"] == summaries["lrr, sparser"]["test_acc"]
    cycles = points.loc["cyclic balanced"]
    assert cycles["final"].tolist() == [False, False, True]
    assert cycles["cost"].tolist() == pytest.approx([points.loc["static balanced", "cost"] * n for n in (1, 2, 3)])
    assert cycles["accuracy"].iloc[0] == summaries["static"]["test_acc"]


def test_the_cost_of_a_coupled_run_counts_its_parent(trained: Any, study: Study) -> None:
    _, summaries = trained
    both = summaries["coupled"]["flops_training"] + summaries["lrr"]["flops_training"]
    (cost,) = study.points.loc[study.points["family"] == "LRR mask, own init", "cost"]
    assert cost == pytest.approx(both / summaries["dense"]["flops_training"])


def invented(rows: list[tuple[str, int, float, float]]) -> Study:
    frame = pd.DataFrame(rows, columns=["family", "seed", "cost", "accuracy"])
    frame = frame.assign(line=frame["family"], density=0.1, phase=1, epoch=1, seconds=1.0, final=True)
    return Study("m/d", frame, 1, "test_acc", None, {}, [])  # type: ignore[arg-type]


def test_costs_within_a_fifth_are_one_budget_and_others_none() -> None:
    study = invented(
        [("A", 1, 1.0, 0.9), ("B", 1, 1.08, 0.8), ("C", 1, 1.3, 0.7), ("A", 1, 3.0, 0.9), ("C", 1, 3.2, 0.95)]
    )
    found = at_budgets(study).groupby("budget")["family"].agg(list)
    assert [sorted(names) for names in found] == [["A", "B"], ["A", "C"]]


def test_a_family_counts_at_a_budget_with_the_same_line_and_phase_for_all_seeds() -> None:
    study = invented([("A", 1, 1.01, 0.9), ("A", 2, 1.01, 0.8), ("A", 1, 1.02, 0.1), ("B", 1, 1.0, 0.7)])
    points = study.points.assign(line=["A, 1", "A, 1", "A, 2", "B"])
    found = at_budgets(replace(study, points=points))
    assert sorted(found.loc[found["family"] == "A", "accuracy"]) == [0.8, 0.9]


def test_at_a_budget_the_end_of_runs_counts_before_a_cycle_of_longer_ones() -> None:
    study = invented([("A", 1, 0.9, 0.5), ("A", 1, 1.1, 0.9), ("B", 1, 1.0, 0.7), ("C", 1, 1.0, 0.6)])
    points = study.points.assign(line=["A, 1", "A, 2", "B", "C"], phase=2, final=[True, False, True, True])
    found = at_budgets(replace(study, points=points)).set_index("family")
    assert found["accuracy"].to_dict() == {"A": 0.5, "B": 0.7, "C": 0.6}


def test_wrong_labels_are_a_setup_of_their_own(study: Study, collected: Collect, trained: Any) -> None:
    collection = collected(trained[0])
    noisy = collection.runs.assign(run_id=collection.runs["run_id"] + "n", dataset_label_noise=0.15)
    both = replace(collection, runs=pd.concat([collection.runs.assign(dataset_label_noise=0.0), noisy]))
    found = {each.setup: each for each in studies(both, {"device": "cpu"})}
    assert sorted(found) == ["small_mlp/digits", "small_mlp/digits, dataset.label_noise=0.15"]
    for each in found.values():
        assert set(each.points["family"]) == set(study.points["family"])
        assert each.dense_accuracy == study.dense_accuracy
    drawn = {name for name, each in found.items() if FIGURES["9b"].draw(each)}
    assert drawn == {"small_mlp/digits, dataset.label_noise=0.15"}


def test_the_pareto_front_has_what_nothing_cheaper_matches() -> None:
    study = invented([("A", 1, 1.0, 0.9), ("B", 1, 1.0, 0.8), ("C", 1, 2.0, 0.9), ("D", 1, 3.0, 0.95)])
    assert cost_means(study).set_index("family")["pareto"].to_dict() == {"A": True, "B": False, "C": False, "D": True}


def test_the_cycles_of_each_length_are_a_line_and_the_lengths_of_a_family_without_cycles_are_one(study: Study) -> None:
    rows = [
        *(("cyclic", 1, 1.0, 0.5), ("cyclic", 1, 2.0, 0.8), ("cyclic", 1, 1.5, 0.6), ("cyclic", 1, 3.0, 0.9)),
        *(("static", 1, 1.1, 0.7), ("static", 1, 3.1, 0.8)),
    ]
    points = invented(rows).points.assign(line=["c1", "c1", "c2", "c2", "s1", "s2"], phase=[1, 2, 1, 2, 1, 1])
    drawing = draw_cost(replace(study, points=points))
    assert drawing is not None
    drawn = {tuple(container.lines[0].get_xdata()) for container in drawing.figure.axes[0].containers}
    assert drawn == {(1.0, 2.0), (1.5, 3.0), (1.1, 3.1)}


def test_families_are_ranked_where_they_meet() -> None:
    study = invented(
        [(name, 1, cost, value + cost / 100) for cost in (1.0, 2.0, 4.0) for name, value in (("A", 0.5), ("B", 0.4))]
    )
    ranking, left_out = rank_families([at_budgets(study).assign(setup="m/d")])
    assert ranking is not None
    assert (ranking.average.to_dict(), ranking.blocks, left_out) == ({"A": 1.0, "B": 2.0}, 3, [])


def test_those_families_are_ranked_of_which_most_pairs_are_compared() -> None:
    often, rarely = [("A", 0.9), ("B", 0.8)], [("C", 0.9), ("D", 0.8), ("E", 0.7), ("F", 0.6)]
    rows = [
        *((name, 1, cost, value) for cost in (1.0, 2.0, 4.0) for name, value in often),
        *((name, 1, cost, value) for cost in (10.0, 20.0) for name, value in rarely),
    ]
    ranking, left_out = rank_families([at_budgets(invented(rows)).assign(setup="m/d")])
    assert ranking is not None
    assert (list(ranking.average.index), ranking.blocks, left_out) == (list("CDEF"), 2, ["A", "B"])
    ranking, left_out = rank_families([at_budgets(invented(rows[:8])).assign(setup="m/d")])
    assert ranking is not None
    assert (list(ranking.average.index), ranking.blocks, left_out) == (list("AB"), 3, ["C", "D"])
    assert rank_families([at_budgets(invented(rows[6:10])).assign(setup="m/d")]) == (None, list("CDEF"))


def test_levels_of_few_families_are_no_blocks_of_the_ranking() -> None:
    ends = [(name, 1, 1.0, value) for name, value in zip("ABCDE", (0.9, 0.8, 0.7, 0.6, 0.5), strict=True)]
    at_ends, levels = invented(ends).points, invented(ends[:2]).points
    points = [at_ends, at_ends.assign(density=0.05), *(levels.assign(density=density) for density in (0.5, 0.4, 0.3))]
    study = replace(invented(ends), points=pd.concat(points, ignore_index=True))
    ranking, told = compare_costs([study])
    assert ranking is not None
    assert (list(ranking.average.index), ranking.blocks) == (list("ABCDE"), 2)
    assert not [line for line in told if "50 % sparse" in line]


def test_the_axis_leaves_out_what_collapsed_and_no_line_that_many_points_of_another_outweigh() -> None:
    many = [("LRR", 0.98)] * 20 + [("SCULPT", 0.97), ("SCULPT", 0.93), ("cyclic", 0.96), ("cyclic", 0.90)]
    means = pd.DataFrame([*many, ("static", 0.11)], columns=["line", "accuracy"]).assign(x=1.0)
    axes = Figure().subplots()
    crop_outliers([axes], [means], ["x"], line_styles(means["line"]))
    assert 11 < axes.get_ylim()[0] < 90


def test_the_best_is_compared_by_welch_adjusted_by_holm_and_never_for_single_seeds() -> None:
    rows = {"A": (0.90, 0.91, 0.92), "B": (0.89, 0.91, 0.90), "C": (0.50, 0.51, 0.52), "D": (0.7,)}
    points = pd.DataFrame(
        [(name, value) for name, values in rows.items() for value in values], columns=["family", "accuracy"]
    )
    table = compared_with_best(points)
    assert list(table.index) == ["A", "B", "D", "C"]
    assert table["p"].isna().to_dict() == {"A": True, "B": False, "D": True, "C": False}
    assert table["p"]["B"] == pytest.approx(0.2879, abs=1e-3)  # t = 1.22, 4 degrees of freedom
    assert table["p"]["C"] < 1e-5


def test_interpolation_between_phases_has_the_losses_of_their_ends(
    trained: Any, type_in: TypeIn, tmp_path: Path
) -> None:
    output_dir, summaries = trained
    run_id = summaries["cyclic"]["run_id"]
    ends = phase_ends(NetworkState(run_id, output_dir / "runs" / run_id, "last", "cyclic"))
    assert len(ends) == 3
    folders = (f"output_dir={output_dir}", f"results_dir={tmp_path / 'results'}", "device=cpu")
    assert type_in("interpolate", run_id, "phases=true", "split=test", *folders)[::2] == (0, "")
    table = pd.read_csv(tmp_path / "results" / "interpolation_barriers.csv")
    assert list(zip(table["start"], table["end"], strict=True)) == [(a.name, b.name) for a, b in pairwise(ends)]
    assert table["loss_end"].iloc[0] == table["loss_start"].iloc[1]
    alone = interpolate(ends[1:2], ends[1], Line(splits=("test",)), Place("cpu"))
    assert alone["loss"].iloc[0] == pytest.approx(table["loss_end"].iloc[0])
    assert table["accuracy_end"].iloc[-1] == summaries["cyclic"]["test_acc"]
    status, out, err = type_in("interpolate", summaries["lrr"]["run_id"], "phases=true", *folders)
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert "checkpoint.phases=true" in err


def test_figures_are_drawn_and_findings_written(trained: Any, type_in: TypeIn, tmp_path: Path) -> None:
    folders = (f"output_dir={trained[0]}", f"results_dir={tmp_path / 'results'}")
    status, out, err = type_in("figures", "paper=cyclic", "fig=cost,2a,8b", *folders)
    assert (status, err) == (0, "")
    for name in ("cost", "2a"):
        picture = tmp_path / "results" / "figures" / f"cyclic_{name}_small_mlp_digits.png"
        assert picture.read_bytes().startswith(b"\x89PNG")
    assert "figure 8b of small_mlp/digits: nothing to draw, it needs finished runs of resnet50_cifar/cifar100" in out
    told = (tmp_path / "results" / "figures" / "cyclic_cost_findings.txt").read_text()
    assert "80 % sparse: Pareto front in dense trainings: " in told


def test_the_table_has_accuracy_and_cost_of_every_family(trained: Any, type_in: TypeIn, tmp_path: Path) -> None:
    output_dir, summaries = trained
    folders = (f"output_dir={output_dir}", f"results_dir={tmp_path / 'results'}")
    status, out, err = type_in("table", "paper=cyclic", *folders)
    assert (status, err) == (0, "")
    assert "LRR" in out
    table = pd.read_csv(tmp_path / "results" / "cyclic_families.csv")
    static = table[table["line"] == "static balanced"].iloc[0]
    assert static["accuracy"] == summaries["static"]["test_acc"]
    flops = summaries["static"]["flops_training"] / summaries["dense"]["flops_training"]
    assert (static["density"], static["cost"]) == (0.2, pytest.approx(flops))
    for _, here in table.groupby("density"):
        front = here[here["pareto"]].sort_values("cost")
        assert front["accuracy"].is_monotonic_increasing
        several = here["line"].str.partition(",")[0].nunique() > 1
        assert front["accuracy"].max() == here["accuracy"].max() if several else front.empty
    assert r"\toprule" in (tmp_path / "results" / "cyclic_families.tex").read_text()
    assert type_in("table", "paper=cyclic", "table=all")[0] == 2


def test_help_lists_every_figure_and_a_mistake_is_one_line(type_in: TypeIn) -> None:
    _, out, _ = type_in("figures", "paper=cyclic", "fig=help")
    assert len(out.splitlines()) == len(FIGURES)
    for words, told in (
        ("fig=99", "fig=99: unknown"),
        ("reference=true", "only with paper=gradient_flow"),
        ("metric=loss", "metric=loss"),
    ):
        status, _, err = type_in("figures", "paper=cyclic", words)
        assert (status, len(err.splitlines())) == (2, 1)
        assert told in err
