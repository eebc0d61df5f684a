"""Figures of the first paper's appendix, and the paper's figures of studies in which much varies."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes

from analysis.collect import Collection
from analysis.figures import FIGURES, FigureData, draw
from analysis.figures.settings import at_main_settings
from analysis.style import colors
from analysis.table import format_table

Collect = Callable[..., Collection]
SETTINGS = {"recipe_batch_size": 128, "sparsity_update_batch_size": None, "criterion_lam": None, "model_weights": None}


@pytest.fixture
def study(trained: Path, collected: Collect) -> FigureData:
    """The finished runs of a small study, with the paper's batch size."""
    collection = collected(trained, sweep="tiny")
    return FigureData(collection.runs.assign(**SETTINGS), collection.missing, lambda: collection.epochs)


def with_variant(data: FigureData, where: str, **choices: Any) -> FigureData:
    """Adds copies of the runs for which ``where`` holds, with other choices and accuracies half as high."""
    copies = data.runs.query(where).assign(**choices)
    name = "_".join(map(str, choices.values()))
    copies = copies.assign(
        run_id=copies["run_id"] + name, test_acc=copies["test_acc"] / 2, val_acc=copies["val_acc"] / 2
    )
    epochs = data.epochs()
    return FigureData(
        pd.concat([data.runs, copies], ignore_index=True),
        data.missing,
        lambda: pd.concat([epochs, epochs.assign(run_id=epochs["run_id"] + name)], ignore_index=True),
    )


def panels(name: str, data: FigureData) -> dict[str, Axes]:
    (drawing,) = FIGURES[name].draw(data)
    return {axes.get_title(): axes for axes in drawing.figure.axes}


def heights(axes: Axes, line: str) -> list[float]:
    """Returns the y values of a line, without those of its error bars."""
    color = colors([line])[line]
    return list(next(np.asarray(drawn.get_ydata()) for drawn in axes.lines if drawn.get_color() == color))


def means(data: FigureData, where: str, value: str = "test_acc") -> list[float]:
    return list(100 * data.runs.query(where).groupby("density")[value].mean())


PERIOD = "update_period == 10"
RANDOM_SNIP = f"{PERIOD} and growth == 'random' and criterion == 'snip'"


def test_batch_sizes_are_columns_with_runs_of_their_own(study: FigureData) -> None:
    data = with_variant(study, "method == 'method' or method != ''", recipe_batch_size=1024, recipe_lr=0.08)
    found = panels("12", data)
    assert [re.sub(r"\n", " ", title) for title in found] == [
        f"small_mlp on digits {setting} {growth} growth"
        for growth in ("random", "gradient")
        for setting in ("batch 128, lr 0.01", "batch 1024, lr 0.08")
    ]
    small, large = list(found.values())[:2]
    expected = means(study, RANDOM_SNIP)
    assert heights(small, "snip") == pytest.approx(expected)
    assert heights(large, "snip") == pytest.approx([value / 2 for value in expected])


def test_runs_without_a_gradient_at_updates_stand_beside_those_with_another(study: FigureData) -> None:
    dynamic = f"{PERIOD} and not (criterion == 'magnitude' and growth == 'random')"
    data = with_variant(study, dynamic, sparsity_update_batch_size=1024.0)
    found = panels("13", data)
    ordinary = found["small_mlp on digits\nrandom growth"]
    larger = found["small_mlp on digits\nupdates by 1024 samples\nrandom growth"]
    assert heights(larger, "magnitude") == heights(ordinary, "magnitude")
    assert heights(larger, "snip") == pytest.approx([value / 2 for value in means(study, RANDOM_SNIP)])
    assert len([line for line in larger.lines if line.get_linestyle() == "--"]) == 1  # dense


def test_fine_tuned_runs_are_a_column(study: FigureData) -> None:
    titles = list(panels("14", with_variant(study, "seed > 0", model_weights="imagenet")))
    assert titles[:2] == [
        "small_mlp on digits\nfrom scratch\nrandom growth",
        "small_mlp on digits\nweights of imagenet\nrandom growth",
    ]


def test_a_point_has_the_local_accuracy_as_x_and_the_global_one_as_y(study: FigureData) -> None:
    data = with_variant(study, PERIOD, sparsity_scope="global")
    axes = panels("15", data)["small_mlp on digits\nrandom growth"]
    points = next(line for line in axes.lines if line.get_color() == colors(["snip"])["snip"])
    local = means(study, RANDOM_SNIP)
    assert np.asarray(points.get_xdata()) == pytest.approx(local)
    assert np.asarray(points.get_ydata()) == pytest.approx([value / 2 for value in local])
    assert {text.get_text() for text in axes.texts} == {"0.1", "0.2"}


