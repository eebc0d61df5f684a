"""Which code made a result: the commit, and hashes of the source files. No part of a run's identity."""

from __future__ import annotations

import hashlib
import inspect
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from dst import __version__
from dst.config.components import resolve
from dst.config.identity import deciding
from dst.config.tree import CONF_DIR

COMMIT_FILE = CONF_DIR.parent / "COMMIT"
"""Says the commit in a copy of the code that is no checkout, such as the one that SLURM jobs run."""

_PACKAGE = Path(__file__).parents[1]
_COMPONENTS = ("model", "criterion", "growth", "prune_fraction", "procedure", "lr_schedule")


def code_version() -> str:
    """Returns the version and, where it is known, the :func:`commit`."""
    return " ".join(filter(None, (__version__, commit())))


@cache
def commit() -> str | None:
    """Returns the commit of this checkout, with a plus sign if files were changed since; None outside a checkout."""
    if COMMIT_FILE.exists():
        return COMMIT_FILE.read_text().strip() or None
    if CONF_DIR.is_relative_to(_PACKAGE):  # installed; a checkout around it is another project's
        return None
    command = ["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"]
    try:
        answer = subprocess.run(command, cwd=CONF_DIR, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()


def code_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the code that a run of a checked config as plain containers is trained by.

    ``commit``; ``hash``, the SHA-256 of this package's sources; ``components``, a SHA-256 for each component that has
    an effect on the run, over its ``_target_`` and the sources of its class and the base classes, whose ``modules`` are
    listed (None where a source is not to be found). Sources are those found when first asked for, which should be soon
    after they were imported.
    """
    deciding_groups = deciding(config)  # without the procedure and the schedule where they are the default ones
    groups = [group for group in _COMPONENTS if group in deciding_groups]
    modules = {group: _modules(resolve(group, config[group])) for group in groups}
    components = {group: _hash(config[group]["_target_"], tuple(modules[group])) for group in groups}
    return {"commit": commit(), "hash": _package_hash(), "components": components, "modules": modules}


def changed_components(code: Any, config: Mapping[str, Any]) -> list[str]:
    """Returns the groups whose component has other sources now than :func:`code_of` found; imports none of them.

    Args:
        code: of a summary; none are returned where it does not say.
        config: of the run.
    """
    if not isinstance(code, Mapping):
        return []
    modules = code.get("modules", {})
    now = {
        group: _hash(config[group]["_target_"], tuple(modules.get(group, ()))) for group in code.get("components", {})
    }
    return [group for group, found in now.items() if found not in (None, code["components"][group])]


def source_file(module: str) -> Path | None:
    """Returns the file of a module's source, without importing it or its packages; None if there is none."""
    folders, origin = None, None
    for end in [*(match.start() for match in re.finditer(r"\.", module)), len(module)]:
        spec = PathFinder.find_spec(module[:end], folders)
        if spec is None:
            return None
        folders, origin = spec.submodule_search_locations, spec.origin
    return Path(origin) if origin and origin.endswith(".py") else None


def user_source(name: str) -> Path | None:
    """Returns the file or, for a package, the folder of a top-level module that is not installed; None for others."""
    if name in sys.stdlib_module_names:
        return None
    spec = PathFinder.find_spec(name)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    path = Path(folders[0]) if folders else source_file(name)
    return None if path is None or {"site-packages", "dist-packages"} & {*path.parts} else path


def _modules(target: Callable[..., Any]) -> list[str]:
    """Returns where a class and its bases, or a function, are written; without the standard library's and torch."""
    written = [owner.__module__ for owner in inspect.getmro(target)] if inspect.isclass(target) else [target.__module__]
    not_ours = {*sys.stdlib_module_names, "torch"}
    return [module for module in dict.fromkeys(written) if module.partition(".")[0] not in not_ours]


@cache
def _hash(target: str, modules: tuple[str, ...]) -> str | None:
    digest = hashlib.sha256(target.encode())
    for module in modules:
        path = source_file(module)
        if path is None:  # typed in a notebook, or in a folder that is not on the path here
            return None
        digest.update(f"\0{module}\0".encode() + path.read_bytes())
    return digest.hexdigest()


@cache
def _package_hash() -> str:
    digest = hashlib.sha256()
    others = {
        _PACKAGE / name for name in ("launch", "analysis")
    }  # beside this package in a checkout, in it if installed
    for path in sorted(path for path in _PACKAGE.rglob("*.py") if others.isdisjoint(path.parents)):
        digest.update(f"{path.relative_to(_PACKAGE).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()
