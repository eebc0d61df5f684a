from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.cli import COMMANDS
from analysis.figures import FIGURES

ROOT = Path(__file__).parents[2]
TypeIn = Callable[..., tuple[int, str, str]]


@pytest.fixture
def where(trained: Path, tmp_path: Path) -> tuple[str, ...]:
    return (f"output_dir={trained}", f"results_dir={tmp_path / 'results'}")


@pytest.mark.parametrize("arguments", [(), ("help",), ("--help",), ("-h",)])
def test_help_names_every_command(arguments: tuple[str, ...], type_in: TypeIn) -> None:
    status, out, _ = type_in(*arguments)
    assert status == 0
    assert all(f"\n  {command} " in out for command in COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("tabel",), "tabel: unknown; did you mean table?"),
        (("table", "layuot=text"), "layuot: unknown; did you mean layout?"),
        (("table", "layout=html"), "layout=html: unknown; choose one of text, markdown, latex, csv"),
        (("table", "metric=f1"), "metric=f1: unknown; choose one of test_acc"),
        (("table", "layout="), "layout: give a value"),
        (("collect", "everything"), "everything: unknown; choose one of sweep"),
        (("collect", "fig=1"), "fig: unknown"),
        (("collect", "source=disk"), "source=disk: choose one of runs, wandb"),
        (("collect", "sweep=../x"), "sweep=../x: give the name"),
        (("collect", "sweep=fig9"), "sweep=fig9: not planned in"),
        (("figures", "fig=6"), "fig=6: unknown; "),
        (("figures", "fig=1,99"), "fig=99: unknown; "),
        (("dashboard", "dry_run=maybe"), "dry_run=maybe: unknown; choose one of false, true"),
        (("table",), "no runs in outputs/runs"),
    ],
)
def test_a_mistake_is_reported_in_one_line_with_the_valid_values(
    arguments: tuple[str, ...], told: str, type_in: TypeIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = type_in(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith(f"error: {told}")
    assert err.count("\n") == 1


def test_overview_writes_tables_figure_and_report(where: tuple[str, ...], type_in: TypeIn, tmp_path: Path) -> None:
    status, out, _ = type_in("overview", "sweep=tiny", *where)
    folder = tmp_path / "results" / "tiny"
    assert status == 0
    assert "complete: all 26 planned runs have results" in out
    assert "small_mlp on digits, random growth: test accuracy; dense" in out
    assert out.splitlines()[-1] == f"report  {folder / 'report.html'}"
    made = ("runs.parquet", "runs.csv", "epochs.parquet", "table.tex", "report.html", "figures/figure_22.png")
    assert all((folder / name).stat().st_size > 500 for name in made)


def test_collect_prints_the_missing_runs_and_the_command_that_trains_them(
    outputs: Path, tmp_path: Path, type_in: TypeIn
) -> None:
    for directory in sorted((outputs / "runs").iterdir())[:3]:
        (directory / "summary.json").unlink()
    _, out, _ = type_in("collect", "sweep=tiny", f"output_dir={outputs}", f"results_dir={tmp_path / 'results'}")
    assert "missing 3 of 26 planned runs: 3 unfinished" in out
    assert f"python -m launch submit sweep=tiny output_dir={outputs}" in out


@pytest.mark.parametrize("layout", ["text", "markdown", "latex", "csv"])
def test_table_prints_one_layout_and_writes_all(
    layout: str, where: tuple[str, ...], type_in: TypeIn, tmp_path: Path
) -> None:
    _, out, _ = type_in("table", f"layout={layout}", *where)
    written = {path.suffix: path.read_text() for path in (tmp_path / "results").glob("table.*")}
    assert set(written) == {".txt", ".md", ".tex", ".csv"}
    assert out.strip() in {text.strip() for text in written.values()}


def test_the_metric_can_be_chosen(where: tuple[str, ...], type_in: TypeIn) -> None:
    assert "validation accuracy" in type_in("table", "metric=val_acc", *where)[1]


def test_run_directories_can_be_in_any_folder(trained: Path, tmp_path: Path, type_in: TypeIn) -> None:
    status, out, _ = type_in("collect", f"dir={trained / 'runs'}", f"results_dir={tmp_path}")
    assert status == 0
    assert f"26 runs in folder {trained / 'runs'}" in out


@pytest.mark.parametrize(
    ("library", "command", "extra"),
    [
        ("pyarrow", "collect", "analysis"),
        ("plotly", "report", "analysis"),
        ("matplotlib", "figures", "analysis"),
        ("wandb_workspaces", "dashboard", "dashboard"),
    ],
)
def test_a_missing_library_is_reported_in_one_line_with_the_install_command(
    library: str, command: str, extra: str, where: tuple[str, ...]
) -> None:
    start = f"import sys; sys.modules[{library!r}] = None; sys.argv[1:] = {[command, *where]!r}"
    ended = subprocess.run(
        [sys.executable, "-c", f"{start}; from analysis.cli import main; main()"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stderr == f"error: {library} is not installed; pip install 'fantastic-weights[{extra}]'\n"


def test_the_package_runs_as_a_program(where: tuple[str, ...]) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "analysis", "collect", *where],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("26 runs in folder ")


def test_figures_are_listed_by_name(type_in: TypeIn) -> None:
    _, out, _ = type_in("figures", "fig=help")
    assert "fig=3    critical-distance diagrams of the criteria" in out
    assert len(out.splitlines()) == len(FIGURES)


def test_missing_csv_is_written_even_if_no_run_is_missing(
    where: tuple[str, ...], type_in: TypeIn, tmp_path: Path
) -> None:
    type_in("collect", "sweep=tiny", *where)
    header, *rest = (tmp_path / "results/tiny/missing.csv").read_text().splitlines()
    assert rest == []
    assert header.startswith("run_id,status,setup")
    assert json.loads((tmp_path / "results/tiny/.collected.json").read_text())["origin"]["source"] == "runs"
