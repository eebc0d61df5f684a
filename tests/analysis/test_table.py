from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from analysis.collect import Collection
from analysis.compare import select_comparable
from analysis.frames import runs_frame
from analysis.table import LAYOUTS, format_table, panels
from dst.run.where import row_mask


def made(line: str, density: float, *accuracies: float, **more: object) -> list[dict[str, object]]:
    """Rows of runs that differ in their seeds."""
    method = line if line in ("dense", "static") else "dst"
    choices = {"criterion": line, "growth": "random", "update_period": 800} if method == "dst" else {}
    shared = {"status": "finished", "setup": "m/d", "model": "m", "dataset": "d", "method": method, "density": density}
    return [
        shared | choices | {"seed": seed, "run_id": f"{line}{density}{seed}{more}", "test_acc": accuracy} | more
        for seed, accuracy in enumerate(accuracies)
    ]


STUDY = runs_frame(
    [
        *made("dense", 1.0, 0.95, 0.97),
        *made("static", 0.1, 0.80, 0.82),
        *made("magnitude", 0.1, 0.90, 0.92),
        *made("snip", 0.1, 0.86, 0.84),
        *made("magnitude", 0.2, 0.93),
        *made("snip", 0.2, 0.93),
        *made("set", 0.2, 0.90),
    ]
)


def test_a_cell_is_mean_standard_deviation_and_number_of_runs() -> None:
    text = format_table(STUDY, "text")
    assert "91.00 ± 1.41 (2) ▲" in text
    assert "85.00 ± 1.41 (2) △" in text
    assert "81.00 ± 1.41 (2)\n" not in text
    assert "dense 96.00 ± 1.41 (2)" in text
    assert "93.00 (1) ▲" in text


def test_equal_means_share_a_place() -> None:
    body = panels(select_comparable(STUDY))[0].body[0.2].dropna()
    assert {line: cell.place for line, cell in body.items()} == {"magnitude": 1, "snip": 1, "set": 0}


def test_columns_of_the_text_are_aligned() -> None:
    head, *rows = format_table(STUDY, "text").splitlines()[1:6]
    ends = [head.index(density) + len(density) for density in ("0.1", "0.2")]
    for row in rows:
        assert all(row[end - 1] in ")–" for end in ends if len(row) >= end)
        assert all(row[end : end + 1] in ("", " ") for end in ends)


def test_best_is_bold_and_second_underlined_in_markdown_and_latex() -> None:
    markdown, latex = format_table(STUDY, "markdown"), format_table(STUDY, "latex")
    assert "| Magnitude | **91.00 ± 1.41 (2)** |" in markdown
    assert "<u>85.00 ± 1.41 (2)</u>" in markdown
    assert r"Magnitude & \textbf{91.00 $\pm$ 1.41 (2)}" in latex
    assert r"\underline{85.00 $\pm$ 1.41 (2)}" in latex


def test_latex_is_a_booktabs_table_with_as_many_cells_in_every_row() -> None:
    lines = format_table(STUDY, "latex").splitlines()
    assert [line for line in lines if line.endswith("rule")] == [r"\toprule", r"\midrule", r"\bottomrule"]
    assert {line.count("&") for line in lines if line.endswith(r"\\")} == {2}
    assert r"\begin{tabular}{lrr}" in lines


def test_csv_has_every_cell_in_full_precision() -> None:
    frame = pd.read_csv(io.StringIO(format_table(STUDY, "csv")))
    assert len(frame) == 7
    cell = frame[(frame["criterion"] == "magnitude") & (frame["density"] == 0.1)].iloc[0]
    assert (cell["mean"], cell["runs"], cell["place"]) == (pytest.approx(0.91), 2, 1)
    assert cell["std"] == pytest.approx(0.0141421356)


def test_a_user_defined_criterion_has_a_row() -> None:
    runs = runs_frame([*STUDY.to_dict("records"), *made("mine", 0.1, 0.99)])
    assert "mine" in format_table(runs, "text")
    assert panels(select_comparable(runs))[0].body.at["mine", 0.1].place == 1


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_written_without_runs(layout: str) -> None:
    assert isinstance(format_table(runs_frame([]), layout), str)


