"""Whatever is in the files of a run directory, every run is a row and every command goes on."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pandas as pd
import pytest
import yaml
from hypothesis import HealthCheck, given, settings

from analysis.collect import Collection, collect
from analysis.report import write_report
from analysis.source import Source
from analysis.table import LAYOUTS, format_table
from launch.plan import Plan
from launch.state import states, summaries
from launch.status import status_text
from launch.timing import measure

Collect = Callable[..., Collection]


FILES = ("summary.json", "config.yaml", "metrics.jsonl", "failure.json")
NUMBERS = st.integers() | st.integers(2**62, 2**70) | st.floats() | st.sampled_from([1e308, -1e308, 1e23, 2**63, -1])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | NUMBERS
    | st.text(max_size=5)
    | st.sampled_from(["\ud800", "NaN", "2020-01-01", "!!x y"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def four_runs(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ``output_dir`` with four finished runs and their plan, which each example damages and restores."""
    folder = tmp_path_factory.mktemp("few") / "outputs"
    names = [path.name for path in sorted((trained / "runs").iterdir())[:4]]
    for name in names:
        shutil.copytree(trained / "runs" / name, folder / "runs" / name)
    header, *lines = (trained / "sweeps/tiny/plan.jsonl").read_text().splitlines()
    mine = [line for line in lines if json.loads(line)["run_id"] in names]
    (folder / "sweeps/tiny").mkdir(parents=True)
    header = json.dumps(json.loads(header) | {"runs": len(mine)})
    (folder / "sweeps/tiny/plan.jsonl").write_text("\n".join([header, *mine]) + "\n")
    return folder


def run_all_commands(output_dir: Path, results: Path) -> Collection:
    """Does what the commands of analysis and launch do with the runs."""
    collection = collect(Source(output_dir=output_dir, results_dir=results))
    for layout in LAYOUTS:
        format_table(collection.runs, layout)
    assert collection.epochs is not None
    plan = Plan.read("tiny", output_dir)
    status_text(plan, states(plan))
    measure(summaries(output_dir))
    return collection


def replace_file(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def changed(data: st.DataObject, name: str, content: bytes) -> bytes:
    """Returns the content of a file, damaged in a random way."""
    kind = data.draw(st.sampled_from(["value", "value", "bytes", "cut", "flip", "tree"]))
    if kind == "bytes":
        return data.draw(st.binary(max_size=40))
    if kind == "tree":
        return json.dumps(data.draw(VALUES)).encode()
    if kind == "cut":
        return content[: data.draw(st.integers(0, len(content)))]
    if kind == "flip":
        place = data.draw(st.integers(0, max(0, len(content) - 1)))
        return content[:place] + data.draw(st.binary(max_size=2)) + content[place + 1 :]
    if name == "config.yaml":
        tree: Any = yaml.safe_load(content)
        group = tree[data.draw(st.sampled_from(sorted(key for key in tree if isinstance(tree[key], dict))))]
        place_in = data.draw(st.sampled_from([tree, group]))
        place_in[data.draw(st.sampled_from(sorted(place_in) or ["name"]) | st.text(max_size=4))] = data.draw(VALUES)
        return json.dumps(tree).encode()  # which is YAML
    record = json.loads(content.splitlines()[0] if name == "metrics.jsonl" else content or b"{}")
    record[data.draw(st.sampled_from(sorted(record) or ["error"]) | st.text(max_size=4))] = data.draw(VALUES)
    line = json.dumps(record).encode()
    return content + line + b"\n" if name == "metrics.jsonl" else line


@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_every_run_is_a_row_and_no_command_crashes_whatever_a_run_directory_contains(
    four_runs: Path, data: st.DataObject
) -> None:
    directories = sorted((four_runs / "runs").iterdir())
    paths = [directory / name for directory in directories for name in FILES]
    contents = {path: path.read_bytes() if path.exists() else None for path in paths}
    try:
        for directory in data.draw(st.lists(st.sampled_from(directories), min_size=1, max_size=2, unique=True)):
            for name in data.draw(st.lists(st.sampled_from(FILES), min_size=1, max_size=2, unique=True)):
                replace_file(directory / name, changed(data, name, contents[directory / name] or b""))
            if data.draw(st.booleans()) and (directory / "failure.json").exists():
                (directory / "summary.json").unlink()
        collection = run_all_commands(four_runs, four_runs.parent / "results")
        assert sorted(collection.runs["run_id"]) == [directory.name for directory in directories]
        assert collection.runs["status"].isin(["finished", "diverged", "failed", "unfinished", "broken"]).all()
        if data.draw(st.integers(0, 9)) == 0:
            write_report(collection)
    finally:
        for path, content in contents.items():
            path.unlink(missing_ok=True) if content is None else replace_file(path, content)


def with_seed(directory: Path, seed: int) -> None:
    config = directory / "config.yaml"
    config.write_text(re.sub(r"^seed: .*$", f"seed: {seed}", config.read_text(), flags=re.MULTILINE))


def summary_with(directory: Path, **values: object) -> None:
    path = directory / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def bomb(directory: Path) -> None:
    levels = [f"b{n}: &b{n} [{', '.join([f'*b{n - 1}'] * 9)}]" for n in range(1, 12)]
    text = (directory / "config.yaml").read_text()
    (directory / "config.yaml").write_text("\n".join(["b0: &b0 [1]", *levels, text]))


def replaced(directory: Path, name: str, make: Callable[[Path], object]) -> None:
    (directory / name).unlink()
    make(directory / name)


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "a seed beyond 64 bits": (lambda run: with_seed(run, 2**70), "config.yaml cannot be read .*more than 64 bits"),
    "a bomb of aliases": (bomb, "config.yaml cannot be read .*values"),
    "versions no mapping": (lambda run: summary_with(run, versions="x"), "summary.json: versions is 'x'"),
    "an impossible accuracy": (lambda run: summary_with(run, test_acc=1e308), "test_acc is 1e.308, not between 0 and"),
    "an integer of 2^63": (lambda run: summary_with(run, epochs=2**63), "needs more than 64 bits"),
    "a deep summary": (lambda run: (run / "summary.json").write_bytes(b"[" * 200_000), "nested too deeply"),
    "a pipe for a summary": (lambda run: replaced(run, "summary.json", os.mkfifo), "summary.json .*not a file"),
    "a pipe for a config": (lambda run: replaced(run, "config.yaml", os.mkfifo), "config.yaml .*not a file"),
    "a link to itself": (lambda run: (shutil.rmtree(run), run.symlink_to(run)), "no directory"),
}


