"""Searches as described: in a file, by one that has begun, on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dst.commands import LAUNCH
from dst.config.mistakes import explain
from dst.config.tree import CONF_DIR, options
from dst.errors import UserError, unknown
from dst.run.layout import SEARCH, sweep_dir

from .description import Search
from .space import parse


def is_begun(name: str, output_dir: Path) -> bool:
    """Whether there is a search of that name.

    Args:
        name: of the search.
        output_dir: where searches and runs are stored.
    """
    return (sweep_dir(output_dir, name) / SEARCH).exists()


def read(name: str, output_dir: Path) -> Search:
    """Returns a search that has begun.

    Args:
        name: of the search.
        output_dir: where searches and runs are stored.

    Raises:
        UserError: if there is none, or its file is damaged.
    """
    if not is_begun(name, output_dir):
        begun = [path.parent.name for path in sorted(sweep_dir(output_dir, "").glob(f"*/{SEARCH}"))]
        raise UserError(f"search={name}: {unknown(name, begun)}; begin it with: {LAUNCH} search search={name}")
    return _load(sweep_dir(output_dir, name) / SEARCH)


def named(file: str | None, name: str, output_dir: Path) -> Search:
    """Returns the search of a file, else the one of that name that has begun, else an empty one.

    Args:
        file: name of a file in ``conf/search``, or path of a YAML file; None for none.
        name: of the search.
        output_dir: where searches and runs are stored.

    Raises:
        UserError: for a file that there is not, or is not valid.
    """
    is_path = file is not None and file.endswith((".yaml", ".yml"))
    path = Path(file or "") if is_path else CONF_DIR / "search" / f"{file}.yaml"
    if path.is_file():
        return _load(path)
    if is_begun(name, output_dir):
        return read(name, output_dir)
    if file:
        raise UserError(f"search={file}: {unknown(file, options('search'))}, or the path of a YAML file")
    return Search()


def changed_by(search: Search, settings: Sequence[str], overrides: Sequence[str]) -> Search:
    """Returns a search with what a command line says of it; not checked yet.

    Args:
        search: see :func:`named`.
        settings: ``key=value`` of the search itself, such as ``trials=50``.
        overrides: of the runs; those in Hydra's sweep syntax are searched, the others take precedence.

    Raises:
        UserError: for a mistake in any of them.
    """
    try:
        given: Any = OmegaConf.to_container(OmegaConf.from_dotlist(list(settings)))
        if isinstance(given.get("each"), dict):
            given["each"] = _with_dots(given["each"])
        search = _typed(OmegaConf.merge(OmegaConf.structured(search), given))
    except OmegaConfBaseException as error:
        raise UserError(f"search: {explain(error)}") from error
    for override in overrides:
        key, _, value = override.partition("=")
        search.space.pop(key, None)
        search.each.pop(key, None)
        search.overrides = [line for line in search.overrides if line.partition("=")[0] != key]
        if parse(key, value).is_sweep_override():
            search.space[key] = value
        else:
            search.overrides.append(override)
    search.cwd = search.cwd or str(Path.cwd())
    return search


def _load(path: Path) -> Search:
    try:
        return _typed(OmegaConf.merge(OmegaConf.structured(Search), OmegaConf.load(path)))
    except OmegaConfBaseException as error:
        raise UserError(f"{path}: {explain(error)}") from error
    except Exception as error:  # the YAML parser's exceptions have no common base class
        raise UserError(f"{path}: {' '.join(str(error).split())}") from error


def _typed(config: Any) -> Search:
    search = OmegaConf.to_object(config)
    assert isinstance(search, Search)
    return search


def _with_dots(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Flattens a tree of settings into ``recipe.lr`` and the like."""
    if not isinstance(tree, dict):
        return {prefix: tree}
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= _with_dots(value, f"{prefix}.{key}" if prefix else key)
    return found
