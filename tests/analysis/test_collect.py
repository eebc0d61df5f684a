from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis import collect as collect_module
from analysis import load_runs
from analysis.collect import Collection
from dst.config import compose, run_id
from dst.errors import UserError
from dst.files.lock import locked
from dst.run.where import row_mask

Collect = Callable[..., Collection]


def run_directories(outputs: Path) -> list[Path]:
    return sorted((outputs / "runs").iterdir())


def row_of(collection: Collection, directory: Path) -> pd.Series:
    return collection.runs.set_index("run_id").loc[directory.name]


def test_each_run_is_a_row_with_its_choices_and_the_values_of_its_summary(trained: Path, collected: Collect) -> None:
    runs = collected(trained).runs.set_index("run_id")
    assert len(runs) == len(run_directories(trained)) == 26
    for directory in run_directories(trained):
        summary = json.loads((directory / "summary.json").read_text())
        row = runs.loc[directory.name]
        flat = {
            key: json.dumps(value) if isinstance(value, list) else value
            for key, value in summary.items()
            if key not in ("run_id", "versions", "code") and value is not None
        }
        assert {key: row[key] for key in flat} == pytest.approx(flat)
        assert row["version_torch"] == summary["versions"]["torch"]
        assert (row["recipe_lr"], row["recipe_epochs"], row["setup"]) == (0.01, 3, "small_mlp/digits")


def test_choices_without_effect_are_empty(trained: Path, collected: Collect) -> None:
    runs = collected(trained).runs
    unused = runs[runs["method"] != "dst"]
    assert len(unused) == 6
    assert unused[["criterion", "growth", "update_period", "prune_fraction"]].isna().all(axis=None)


def test_each_line_of_a_metrics_file_is_a_row_of_epochs(trained: Path, collected: Collect) -> None:
    epochs = collected(trained).epochs.set_index(["run_id", "epoch"])
    lines = [
        (directory.name, json.loads(line))
        for directory in run_directories(trained)
        for line in (directory / "metrics.jsonl").read_text().splitlines()
    ]
    assert len(epochs) == len(lines)
    for name, record in lines:
        row = epochs.loc[(name, record.pop("epoch"))]
        assert {key: row[key] for key, value in record.items() if value is not None} == pytest.approx(
            {key: value for key, value in record.items() if value is not None}
        )


def test_parquet_and_csv_hold_the_same_runs(trained: Path, collected: Collect) -> None:
    folder = collected(trained).results.folder
    parquet, csv = pd.read_parquet(folder / "runs.parquet"), pd.read_csv(folder / "runs.csv")
    assert list(parquet.columns) == list(csv.columns)
    assert parquet["run_id"].tolist() == csv["run_id"].astype(str).tolist()
    assert parquet["test_acc"].tolist() == pytest.approx(csv["test_acc"].tolist())


def test_unchanged_runs_are_not_read_again(trained: Path, collected: Collect, monkeypatch: pytest.MonkeyPatch) -> None:
    first = collected(trained)
    monkeypatch.setattr(collect_module, "read_run", lambda *_: pytest.fail("read again"))
    again = collected(trained)
    pd.testing.assert_frame_equal(first.runs, again.runs)
    pd.testing.assert_frame_equal(first.epochs, again.epochs)


def test_a_changed_run_is_read_again_and_a_deleted_run_is_dropped(outputs: Path, collected: Collect) -> None:
    before = collected(outputs)
    epochs_before = len(before.epochs)
    changed, gone, *_ = run_directories(outputs)
    summary = json.loads((changed / "summary.json").read_text()) | {"test_acc": 0.125}
    (changed / "summary.json").write_text(json.dumps(summary))
    shutil.rmtree(gone)
    after = collected(outputs)
    assert row_of(after, changed)["test_acc"] == 0.125
    assert gone.name not in set(after.runs["run_id"])
    assert gone.name not in set(after.epochs["run_id"])
    assert len(after.runs) == len(before.runs) - 1
    assert len(after.epochs) == epochs_before - 3


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def summary_with(**values: object) -> Callable[[Path], None]:
    def damage(directory: Path) -> None:
        path = directory / "summary.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return damage