def with_rates(*rates: float, **more: object) -> list[dict[str, object]]:
    """Magnitude and SNIP, two seeds each, trained with each of the learning rates."""
    lines = [made(line, 0.1, 0.9, 0.8, recipe_lr=rate, **more) for line in ("magnitude", "snip") for rate in rates]
    return [row for rows in lines for row in rows]


def test_a_further_choice_that_varies_has_one_panel_per_value_and_no_run_is_left_out() -> None:
    runs = runs_frame([*made("dense", 1.0, 0.95, recipe_lr=0.1), *with_rates(0.1, 0.01)])
    assert [panel.title for panel in panels(select_comparable(runs))] == [
        "m on d, recipe.lr=0.01, random growth",
        "m on d, recipe.lr=0.1, random growth",
    ]
    assert format_table(runs, "text").count("85.00 ± 7.07 (2)") == 4
    assert "left out" not in format_table(runs, "text")


def test_a_further_choice_that_varies_for_one_criterion_has_one_row_per_value() -> None:
    rows = [row for rate in (0.1, 0.05, 0.01) for row in made("magnitude", 0.1, rate, recipe_lr=rate)]
    (panel,) = panels(select_comparable(runs_frame(rows)))
    assert list(panel.body.index) == [f"magnitude, recipe.lr={rate}" for rate in (0.01, 0.05, 0.1)]
    assert "Magnitude, recipe.lr=0.05   5.00 (1) △" in format_table(runs_frame(rows), "text")


def test_choices_that_vary_together_count_as_one() -> None:
    rows = [*with_rates(0.1, recipe_epochs=5), *with_rates(0.01, recipe_epochs=9)]
    titles = [panel.title for panel in panels(select_comparable(runs_frame(rows)))]
    assert titles[0] == "m on d, recipe.epochs=5, recipe.lr=0.1, random growth"
    assert len(titles) == 2


@pytest.mark.parametrize("layout", ["text", "markdown", "latex"])
def test_several_varying_choices_are_named_with_a_where_and_the_number_of_runs_left_out(layout: str) -> None:
    fraction = {"recipe_epochs": 5, "prune_fraction": "cosine", "prune_fraction_initial": 0.5}
    rows = [*with_rates(0.1, 0.01, **fraction), *with_rates(0.1, **fraction | {"prune_fraction_initial": 0.3})]
    rows += made("dense", 1.0, 0.9, recipe_lr=0.1, recipe_epochs=5)
    runs = runs_frame([*(row | {"setup": "n/d"} for row in STUDY.to_dict("records")), *rows])
    (note,) = select_comparable(runs).notes
    assert note == (
        "13 runs of m/d are left out, as more than one choice varies: prune_fraction.initial (0.3, 0.5), "
        "recipe.lr (0.01, 0.1); fix all but one: where='prune_fraction.initial in [0.3, null]' or "
        "where='recipe.lr == 0.01'"
    )
    assert "13 runs of m/d are left out" in format_table(runs, layout)
    assert len(select_comparable(runs).runs) == len(STUDY)
    for expression in note.split("where='")[1:]:
        left = runs[row_mask(runs, expression.partition("'")[0])]
        assert select_comparable(left).notes == ()


def test_a_table_without_comparable_runs_says_why() -> None:
    runs = runs_frame([*with_rates(0.1, 0.01, recipe_epochs=5), *with_rates(0.1, recipe_epochs=9)])
    assert "Note: 12 runs of m/d are left out" in format_table(runs, "text")


def test_null_is_a_value_of_a_choice() -> None:
    runs = runs_frame([*made("magnitude", 0.1, 0.9, dataset_augment="flip"), *made("magnitude", 0.1, 0.5)])
    assert set(select_comparable(runs).runs["line"]) == {
        "magnitude, dataset.augment=flip",
        "magnitude, dataset.augment=null",
    }


