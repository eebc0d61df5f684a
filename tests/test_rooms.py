"""The rooms of the framework depend on each other in one direction, and no module imports itself through another."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

MAY_IMPORT = {
    "errors": (),
    "seeds": (),
    "ranks": ("errors",),
    "files": ("errors",),
    "undisturbed": ("seeds",),
    "commands": (),
    "tasks": ("errors", "config"),
    "hub": ("errors",),
    "config": ("errors",),
    "sparsity": ("errors", "seeds", "config"),  # config only where a criterion, growth or schedule is named, see below
    "models": ("errors", "seeds", "config", "tasks", "hub"),
    "data": (
        "errors",
        "seeds",
        "ranks",
        "hub",
        "config",
        "files",
        "terminal",
    ),  # terminal: python -m dst.data is a command
    "probes": ("errors", "seeds", "sparsity", "undisturbed"),
    "training": ("errors", "seeds", "ranks", "config", "tasks", "sparsity", "models", "data", "probes", "undisturbed"),
    "procedures": ("errors", "config", "sparsity", "training"),
    "run": ("errors", "commands", "config", "files"),
    "terminal": ("errors", "commands", "config", "procedures", "run", "training"),
    "summary": ("ranks", "config", "sparsity", "training"),
    "attempt": ("errors", "ranks", "config", "sparsity", "training", "procedures", "run", "summary"),
    "train": ("errors", "ranks", "config", "files", "training", "run", "terminal", "attempt"),
}
"""For each room of ``dst``, and each module that is in none, the ones it may import."""


def modules(package: str) -> dict[str, Path]:
    """Returns the file of each module of a package by the module's name."""
    files = sorted((ROOT / package).rglob("*.py"))
    names = [path.relative_to(ROOT).with_suffix("").parts for path in files]
    return {
        ".".join(parts[:-1] if parts[-1] == "__init__" else parts): path
        for parts, path in zip(names, files, strict=True)
    }


MODULES = {**modules("dst"), **modules("launch"), **modules("analysis")}


def imported(path: Path) -> Iterator[str]:
    """Yields the modules of ours that a file imports, at its top or later; not those for type checkers alone."""
    tree = ast.parse(path.read_text())
    for_types = [
        node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    skipped = {id(inner) for block in for_types for inner in ast.walk(block)}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and (module := _absolute(node, path)) in MODULES:
            submodules = [f"{module}.{alias.name}" for alias in node.names]
            found = [name for name in submodules if name in MODULES]
            yield from found
            if len(found) < len(submodules):
                yield module


def _absolute(node: ast.ImportFrom, path: Path) -> str:
    package = path.relative_to(ROOT).parts[: -node.level] if node.level else ()
    return ".".join([*package, *filter(None, [node.module])])


def test_launch_and_analysis_can_be_installed_below_another_package() -> None:
    wrong = [
        f"{name}: {ast.unparse(node)}"
        for name, path in MODULES.items()
        if not name.startswith("dst")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        if ast.unparse(node).split()[1].partition(".")[0] in ("launch", "analysis")
    ]
    assert not wrong, "the wheel holds dst.launch and dst.analysis: import their modules relatively"


def test_no_module_imports_itself_through_others() -> None:
    graph = {name: set(imported(path)) - {name} for name, path in MODULES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"import circle: {' → '.join(error.args[1])}")


def test_rooms_import_only_what_they_may() -> None:
    wrong = []
    for name, path in MODULES.items():
        top, _, rest = name.partition(".")
        if top != "dst" or not rest:
            continue
        room = rest.partition(".")[0]
        for target in imported(path):
            other = target.partition(".")[2].partition(".")[0]
            if target.startswith(("launch", "analysis")) or (other not in ("", room) and other not in MAY_IMPORT[room]):
                wrong.append(f"{name} imports {target}")
    assert not wrong


def test_analysis_and_launch_do_not_import_each_other() -> None:
    wrong = [
        f"{name} imports {target}"
        for name, path in MODULES.items()
        for target in imported(path)
        if {name.partition(".")[0], target.partition(".")[0]} == {"launch", "analysis"}
    ]
    assert not wrong


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("dst.config", ["torch", "dst.data", "dst.models", "dst.sparsity"]),
        ("dst.sparsity", ["hydra", "omegaconf", "yaml"]),
        ("dst.run.plan", ["torch", "wandb"]),
    ],
)
def test_a_room_loads_no_heavier_one(module: str, heavy: list[str]) -> None:
    line = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", line], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout == "[]\n"