DAMAGE: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "summary cut short": (lambda run: cut(run / "summary.json"), "broken", "summary.json cannot be read"),
    "summary empty": (lambda run: (run / "summary.json").write_text(""), "broken", "summary.json cannot be read"),
    "summary a list": (lambda run: (run / "summary.json").write_text("[]"), "broken", "no JSON object"),
    "summary not text": (lambda run: (run / "summary.json").write_bytes(b"\xff\xfe\x00"), "broken", "summary.json"),
    "summary of another run": (summary_with(run_id="0" * 12), "broken", "is that of run 000000000000"),
    "summary of unknown status": (summary_with(status="happy"), "broken", "'happy'"),
    "summary without accuracy": (summary_with(test_acc=None), "broken", "without test_acc"),
    "config no YAML": (lambda run: (run / "config.yaml").write_text("a: [1\nb: }"), "broken", "config.yaml"),
    "config empty": (lambda run: (run / "config.yaml").write_text(""), "broken", "config.yaml"),
    "config gone": (lambda run: (run / "config.yaml").unlink(), "broken", "config.yaml"),
    "config of scalars": (
        lambda run: (run / "config.yaml").write_text("model: 3\ndensity: x\n"),
        "broken",
        "config.yaml",
    ),
    "config a folder": (
        lambda run: ((run / "config.yaml").unlink(), (run / "config.yaml").mkdir()),
        "broken",
        "config.yaml",
    ),
    "metrics gone": (lambda run: (run / "metrics.jsonl").unlink(), "finished", "metrics.jsonl is missing"),
    "metrics garbled": (
        lambda run: (run / "metrics.jsonl").write_text("{}}\n" + (run / "metrics.jsonl").read_text()),
        "finished",
        "1 of 4 lines cannot be read",
    ),
    "metrics a folder": (
        lambda run: ((run / "metrics.jsonl").unlink(), (run / "metrics.jsonl").mkdir()),
        "finished",
        "metrics.jsonl cannot be read",
    ),
    "training failed": (
        lambda run: ((run / "summary.json").unlink(), (run / "failure.json").write_text('{"error": "no memory"}')),
        "failed",
        "no memory",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_broken_run_directory_is_logged_by_name_and_other_runs_are_unaffected(
    damage: str, outputs: Path, collected: Collect
) -> None:
    act, status, reason = DAMAGE[damage]
    whole = collected(outputs)
    directory = run_directories(outputs)[0]
    act(directory)
    collection = collected(outputs)
    row = row_of(collection, directory)
    assert row["status"] == status
    assert reason in row["reason"]
    log = (collection.results.folder / "collect.log").read_text().splitlines()
    assert len(log) == 1
    assert log[0].startswith(f"{directory}: {status}: ")
    assert (collected(outputs).results.folder / "collect.log").read_text().splitlines() == log
    others = collection.runs["run_id"] != directory.name
    columns = ["run_id", "status", "criterion", "density", "test_acc"]
    expected = whole.runs[whole.runs["run_id"] != directory.name]
    pd.testing.assert_frame_equal(
        collection.runs.loc[others, columns].reset_index(drop=True), expected[columns].reset_index(drop=True)
    )


def test_other_folders_are_rows_and_other_files_are_ignored(outputs: Path, collected: Collect) -> None:
    (outputs / "runs" / "notes").mkdir()
    (outputs / "runs" / "notes" / "todo.txt").write_text("buy milk")
    (outputs / "runs" / "readme.md").write_text("mine")
    collection = collected(outputs)
    assert row_of(collection, Path("notes"))["reason"] == "no config.yaml and no summary.json: no run directory"
    assert len(collection.runs) == 27


def test_a_truncated_last_line_is_ignored(outputs: Path, collected: Collect) -> None:
    directory = run_directories(outputs)[0]
    (directory / "summary.json").unlink()
    cut(directory / "metrics.jsonl")
    collection = collected(outputs)
    assert row_of(collection, directory)["status"] == "unfinished"
    assert (collection.epochs["run_id"] == directory.name).sum() == 2
    assert (collection.results.folder / "collect.log").read_text() == ""


def test_missing_runs_are_listed_with_the_commands_that_train_them(outputs: Path, collected: Collect) -> None:
    never, unfinished, *_ = run_directories(outputs)
    shutil.rmtree(never)
    (unfinished / "summary.json").unlink()
    collection = collected(outputs, sweep="tiny")
    missing = collection.missing.set_index("run_id")
    assert missing["status"].to_dict() == {never.name: "not started", unfinished.name: "unfinished"}
    assert collection.planned == 26
    for name, command in missing["command"].items():
        program, _, overrides = command.partition("dst.train ")
        assert (program, run_id(compose(overrides.split()))) == ("python -m ", name)


def test_a_sweep_has_only_its_planned_runs(outputs: Path, collected: Collect) -> None:
    lines = (outputs / "sweeps/tiny/plan.jsonl").read_text().splitlines()
    (outputs / "sweeps/half").mkdir()
    header = json.dumps(json.loads(lines[0]) | {"runs": 10})
    (outputs / "sweeps/half/plan.jsonl").write_text("\n".join([header, *lines[1:11]]) + "\n")
    collection = collected(outputs, sweep="half")
    assert sorted(collection.runs["run_id"]) == sorted(json.loads(line)["run_id"] for line in lines[1:11])
    assert collection.results.folder.name == "half"


def test_modified_results_are_rebuilt(trained: Path, collected: Collect) -> None:
    first = collected(trained)
    for name in ("runs.parquet", ".collected.json"):
        (first.results.folder / name).write_bytes(b"garbage")
        pd.testing.assert_frame_equal(collected(trained).runs, first.runs)


def test_load_runs_returns_the_runs_and_writes_nothing(trained: Path, tmp_path: Path, collected: Collect) -> None:
    expected = collected(trained).runs
    frame = load_runs(trained, results_dir=tmp_path / "elsewhere")
    pd.testing.assert_frame_equal(frame, expected)
    assert len(load_runs(trained, sweep="tiny", results_dir=tmp_path / "elsewhere")) == 26
    assert not (tmp_path / "elsewhere").exists()


def test_where_keeps_the_runs_for_which_the_expression_is_true(trained: Path, collected: Collect) -> None:
    kept = collected(trained, where="density == 0.1 and criterion == 'snip' and update_period == 5").runs
    assert len(kept) == 2
    assert set(kept["seed"]) == {1, 2}
    assert len(collected(trained).runs) == 26


@pytest.mark.parametrize(
    ("expression", "kept"),
    [
        ("density.value <= 0.1 and recipe.lr > 0", 14),
        ("criterion in ['snip', \"set\"] and not growth.name == 'gradient'", 6),
        ("update_period.steps != 10 and recipe_lr > 0", 10),
        ("0.1 < density < 1 or seed == 2 and criterion == null", 12),
        ("criterion in [null, 'snip'] and density in (0.2, 1.0)", 8),
        ("model.hidden == [256, 256] and recipe.nesterov == true and 0.1 == density", 14),
        ("seed not in (2, 3) and cuda_graph is not None and recipe.weight_decay > -1.0", 13),
    ],
)
def test_where_accepts_config_keys(expression: str, kept: int, trained: Path, collected: Collect) -> None:
    assert len(collected(trained, where=expression).runs) == kept


@pytest.mark.parametrize("cycles", [[5, "auto", None], ["5", "auto", None]])
def test_where_finds_numbers_beside_words(cycles: list[Any]) -> None:
    frame = pd.DataFrame({"procedure_cycles": pd.Series(cycles, dtype=object)})
    for expression, expected in (("== 5", [1, 0, 0]), ("== 'auto'", [0, 1, 0]), ("in [4, 5]", [1, 0, 0])):
        assert row_mask(frame, f"procedure.cycles {expression}").tolist() == list(map(bool, expected))
    assert row_mask(frame, "procedure.cycles != 5").tolist() == [False, True, True]


@pytest.mark.parametrize(
    "expression",
    [
        "@os.system('touch {file}')",
        "@pd.io.common.os.system('touch {file}')",
        "__import__('os').system('touch {file}') == 0",
        "run_id.to_csv('{file}')",
        "run_id.to_csv('{file}') == 1",
        "[run_id.to_pickle('{file}') for x in 'a'] == seed",
        "(lambda: open('{file}', 'w'))() == seed",
    ],
)
def test_where_calls_nothing(expression: str, trained: Path, tmp_path: Path, collected: Collect) -> None:
    with pytest.raises(UserError, match="where="):
        collected(trained, where=expression.format(file=tmp_path / "made"))
    assert not (tmp_path / "made").exists()


def test_an_unknown_name_in_where_lists_the_valid_names_nearest_first(trained: Path, collected: Collect) -> None:
    with pytest.raises(UserError, match=r"there is no lr; the nearest first, there are recipe\.lr, .*density"):
        collected(trained, where="lr == 0.1")


def test_a_where_that_keeps_no_run_lists_the_existing_values(trained: Path, collected: Collect) -> None:
    with pytest.raises(UserError, match=r"keeps none of 26 runs; there are density: 0\.1, 0\.2, 1\.0; seed: 1, 2$"):
        collected(trained, where="density == 0.3 and seed == 1")


@pytest.mark.parametrize(
    "expression",
    ["density >", "no_such_column == 1", "density + 1", "density", "True", "1 == 1", "seed < 'a'", "criterion < 1",
     "seed\n== -'a'", "(" * 400 + "1" + ")" * 400, "density in seed", "density == [seed]", "seed & density"],
)  # fmt: skip
def test_a_mistake_in_where_is_reported_in_one_line(expression: str, trained: Path, collected: Collect) -> None:
    with pytest.raises(UserError, match="where=") as caught:
        collected(trained, where=expression)
    assert "\n" not in str(caught.value)


def test_a_run_whose_lock_is_held_is_running(outputs: Path, collected: Collect) -> None:
    directory = run_directories(outputs)[0]
    (directory / "summary.json").unlink()
    assert row_of(collected(outputs), directory)["status"] == "unfinished"
    with locked(directory):
        assert row_of(collected(outputs), directory)["status"] == "running"


def test_without_runs_one_line_names_the_searched_folder(tmp_path: Path, collected: Collect) -> None:
    with pytest.raises(UserError, match=f"no runs in {tmp_path}"):
        collected(tmp_path / "nowhere")


def test_an_unwritable_results_folder_is_reported_in_one_line(
    trained: Path, tmp_path: Path, collected: Collect
) -> None:
    (tmp_path / "results").write_text("a file where the folder should be")
    with pytest.raises(UserError, match="results_dir=.* cannot be written to"):
        collected(trained)
