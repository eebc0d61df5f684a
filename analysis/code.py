"""Source code versions of the runs (``code`` in a summary), and notes where several versions are mixed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

_PREFIX = "code_"


def code_columns(code: Any) -> dict[str, str]:
    """Returns ``summary["code"]`` as columns: ``code_commit code_hash`` and ``code_<group>`` for each component.

    Empty for runs of earlier versions. Values that are not text are ignored.
    """
    if not isinstance(code, Mapping):
        return {}
    components = code.get("components")
    found = {**(components if isinstance(components, Mapping) else {}), **code}
    return {f"{_PREFIX}{key}": value for key, value in found.items() if isinstance(value, str)}


def component_version_notes(runs: pd.DataFrame) -> Iterator[str]:
    """Yields a note for each component (criterion, model, …) whose source differs among the runs."""
    runs = runs.drop_duplicates("run_id")
    for name in runs.columns:
        group = name.removeprefix(_PREFIX)
        if group != name and group in runs:
            for option, here in runs.groupby(group):
                yield from _mixed_versions(here[name], f"the {group} {option}'s source")


def package_version_notes(runs: pd.DataFrame) -> Iterator[str]:
    """Yields a note if the package's source differs among the runs."""
    if f"{_PREFIX}hash" in runs:
        yield from _mixed_versions(runs.drop_duplicates("run_id")[f"{_PREFIX}hash"], "the package's source")


def _mixed_versions(versions: pd.Series, what: str) -> Iterator[str]:
    counts = versions.value_counts().tolist()
    if len(counts) > 1:
        listed = f"{', '.join(map(str, counts[:-1]))} and {counts[-1]}"
        yield f"{len(counts)} versions of {what} among these runs ({listed} runs)"
