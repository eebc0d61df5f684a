"""Reads the ``metrics.jsonl`` of many runs into one Arrow table."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import json as arrow_json

from dst.files.records import Damaged, parse_object, read_bytes
from dst.run.layout import METRICS

_INTEGERS = ("epoch", "step", "phase")
_CURVES = ("train_loss", "train_acc", "val_loss", "val_acc")
_FLOATS = ("lr", *_CURVES, "prune_fraction", "density", "itop_ratio", "epoch_s")
SCHEMA = pa.schema(
    [("run_id", pa.string())] + [(name, pa.int64()) for name in _INTEGERS] + [(name, pa.float64()) for name in _FLOATS]
)
"""The columns of every run; further logged values follow them."""

_CHUNK = 200
_OPTIONS = arrow_json.ParseOptions(explicit_schema=pa.schema(list(SCHEMA)[1:]), unexpected_field_behavior="infer")


def read_epochs(directories: Mapping[str, Path]) -> tuple[pa.Table, dict[str, str]]:
    """Returns one row per run and epoch, and a message for each run with unreadable lines, by run id.

    A truncated last line (killed run) is ignored: the run rewrites it when it resumes.

    Args:
        directories: the run directories by run id.
    """
    tables: list[pa.Table] = [SCHEMA.empty_table()]
    problems: dict[str, str] = {}
    ids = list(directories)
    for start in range(0, len(ids), _CHUNK):
        part = ids[start : start + _CHUNK]
        contents = [_read(directories[run_id] / METRICS, problems) for run_id in part]
        table, unreadable = _read_chunk(part, contents)
        tables.append(table)
        problems |= unreadable
    return concat_tables(tables), problems


def concat_tables(tables: Sequence[pa.Table]) -> pa.Table:
    """Concatenates tables; missing columns are filled with null, columns of several types become text."""
    try:
        return pa.concat_tables(tables, promote_options="permissive").combine_chunks()
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        kinds: dict[str, set[str]] = {}
        for field in itertools.chain.from_iterable(table.schema for table in tables):
            kinds.setdefault(field.name, set()).update([str(field.type)] if field.type != pa.null() else [])
        mixed = [name for name, types in kinds.items() if len(types) > 1]
        return pa.concat_tables([_as_text(table, mixed) for table in tables], promote_options="default")


def _as_text(table: pa.Table, names: Sequence[str]) -> pa.Table:
    for name in {*names} & {*table.column_names}:
        index = table.column_names.index(name)
        table = table.set_column(index, name, table[name].cast(pa.string()))
    return table


def _read(path: Path, problems: dict[str, str]) -> bytes:
    try:
        content = read_bytes(path) or b""
    except OSError as error:
        problems[path.parent.name] = f"{path.name} cannot be read ({error.strerror})"
        return b""
    except Damaged as error:
        problems[path.parent.name] = str(error)
        return b""
    return content[: content.rfind(b"\n") + 1]


def _read_chunk(ids: Sequence[str], contents: Sequence[bytes]) -> tuple[pa.Table, dict[str, str]]:
    try:
        return _parse(ids, contents), {}
    except (pa.ArrowInvalid, ValueError):
        pass  # some line is not JSON: parse run by run
    tables: list[pa.Table] = [SCHEMA.empty_table()]
    problems: dict[str, str] = {}
    for run_id, content in zip(ids, contents, strict=True):
        try:
            tables.append(_parse([run_id], [content]))
        except (pa.ArrowInvalid, ValueError):
            good, bad = _parse_by_line(run_id, content)
            tables += good
            problems[run_id] = f"metrics.jsonl: {bad} of {bad + len(good)} lines cannot be read"
    return concat_tables(tables), problems


def _parse_by_line(run_id: str, content: bytes) -> tuple[list[pa.Table], int]:
    """Parses line by line; returns the readable lines and the number of unreadable ones."""
    good, bad = [], 0
    for line in content.splitlines(keepends=True):
        try:
            good.append(_parse([run_id], [line]))
        except (pa.ArrowInvalid, ValueError):
            bad += 1
    return good, bad


def _parse(ids: Sequence[str], contents: Sequence[bytes]) -> pa.Table:
    counts = [content.count(b"\n") for content in contents]
    text = b"".join(contents)
    if not text.strip():
        return SCHEMA.empty_table()
    text.decode()  # Arrow does not check that column names are UTF-8
    if b"[" in text or text.count(b"{") != sum(counts) or b'"run_id"' in text:
        text = b"".join(map(_drop_nested, text.splitlines()))  # deeply nested lists crash Arrow's parser
    table = arrow_json.read_json(
        io.BytesIO(text), parse_options=_OPTIONS, read_options=arrow_json.ReadOptions(block_size=max(len(text), 1))
    )
    if table.num_rows != sum(counts):
        raise ValueError("lines and records differ in number")
    if table.column("epoch").null_count:
        raise ValueError("a record without its epoch")
    names = pa.array(ids, pa.string())
    which = pa.array([index for index, count in enumerate(counts) for _ in range(count)], pa.int32())
    return table.add_column(0, "run_id", pc.take(names, which))


def _drop_nested(line: bytes) -> bytes:
    """Removes lists, objects and ``run_id`` from a JSON record; raises ValueError if it is not an object."""
    record = parse_object(line)
    figures = {
        name: value for name, value in record.items() if not isinstance(value, (dict, list)) and name != "run_id"
    }
    return json.dumps(figures).encode() + b"\n"
