"""Command lines that ``python -m launch`` rejects in one line, before it writes anything."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from launch.cli import main

TypeIn = Callable[..., tuple[int, str, str]]
SWEEP = ("model=small_mlp", "dataset=digits", "name=mine")


@pytest.fixture
def type_in(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., tuple[int, str, str]]:
    """Runs ``python -m launch`` in this process, in an empty folder; returns exit status, stdout and stderr."""

    def enter(*line: str) -> tuple[int, str, str]:
        (tmp_path / "cwd").mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / "cwd")
        monkeypatch.setattr("sys.argv", ["launch", *line])
        capsys.readouterr()
        try:
            main()
            status = 0
        except SystemExit as ended:
            status = int(ended.code or 0)
        return status, *capsys.readouterr()

    return enter


@pytest.mark.parametrize("line", ["--help", "submit --help", "plan -h sweep=demo", "status --help", "help"])
def test_every_form_of_help_prints_the_usage(line: str, type_in: TypeIn) -> None:
    status, out, _ = type_in(*line.split())
    name = line.split()[0] if line.startswith(("submit", "plan", "status")) else "COMMAND"
    assert (status, out.splitlines()[0]) == (0, f"usage: python -m launch {name} [key=value ...]")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("submit dry-run", "dry-run: unknown; did you mean dry_run?"),
        ("submit --dry-rum", "--dry-rum: unknown; did you mean dry_run?"),
        ("plan now", "now: unknown; "),
        ("plan sweep=demo sweep=fig1", "sweep: is given twice"),
        ("status sweep=demo densty=0.1", "densty=0.1: unknown; "),
        ("submit cluster.hours=nan", "cluster.hours=nan: must be a finite number"),
        ("submit cluster.hours=inf", "cluster.hours=inf: must be a finite number"),
        ("submit cluster.mem_gb_per_run=nan", "cluster.mem_gb_per_run=nan: must be a finite number"),
        ("submit cluster=slurm cluster.signal_s=-1", "cluster.signal_s=-1: must be 0 or more"),
        ("submit cluster.cpus_per_run=0", "cluster.cpus_per_run=0: must be above 0"),
        ("submit cluster.accuont=me", "cluster.accuont: unknown; did you mean account?"),
        ("submit +cluster.xyz=1", "cluster.xyz: unknown; choose one of name"),
        ("submit dry_run=7", "dry_run=7: must be true or false"),
        ("submit output_dir=", "output_dir=: is empty"),
        ("submit retry=all", "retry=all: unknown; choose one of failed"),
        ("plan seed=range(1,5,0)", "seed=range(1,5,0): give range(start,stop,step)"),
        ("plan seed=range(0,100000000)", "100,000,000 runs: give yes=true as well"),
        ("plan seed=range(0,1000) recipe.lr=range(1,1000)", "999,000 runs: give yes=true as well"),
        ("plan output_dir=/dev/null", "/dev/null/"),
        (f"plan name={'x' * 300}", "name=xxx"),
        ("plan =1", "=1: write key=value"),
        (
            "sync sweep=demo where=seed==1",
            "where=seed==1: sync takes all runs; plan, status, submit, cancel, logs, archive",
        ),
        ("plan criterion=null", "criterion=null: unknown; "),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing_behind(line: str, told: str, type_in: TypeIn, tmp_path: Path) -> None:
    command, *rest = line.split()
    keys = {argument.partition("=")[0] for argument in rest}
    more = SWEEP if command == "plan" and "sweep" not in keys else ("sweep=demo",) if "sweep" not in keys else ()
    status, out, err = type_in(command, *(one for one in more if one.partition("=")[0] not in keys), *rest)
    assert (status, out, err.count("\n")) == (2, "", 1), err
    assert err.startswith(f"error: {told}")
    assert list((tmp_path / "cwd").iterdir()) == []


def test_an_axis_without_a_name_is_an_error_that_names_its_sweep(type_in: TypeIn, tmp_path: Path) -> None:
    block = {"name": "one", "setups": ["small_mlp/digits"], "axes": {"": [1, 2]}}
    (tmp_path / "mine.yaml").write_text(json.dumps({"blocks": [block]}))
    status, _, err = type_in("plan", f"sweep={tmp_path / 'mine.yaml'}")
    assert (status, err.count("\n")) == (2, 1)
    assert "block one: =1: write key=value" in err


@pytest.mark.parametrize("account", ["a\ntouch x", "correct-horse"])
def test_cluster_settings_with_secrets_or_line_breaks_are_rejected_without_printing_secrets(
    account: str, type_in: TypeIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SITE_PASSWORD", "correct-horse")
    status, _, err = type_in("submit", "sweep=demo", "cluster=slurm", f"cluster.account='{account}'")
    assert (status, err.count("\n")) == (2, 1)
    assert err.startswith("error: cluster.account")
    assert "horse" not in err


@pytest.mark.parametrize("word", ["--dry-run", "dry_run=true"])
def test_a_dry_run_writes_nothing_however_it_is_asked_for(word: str, type_in: TypeIn, tmp_path: Path) -> None:
    status, out, err = type_in("submit", *SWEEP, "seed=1,2", word)
    assert (status, err) == (0, "")
    assert out.startswith("would train 2 of 2 runs here")
    assert list((tmp_path / "cwd").iterdir()) == []
