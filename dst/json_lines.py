"""Files with one JSON object a line."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Returns the records of a file, none if there is no file; passes over a line cut short by a kill."""
    records = []
    with contextlib.suppress(FileNotFoundError):
        for line in path.read_text().splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                records.append(json.loads(line))
    return records
