"""Tables as text: CSV to compute with, Markdown to read."""

import csv
import io
from collections.abc import Iterable, Sequence


def as_csv(columns: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """A header and a line per row, ending in plain newlines."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(columns)
    table.writerows(rows)
    return text.getvalue()


def as_markdown(
    columns: Sequence[str], rows: Iterable[Sequence[str]], below: Iterable[str] = (), *, marks: Sequence[str] = ()
) -> str:
    """A header, a line per row, and a paragraph for each text of `below`.

    marks: "---" or "---:" per column, aligned left or right; without it, all but the first are aligned right.
    """
    marks = marks or ["---", *["---:"] * (len(columns) - 1)]
    lines = [_line(columns), f"|{'|'.join(marks)}|", *map(_line, rows)]
    return "\n".join([*lines, *(line for text in below for line in ("", text)), ""])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
