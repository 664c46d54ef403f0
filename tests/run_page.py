"""Run the Python blocks of one page of the documentation, from top to bottom, as one session: run_page.py PAGE

Names carry over from block to block. Blocks with `await` at their top level all run in the same event loop; the others
run outside of it, so that they may start one of their own.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import sys
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str) -> Iterator[tuple[int, str]]:
    """The blocks, each with the number of lines before it."""
    for match in _BLOCK.finditer(page):
        yield page.count("\n", 0, match.start(1)), match[1]


def run(name: str, page: str) -> None:
    session: dict[str, Any] = {"__name__": "__main__"}
    with asyncio.Runner() as runner:
        for lines_before, source in blocks(page):
            # Errors then name the line of the page.
            code = compile("\n" * lines_before + source, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            if code.co_flags & inspect.CO_COROUTINE:
                coroutine: Coroutine[Any, Any, None] = eval(code, session)
                runner.run(coroutine)
            else:
                exec(code, session)


if __name__ == "__main__":
    run(sys.argv[1], Path(sys.argv[1]).read_text())
