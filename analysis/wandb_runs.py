"""Reads the runs of a Weights & Biases project into the same data frames as run directories."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pandas as pd
import pyarrow as pa
from tqdm import tqdm

from dst.errors import UserError
from dst.files.records import check_values
from dst.run.choices import check_groups, flatten
from dst.run.outcome import summary_fault

from .frames import RESULT_COLUMNS, runs_frame
from .metrics_files import SCHEMA
from .run_files import summary_columns

_PAGE = 200
_THREADS = 8
_RETRY_WAITS_S = (1, 2, 4, 8, 16)
"""Seconds between the attempts of a request."""

_STATUS = {"running": "running", "failed": "failed", "crashed": "failed", "killed": "failed"}
"""The status of a run without one in its summary, by W&B state; ``unfinished`` for any other state."""

_LAST_EPOCH = {*SCHEMA.names} - {*RESULT_COLUMNS, "run_id", "density"}
"""Keys that W&B adds to a summary: the last logged values of the learning curves."""

_T = TypeVar("_T")


def read_project(
    entity: str | None, project: str, wanted: Collection[str] | None = None, api: Any = None
) -> tuple[pd.DataFrame, pa.Table]:
    """Returns the runs (one row each) and epochs of a W&B project, in the format of run directories.

    Args:
        entity: owner of the project; None: the default entity of the W&B login.
        project: name of the project.
        wanted: ids of the runs to read; None: all.
        api: a ``wandb.Api``; None creates one.

    Raises:
        UserError: if W&B cannot be reached or has no such project.
    """
    path = f"{entity}/{project}" if entity else project
    try:
        api = api or _api()
        whole = (
            {"lazy": False} if "lazy" in inspect.signature(api.runs).parameters else {}
        )  # older clients are never lazy
        listed = _iterate_runs(api.runs(path, per_page=_PAGE, **whole))
        runs = [
            run for run in tqdm(listed, desc="runs", disable=None, leave=False) if wanted is None or run.id in wanted
        ]
        with ThreadPoolExecutor(_THREADS) as pool:
            tables = list(tqdm(pool.map(_read_curve, runs), desc="curves", total=len(runs), disable=None, leave=False))
    except UserError:
        raise
    except Exception as error:  # wandb raises errors of its own, of requests, and ValueError
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"source=wandb {path}: {reason}; check entity=… project=…, and log in with: wandb login"
        ) from error
    return runs_frame([_read_row(run) for run in runs]), pa.concat_tables([SCHEMA.empty_table(), *tables])


def _api() -> Any:
    import wandb

    return wandb.Api(timeout=60)


def _iterate_runs(pages: Any) -> Iterator[Any]:
    """Yields the runs page by page; retries a page that fails without reloading earlier ones."""
    iterator = iter(pages)
    nothing = object()
    while (run := _retry(lambda: next(iterator, nothing))) is not nothing:
        yield run


def _read_row(run: Any) -> dict[str, Any]:
    """Returns the row of a run; one that this framework did not make is ``broken``, with a reason."""
    row: dict[str, Any] = {
        "run_id": run.id,
        "path": getattr(run, "url", None) or run.id,
        "status": "broken",
        "reason": None,
    }
    config = {key: value for key, value in dict(run.config).items() if not key.startswith("_")}
    config = config.get("config", config)  # earlier versions logged it at the top level
    try:
        check_values(config)
        check_groups(config)
    except ValueError as error:
        return row | {"reason": f"its config has {error}"}
    row |= flatten(config)
    summary = {
        key: _restore_value(value)
        for key, value in dict(run.summary.items()).items()
        if key not in _LAST_EPOCH and not key.startswith(("_", "topology/", "probes/"))
    }
    if "status" in summary:
        try:
            check_values(summary)
            fault = summary_fault(summary, run.id)
        except ValueError as error:
            fault = f" has {error}"
        if fault:
            return row | {"reason": f"its summary{fault}"}
        return row | summary_columns(summary)
    reason = f"W&B calls it {run.state}" if _STATUS.get(run.state) == "failed" else None
    return row | {"status": _STATUS.get(run.state, "unfinished"), "reason": reason}


def _restore_value(value: Any) -> Any:
    """Restores a summary value: W&B stores NaN and infinities as text, dicts as its own objects."""
    if value in ("NaN", "Infinity", "-Infinity"):
        return None
    return dict(value.items()) if hasattr(value, "items") else value


def _read_curve(run: Any) -> pa.Table:
    """Returns the learning curve of a run; an empty table if it has none."""
    keys = [name for name in SCHEMA.names if name != "run_id"]
    wanted = dict(run.summary.items()).get("epochs")
    records = _retry(lambda: list(run.scan_history(keys=keys)))
    if not records or len(records) != wanted:  # W&B skips records that lack one of the keys
        records = _retry(lambda: list(run.scan_history()))
    curve = [{"run_id": run.id, **record} for record in records if record.get("epoch") is not None]
    return pa.Table.from_pylist([{name: row.get(name) for name in SCHEMA.names} for row in curve], schema=SCHEMA)


def _retry(request: Callable[[], _T]) -> _T:
    for wait in _RETRY_WAITS_S:
        try:
            return request()
        except Exception:  # the last attempt, below, raises
            time.sleep(wait)
    return request()