def test_a_column_derived_from_results_is_not_a_choice() -> None:
    derived = STUDY.assign(gap=STUDY["test_acc"] - 0.5, rank=range(len(STUDY)), good=STUDY["test_acc"] > 0.9)
    assert len(select_comparable(derived).runs) == len(STUDY)
    assert format_table(derived, "text") == format_table(STUDY, "text")


def test_mixed_versions_of_a_criterion_are_noted() -> None:
    rows = [row | {"code_criterion": "a", "code_hash": "x"} for row in STUDY.to_dict("records")]
    rows += made("snip", 0.2, 0.5, code_criterion="b", code_hash="y")
    text = format_table(runs_frame(rows), "text")
    assert "Note: 2 versions of the criterion snip's source among these runs (3 and 1 runs)." in text
    assert "magnitude's source" not in text


def test_a_choice_without_effect_on_a_run_does_not_separate_it() -> None:
    rows = STUDY.to_dict("records")
    rows = [row | {"prune_fraction_initial": 0.5} if row["method"] == "dst" else row for row in rows]
    assert len(select_comparable(runs_frame(rows)).runs) == len(STUDY)


@pytest.mark.parametrize("choice", ["dataset_workers", "dataset_root", "recipe", "cuda_graph"])
def test_a_choice_without_effect_on_results_does_not_separate_runs(choice: str) -> None:
    rows = [row | {choice: str(row["seed"])} for row in STUDY.to_dict("records")]
    assert len(select_comparable(runs_frame(rows)).runs) == len(STUDY)


def test_each_value_of_a_criterions_parameter_is_a_line_and_other_lines_are_kept() -> None:
    lam = [*made("mest", 0.1, 0.9, 0.9, criterion_lam=1.0), *made("mest", 0.1, 0.2, criterion_lam=9.0)]
    chosen = select_comparable(runs_frame([*STUDY.to_dict("records"), *lam]))
    counts = chosen.runs["line"].value_counts()
    assert (counts["mest, criterion.lam=1"], counts["mest, criterion.lam=9"]) == (2, 1)
    assert len(chosen.runs) == len(STUDY) + 3


def test_update_periods_with_equally_many_densities_have_one_panel_each() -> None:
    rows = [*made("magnitude", 0.1, 0.9, update_period=25), *made("magnitude", 0.1, 0.8, update_period=50)]
    text = format_table(runs_frame([*rows, *made("static", 0.1, 0.7)]), "text")
    assert "m on d, Δt=25, random growth" in text
    assert "m on d, Δt=50, random growth" in text
    assert "left out" not in text


def test_runs_with_a_less_covered_update_period_are_left_out_and_noted() -> None:
    runs = runs_frame([*STUDY.to_dict("records"), *made("magnitude", 0.1, 0.5, 0.5, update_period=25)])
    assert "2 runs with another update period than Δt = 800" in format_table(runs, "text")
    assert "91.00 ± 1.41 (2) ▲" in format_table(runs, "text")


def test_diverged_runs_are_included_and_noted() -> None:
    runs = runs_frame([*STUDY.to_dict("records"), *made("set", 0.1, 0.1, status="diverged")])
    assert "10.00 (1)" in format_table(runs, "text")
    assert "1 diverged runs count" in format_table(runs, "text")


def test_unfinished_runs_are_ignored() -> None:
    runs = runs_frame([*STUDY.to_dict("records"), *made("set", 0.1, 0.1, status="running")])
    assert format_table(runs, "text") == format_table(STUDY, "text")


def test_the_table_shows_the_means_of_trained_runs(trained: Path, collected: Callable[..., Collection]) -> None:
    runs = collected(trained).runs
    frame = pd.read_csv(io.StringIO(format_table(runs, "csv"))).set_index(["criterion", "growth", "density"])
    dynamic = runs[(runs["method"] == "dst") & (runs["update_period"] == 10)]
    means = dynamic.groupby(["criterion", "growth", "density"])["test_acc"].mean()
    assert len(means) == 8
    for key, mean in means.items():
        assert frame.at[key, "mean"] == pytest.approx(mean)
        assert frame.at[key, "runs"] == 2
