"""P62 to P68: the same library under Pyodide, in real JavaScript runtimes, against a real server in another process.

What is promised stands in `support/pyodide/behaviours.py`, which runs there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.pyodide import behaviours
from tests.support.pyodide.runtimes import Runtime, build_wheel, commands, start_runtime
from tests.support.servers import Server

# What each runtime is and can, beside the world: see `behaviours.needs`.
_FACTS = {
    ("node", "async"): {"node", "async", "streams_down", "streams_up", "timeouts"},
    ("node", "blocking"): {"node", "blocking", "streams_down", "streams_up", "timeouts"},
    ("node-jspi", "jspi"): {"node", "jspi", "streams_down", "streams_up", "timeouts"},
}
_EXPECTED = sorted({name for name, _ in _FACTS})


class Runtimes:
    """Starts a runtime when the first test asks for it."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack = stack
        self._folder = folder
        self._wheel: Path | None = None
        self._running: dict[str, Runtime] = {}

    def get(self, name: str) -> Runtime:
        if self._wheel is None:
            self._wheel = build_wheel(self._folder)
        if name not in self._running:
            runtime = start_runtime(name, self._wheel, self._folder / f"{name}.log")
            self._running[name] = self._stack.enter_context(runtime)
        return self._running[name]


@pytest.fixture(scope="module")
def runtimes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtimes]:
    with ExitStack() as stack:
        yield Runtimes(stack, tmp_path_factory.mktemp("pyodide"))


def _cases() -> Iterator[object]:
    installed = commands()
    for (name, world), facts in _FACTS.items():
        is_missing = name not in installed and "CI" not in os.environ
        marks = pytest.mark.skip(reason=f"{name} with Pyodide is not installed") if is_missing else ()
        for behaviour, body in behaviours.behaviours().items():
            if behaviours.can_run(body, facts):
                label = f"{name}-{world}-{behaviour.removeprefix('a_promise_')}"
                yield pytest.param(name, world, behaviour, id=label, marks=marks)


@pytest.mark.time_limit(150)  # the first test of a runtime starts it
@pytest.mark.parametrize(("name", "entry", "behaviour"), list(_cases()))
def test_under_pyodide(name: str, entry: str, behaviour: str, runtimes: Runtimes, uvicorn_server: Server) -> None:
    runtimes.get(name).run(behaviour, entry, server=uvicorn_server.http)