def test_schedules_and_batch_sizes_of_the_period_are_panels_in_the_papers_order(study: FigureData) -> None:
    data = with_variant(study, "method == 'dst'", prune_fraction="constant")
    data = with_variant(data, "prune_fraction == 'cosine' and method == 'dst'", prune_fraction="linear")
    data = with_variant(data, "prune_fraction == 'cosine' and method == 'dst'", recipe_batch_size=256)
    found = panels("16", data)
    assert [title.split("\n")[1] for title in found] == [
        *("linear, batch 128", "constant, batch 128", "cosine, batch 128", "cosine, batch 256")
    ]
    assert all("random growth, density 0.1" in title for title in found)
    by_period = study.runs.query("growth == 'random' and criterion == 'snip' and density == 0.1")
    expected = 100 * by_period.groupby("update_period")["val_acc"].mean()
    assert heights(list(found.values())[2], "snip") == pytest.approx(list(expected))


def test_each_weight_of_the_gradient_is_a_line(study: FigureData) -> None:
    mest = study.runs["criterion"] == "snip"
    runs = study.runs.assign(criterion=study.runs["criterion"].mask(mest, "mest"))
    runs["criterion_lam"] = np.where(mest, 0.1, np.nan)
    one = FigureData(runs, study.missing, study.epochs)
    assert FIGURES["7"].draw(one) == []
    axes = panels("7", with_variant(one, "criterion == 'mest'", criterion_lam=10.0))[
        "small_mlp on digits\nrandom growth"
    ]
    expected = means(study, RANDOM_SNIP)
    assert heights(axes, "mest, criterion.lam=0.1") == pytest.approx(expected)
    assert heights(axes, "mest, criterion.lam=10") == pytest.approx([value / 2 for value in expected])


def test_sensitivity_and_its_reciprocal_have_curves_at_one_density(study: FigureData) -> None:
    names = {"snip": "sensitivity", "magnitude": "rsensitivity"}
    runs = study.runs.assign(criterion=study.runs["criterion"].replace(names))
    (drawing,) = FIGURES["8"].draw(FigureData(runs, study.missing, study.epochs))
    left, right = drawing.figure.axes[:2]
    assert heights(left, "sensitivity") == pytest.approx(means(study, RANDOM_SNIP))
    assert right.get_title() == "density 0.2"
    chosen = study.runs.query(f"{RANDOM_SNIP} and density == 0.2")["run_id"]
    epochs = study.epochs()
    expected = 100 * epochs[epochs["run_id"].isin(chosen)].groupby("epoch")["val_acc"].mean()
    assert heights(right, "sensitivity") == pytest.approx(list(expected))


def test_a_figure_takes_its_own_runs_where_several_choices_vary(trained: Path, collected: Collect) -> None:
    collection = collected(trained, sweep="tiny")
    alone = draw(FIGURES["1"], collection, "test_acc")
    study = FigureData(collection.runs.assign(**SETTINGS), collection.missing, lambda: collection.epochs)
    mixed = with_variant(study, "method == 'dst'", sparsity_scope="global")
    assert len(at_main_settings(mixed).runs) == len(mixed.runs)  # one choice is an axis, as for any study
    mixed = with_variant(mixed, "sparsity_scope == 'local'", prune_fraction="linear")
    mixed = with_variant(mixed, "prune_fraction == 'cosine' and sparsity_scope == 'local'", criterion="random")
    assert set(at_main_settings(mixed).runs["run_id"]) == set(study.runs["run_id"])
    varied = at_main_settings(mixed, ("sparsity_scope",)).runs
    assert set(varied["sparsity_scope"].dropna()) == {"local", "global"}
    assert alone.paths


def test_missing_runs_of_other_experiments_are_not_counted(study: FigureData) -> None:
    mixed = with_variant(study, "method == 'dst'", sparsity_scope="global")
    mixed = with_variant(mixed, "sparsity_scope == 'local'", prune_fraction="linear")
    finished = mixed.runs["run_id"].isin(study.runs["run_id"])
    planned = FigureData(mixed.runs[finished], mixed.runs[~finished], mixed.epochs)
    assert at_main_settings(planned).missing.empty
    assert len(at_main_settings(planned, ("sparsity_scope",)).missing) == 20


def test_the_papers_numbers_are_shown_where_it_prints_them(study: FigureData) -> None:
    runs = study.runs.assign(setup="large_mlp/cifar10")
    plain = FigureData(runs, study.missing, study.epochs)
    (drawing,) = FIGURES["11"].draw(FigureData(runs, study.missing, study.epochs, reference=True))
    assert drawing.caption[-1] == "+ is what the paper's text says."
    marks = [line for line in drawing.figure.axes[0].lines if line.get_marker() == "+"]
    assert [list(np.asarray(line.get_xdata())) for line in marks] == [[800, 6400]]
    assert FIGURES["11"].draw(plain)[0].caption == drawing.caption[:-1]

    table = format_table(study.runs.assign(setup="roberta_large/commonsense_qa"), "csv", reference=True)
    assert '"roberta_large/commonsense_qa, as published",gradient,set,0.8,0.6843,0.0615,3,' in table
    assert "as published" not in format_table(study.runs, "csv", reference=True)