@pytest.mark.parametrize("damage", BROKEN)
def test_a_damaged_run_is_broken_with_a_reason_and_other_runs_are_unaffected(
    damage: str, outputs: Path, collected: Collect
) -> None:
    act, reason = BROKEN[damage]
    broken, *others = sorted((outputs / "runs").iterdir())
    act(broken)
    for _ in range(2):  # read from files, then from the cache
        runs = collected(outputs).runs.set_index("run_id")
        assert runs.at[broken.name, "status"] == "broken"
        assert re.search(reason, runs.at[broken.name, "reason"])
        assert (runs.loc[[run.name for run in others], "status"] == "finished").all()


def test_a_choice_with_values_of_several_types_becomes_text(outputs: Path, collected: Collect) -> None:
    for directory, value in zip(sorted((outputs / "runs").iterdir())[:3], ("1.5", "abc", "true"), strict=True):
        with open(directory / "config.yaml", "a") as file:
            file.write(f"mine: {value}\n")
    assert sorted(collected(outputs).runs["mine"].dropna()) == ["1.5", "True", "abc"]


def test_a_config_cannot_override_run_id_status_path_or_reason(outputs: Path, collected: Collect) -> None:
    directory = sorted((outputs / "runs").iterdir())[0]
    with open(directory / "config.yaml", "a") as file:
        file.write("run_id: other\nstatus: failed\npath: /\nreason: none\ncommand: rm\n")
    row = collected(outputs, sweep="tiny").runs.set_index("run_id").loc[directory.name]
    assert (row["status"], row["path"]) == ("finished", str(directory))
    assert pd.isna(row["reason"])


def test_metrics_with_values_of_several_types_are_read_as_text(outputs: Path, collected: Collect) -> None:
    directories = sorted((outputs / "runs").iterdir())
    extras = ("3", '"abc"', "true", "[[1]]", '{"a": 1}', '"2020-01-01"')
    for directory, extra in zip(directories, extras, strict=False):
        path = directory / "metrics.jsonl"
        path.write_text(path.read_text().replace("}\n", f', "mine": {extra}}}\n'))
    collection = collected(outputs)
    assert collection.runs["reason"].isna().all()
    assert len(collection.epochs) == 3 * 26
    assert set(collection.epochs["mine"].dropna().map(str)) >= {"3", "abc", "true"}
    (directories[0] / "summary.json").touch()  # read again and merged with the cache
    assert len(collected(outputs).epochs) == 3 * 26


@pytest.mark.parametrize(
    "line",
    [
        b'{"epoch": 4, "a": ' + b"[" * 200_000,
        b"\xff\xfe",
        b"[]",
        b'"x"',
        b'{"epoch": {}}',
        b'{"epoch": 4, "a\x80": 1}',
    ],
)
def test_a_damaged_line_of_metrics_is_counted_and_the_others_are_read(
    line: bytes, outputs: Path, collected: Collect
) -> None:
    directory = sorted((outputs / "runs").iterdir())[0]
    with open(directory / "metrics.jsonl", "ab") as file:
        file.write(line + b"\n")
    collection = collected(outputs)
    row = collection.runs.set_index("run_id").loc[directory.name]
    assert (row["status"], row["reason"]) == ("finished", "metrics.jsonl: 1 of 4 lines cannot be read")
    assert len(collection.epochs) == 3 * 26


@pytest.mark.parametrize("name", [".collected.json", "runs.parquet", "epochs.parquet"])
@pytest.mark.parametrize("content", [b"null", b"[" * 200_000, None])
def test_damaged_results_are_rebuilt(name: str, content: bytes | None, four_runs: Path, tmp_path: Path) -> None:
    first = run_all_commands(four_runs, tmp_path)
    path = tmp_path / name
    if content is None:  # one byte differs
        path.write_bytes(path.read_bytes()[:-100] + b"\0" + path.read_bytes()[-99:])
    else:
        path.write_bytes(content)
    again = run_all_commands(four_runs, tmp_path)
    pd.testing.assert_frame_equal(again.runs, first.runs)
    pd.testing.assert_frame_equal(again.epochs, first.epochs)


def test_a_damaged_plan_is_reported_in_one_line(outputs: Path, type_in: Callable[..., Any]) -> None:
    path = outputs / "sweeps" / "tiny" / "plan.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    status, _, told = type_in("table", f"output_dir={outputs}", "sweep=tiny")
    assert (status, told.count("\n")) == (2, 1)
    assert "25 of 26 runs are there" in told
    assert told.strip().endswith("replace=true")
