"""The matrix "runtime x capability" in `docs/pyodide.md`: each column is what a test has observed in a runtime.

A test compares the column of its runtime with the one in the docs, so that nothing has to be gathered from the
processes among which the tests are spread. `WRITE_MATRIX=1 scripts/test tests/test_pyodide.py -k matrix` writes what it
observes instead. What the rows are stands in `capabilities.py`.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["COLUMNS", "COMMAND", "MATRIX", "Column", "check"]

COMMAND = "WRITE_MATRIX=1 scripts/test tests/test_pyodide.py -k matrix"
MATRIX = Path(__file__).parents[3] / "docs" / "pyodide.md"
_BEGIN, _END = f"<!-- What follows is written by: {COMMAND} -->\n", "<!-- The end of what is written. -->\n"

# The table, and the title of the column in it.
Column = tuple[str, str]
_NODE = "Node and Deno"
_BROWSERS = "Browsers"
_WITHOUT = "Browsers without JavaScript Promise Integration"
# By the name of the runtime, and the place in it.
COLUMNS: dict[tuple[str, str], Column] = {
    ("node", ""): (_NODE, "Node 20"),
    ("node-jspi", ""): (_NODE, "Node 20, flag"),
    ("node24", ""): (_NODE, "Node 24"),
    ("node24-jspi", ""): (_NODE, "Node 24, flag"),
    ("node26", ""): (_NODE, "Node 26"),
    ("deno", ""): (_NODE, "Deno"),
} | {
    (browser, place + off): (_WITHOUT if off else _BROWSERS, f"{browser.capitalize()}, {title}")
    for off in ("", "-off")
    for browser in ("chromium", "firefox")
    for place, title in (("main", "page"), ("worker", "worker"), ("isolated", "isolated worker"))
}


def check(column: Column, cells: dict[str, str]) -> None:
    """Compare what was observed with the docs, or write it there.

    Args:
        cells: what was observed, by row.

    Raises: AssertionError.
    """
    if os.environ.get("WRITE_MATRIX"):
        _write(column, cells)
    else:
        written = _parse(MATRIX.read_text("utf-8")).get(column)
        assert written == cells, f"{column} in {MATRIX.name} is not what was observed; to write it anew: {COMMAND}"


def _write(column: Column, cells: dict[str, str]) -> None:
    """Other processes may write their columns at the same time."""
    with MATRIX.open("r+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        text = file.read()
        columns = _parse(text) | {column: cells}
        before, _, rest = text.partition(_BEGIN)
        _, _, after = rest.partition(_END)
        file.seek(0)
        file.write(before + _BEGIN + "".join(_rendered(columns, list(cells))) + "\n" + _END + after)
        file.truncate()


def _parse(text: str) -> dict[Column, dict[str, str]]:
    columns: dict[Column, dict[str, str]] = {}
    table, titles = "", [""]
    for line in text.partition(_BEGIN)[2].partition(_END)[0].splitlines():
        if line.startswith("### "):
            table, titles = line.removeprefix("### "), []
        elif line.startswith("|"):
            title, *cells = (cell.strip() for cell in line.strip("|").split("|"))
            if not titles:
                titles = cells
            elif set(title) != {"-"}:
                for name, cell in zip(titles, cells, strict=True):
                    columns.setdefault((table, name), {})[title] = cell
    return columns


def _rendered(columns: dict[Column, dict[str, str]], rows: list[str]) -> Iterator[str]:
    tables: dict[str, list[str]] = {}
    for table, title in COLUMNS.values():
        tables.setdefault(table, []).append(title)
    for table, titles in tables.items():
        yield f"\n### {table}\n\n"
        yield _line("", titles)
        yield _line("---", ["---"] * len(titles))
        for row in rows:
            yield _line(row, [columns.get((table, title), {}).get(row, "?") for title in titles])


def _line(title: str, cells: list[str]) -> str:
    return f"| {title} | {' | '.join(cells)} |\n"
