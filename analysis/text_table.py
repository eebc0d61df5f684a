"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]], texts: int) -> str:
    """Returns a table whose first columns are flush left, the others flush right.

    Args:
        head: titles of the columns.
        rows: cells, as many as titles.
        texts: number of columns that are flush left.
    """
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if index < texts else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (head, *rows)
    )
