"""Tables of text: for the terminal, in Markdown and in LaTeX."""

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


def formatted(layout: str, head: Sequence[str], rows: Sequence[Sequence[str]], texts: int, note: str) -> str:
    """Returns a table in a layout: ``text``, ``markdown`` or ``latex``.

    Args:
        layout: its name.
        head: titles of the columns.
        rows: cells, as many as titles.
        texts: number of columns that are flush left; the others are flush right.
        note: what the numbers are; below the table, or its caption.
    """
    if layout == "text":
        return f"{aligned(head, rows, texts)}\n{note}"
    numbers = len(head) - texts
    if layout == "markdown":
        top, *lines = [f"| {' | '.join(row)} |" for row in (head, *rows)]
        return "\n".join([top, f"| {' | '.join([':--'] * texts + ['--:'] * numbers)} |", *lines, "", note])
    top, *lines = [" & ".join(map(escape_latex, row)) + r" \\" for row in (head, *rows)]
    return "\n".join(
        [
            r"% needs \usepackage{booktabs}",
            r"\begin{table}",
            rf"\caption{{{escape_latex(note)}}}",
            rf"\begin{{tabular}}{{{'l' * texts}{'r' * numbers}}}",
            r"\toprule",
            top,
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


def escape_latex(text: str) -> str:
    """Returns a text with the characters escaped that tables of ours have and LaTeX reads otherwise."""
    return text.replace("_", r"\_").replace("Δ", r"$\Delta$").replace("%", r"\%").replace("±", r"$\pm$")
