from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from analysis.collect import Collection
from analysis.compare import comparable
from analysis.frames import runs_frame
from analysis.table import LAYOUTS, panels, table


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
    text = table(STUDY, "text")
    assert "91.00 ± 1.41 (2) ▲" in text
    assert "85.00 ± 1.41 (2) △" in text
    assert "81.00 ± 1.41 (2)\n" not in text
    assert "dense 96.00 ± 1.41 (2)" in text
    assert "93.00 (1) ▲" in text


def test_equal_means_share_a_place() -> None:
    body = panels(comparable(STUDY))[0].body[0.2].dropna()
    assert {line: cell.place for line, cell in body.items()} == {"magnitude": 1, "snip": 1, "set": 0}


def test_columns_of_the_text_are_aligned() -> None:
    head, *rows = table(STUDY, "text").splitlines()[1:6]
    ends = [head.index(density) + len(density) for density in ("0.1", "0.2")]
    for row in rows:
        assert all(row[end - 1] in ")–" for end in ends if len(row) >= end)
        assert all(row[end : end + 1] in ("", " ") for end in ends)


def test_best_is_bold_and_second_underlined_in_markdown_and_latex() -> None:
    markdown, latex = table(STUDY, "markdown"), table(STUDY, "latex")
    assert "| Magnitude | **91.00 ± 1.41 (2)** |" in markdown
    assert "<u>85.00 ± 1.41 (2)</u>" in markdown
    assert r"Magnitude & \textbf{91.00 $\pm$ 1.41 (2)}" in latex
    assert r"\underline{85.00 $\pm$ 1.41 (2)}" in latex


def test_latex_is_a_booktabs_table_with_as_many_cells_in_every_row() -> None:
    lines = table(STUDY, "latex").splitlines()
    assert [line for line in lines if line.endswith("rule")] == [r"\toprule", r"\midrule", r"\bottomrule"]
    assert {line.count("&") for line in lines if line.endswith(r"\\")} == {2}
    assert r"\begin{tabular}{lrr}" in lines


def test_csv_has_every_cell_in_full_precision() -> None:
    frame = pd.read_csv(io.StringIO(table(STUDY, "csv")))
    assert len(frame) == 7
    cell = frame[(frame["criterion"] == "magnitude") & (frame["density"] == 0.1)].iloc[0]
    assert (cell["mean"], cell["runs"], cell["place"]) == (pytest.approx(0.91), 2, 1)
    assert cell["std"] == pytest.approx(0.0141421356)


def test_a_criterion_of_a_users_own_has_a_row_like_any_other() -> None:
    runs = runs_frame([*STUDY.to_dict("records"), *made("mine", 0.1, 0.99)])
    assert "mine" in table(runs, "text")
    assert panels(comparable(runs))[0].body.at["mine", 0.1].place == 1


@pytest.mark.parametrize("layout", LAYOUTS)
def test_without_runs_every_layout_still_comes(layout: str) -> None:
    assert isinstance(table(runs_frame([]), layout), str)


def test_runs_that_differ_in_another_choice_are_left_out_and_named() -> None:
    odd = made("magnitude", 0.1, 0.10, 0.10, recipe_lr=0.5)
    runs = runs_frame([*(row | {"recipe_lr": 0.01} for row in STUDY.to_dict("records")), *odd])
    chosen = comparable(runs)
    assert len(chosen.runs) == len(STUDY)
    assert chosen.notes == ("2 runs with another recipe_lr than most of their setup are left out",)
    assert "2 runs with another recipe_lr" in table(runs, "text")
    assert "91.00 ± 1.41 (2) ▲" in table(runs, "text")


def test_a_choice_that_has_no_effect_on_a_run_does_not_set_it_apart() -> None:
    rows = STUDY.to_dict("records")
    rows = [row | {"prune_fraction_initial": 0.5} if row["method"] == "dst" else row for row in rows]
    assert len(comparable(runs_frame(rows)).runs) == len(STUDY)


@pytest.mark.parametrize("choice", ["dataset_workers", "dataset_root", "recipe"])
def test_a_choice_that_decides_no_result_does_not_set_runs_apart(choice: str) -> None:
    rows = [row | {choice: str(row["seed"])} for row in STUDY.to_dict("records")]
    assert len(comparable(runs_frame(rows)).runs) == len(STUDY)


def test_a_parameter_of_one_criterion_does_not_leave_out_the_others() -> None:
    lam = [*made("mest", 0.1, 0.9, 0.9, criterion_lam=1.0), *made("mest", 0.1, 0.2, criterion_lam=9.0)]
    chosen = comparable(runs_frame([*STUDY.to_dict("records"), *lam]))
    assert chosen.runs["line"].value_counts()["mest"] == 2
    assert len(chosen.runs) == len(STUDY) + 2


def test_other_update_periods_than_the_studied_one_are_left_out_and_named() -> None:
    runs = runs_frame([*STUDY.to_dict("records"), *made("magnitude", 0.1, 0.5, 0.5, update_period=25)])
    assert "2 runs with another update period than Δt = 800" in table(runs, "text")
    assert "91.00 ± 1.41 (2) ▲" in table(runs, "text")


def test_diverged_runs_count_and_are_told() -> None:
    runs = runs_frame([*STUDY.to_dict("records"), *made("set", 0.1, 0.1, status="diverged")])
    assert "10.00 (1)" in table(runs, "text")
    assert "1 diverged runs count" in table(runs, "text")


def test_unfinished_runs_do_not_count() -> None:
    runs = runs_frame([*STUDY.to_dict("records"), *made("set", 0.1, 0.1, status="running")])
    assert table(runs, "text") == table(STUDY, "text")


def test_the_table_of_real_runs_is_their_means(trained: Path, collected: Callable[..., Collection]) -> None:
    runs = collected(trained).runs
    frame = pd.read_csv(io.StringIO(table(runs, "csv"))).set_index(["criterion", "growth", "density"])
    dynamic = runs[(runs["method"] == "dst") & (runs["update_period"] == 10)]
    means = dynamic.groupby(["criterion", "growth", "density"])["test_acc"].mean()
    assert len(means) == 8
    for key, mean in means.items():
        assert frame.at[key, "mean"] == pytest.approx(mean)
        assert frame.at[key, "runs"] == 2
