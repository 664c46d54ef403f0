"""P62 to P68: the same library under Pyodide, in real JavaScript runtimes, against a real server in another process.

What is promised stands in `support/pyodide/behaviours.py`, which runs there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.pyodide import behaviours
from tests.support.pyodide.runtimes import FOLDER, Runtime, build_wheel, commands, start_runtime
from tests.support.servers import Server

_ALL = {"streams_down", "streams_up", "timeouts"}
# What each runtime is and can, by its name, the place in it, and the way it is entered: see `behaviours.needs`. One of
# "fetch", "jspi", "worker" and "xhr" is how its requests are sent.
_FACTS: dict[tuple[str, str, str], set[str]] = {
    ("node", "", "async"): {"node", "fetch", *_ALL},
    ("node", "", "blocking"): {"node", "worker", *_ALL},
    ("node-jspi", "", "jspi"): {"node", "jspi", *_ALL},
    ("node24", "", "async"): {"node", "fetch", *_ALL},
    ("node24", "", "blocking"): {"node", "worker", *_ALL},
    ("deno", "", "async"): {"deno", "fetch", *_ALL},
    ("deno", "", "jspi"): {"deno", "jspi", *_ALL},
    ("deno", "", "blocking"): {"deno", "worker", *_ALL},
    ("chromium", "main", "async"): {"browser", "fetch", "streams_down", "timeouts"},
    ("chromium", "main", "jspi"): {"browser", "jspi", "streams_down", "timeouts"},
    ("chromium", "main", "blocking"): {"browser", "xhr"},
    ("chromium", "worker", "async"): {"browser", "fetch", "streams_down", "timeouts"},
    ("chromium", "worker", "blocking"): {"browser", "xhr", "timeouts"},
    ("chromium", "isolated", "jspi"): {"browser", "jspi", "streams_down", "timeouts"},
    ("chromium", "isolated", "blocking"): {"browser", "worker", "streams_down", "timeouts"},
    ("firefox", "main", "async"): {"browser", "fetch", "streams_down", "timeouts"},
    ("firefox", "isolated", "blocking"): {"browser", "worker", "streams_down", "timeouts"},
    ("firefox", "worker", "blocking"): {"browser", "xhr", "timeouts"},
}
# A helper thread of a browser starts when blocking code has let go; until then requests are sent otherwise.
_TRIES = 100


class Runtimes:
    """Starts a runtime when the first test asks for it."""

    def __init__(self, stack: ExitStack, folder: Path, server: Server) -> None:
        self._stack = stack
        self._folder = folder
        self._wheel: Path | None = None
        self._running: dict[str, Runtime] = {}
        self._server = server
        self.warnings: dict[tuple[str, str, str], list[str]] = {}

    def get(self, name: str, place: str, entry: str) -> Runtime:
        runtime = self._start(name)
        key = name, place, entry
        if key not in self.warnings:
            self.warnings[key] = self._prepare(runtime, key)
        return runtime

    def _prepare(self, runtime: Runtime, key: tuple[str, str, str]) -> list[str]:
        """Wait until requests are sent as they will be."""
        _, place, entry = key
        expected = _FACTS[key] & {"fetch", "jspi", "worker", "xhr"}
        said: list[str] = []
        for _ in range(_TRIES):
            sent_by, warnings = runtime.run("prepare", entry, place=place, server=self._server.http)
            said += warnings
            if {sent_by} == expected:
                return said
        raise AssertionError(f"{key}: requests are sent by {sent_by}, and not by {expected}")

    def _start(self, name: str) -> Runtime:
        if self._wheel is None:
            self._wheel = build_wheel(self._folder)
        if name not in self._running:
            runtime = start_runtime(name, self._wheel, self._folder / f"{name}.log")
            self._running[name] = self._stack.enter_context(runtime)
        return self._running[name]


@pytest.fixture(scope="module")
def runtimes(uvicorn_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtimes]:
    with ExitStack() as stack:
        yield Runtimes(stack, tmp_path_factory.mktemp("pyodide"), uvicorn_server)


def _marks(name: str) -> pytest.MarkDecorator | tuple[()]:
    is_missing = name not in commands() and "CI" not in os.environ
    return pytest.mark.skip(reason=f"{name} with Pyodide is not installed") if is_missing else ()


def _cases() -> Iterator[object]:
    for (name, place, entry), facts in _FACTS.items():
        for behaviour, body in behaviours.behaviours().items():
            if behaviours.can_run(body, facts | {entry}):
                label = "-".join(filter(None, (name, place, entry, behaviour.removeprefix("a_promise_"))))
                yield pytest.param(name, place, entry, behaviour, id=label, marks=_marks(name))


@pytest.mark.time_limit(150)  # the first test of a runtime starts it
@pytest.mark.parametrize(("name", "place", "entry", "behaviour"), list(_cases()))
def test_under_pyodide(
    name: str, place: str, entry: str, behaviour: str, runtimes: Runtimes, uvicorn_server: Server
) -> None:
    runtimes.get(name, place, entry).run(behaviour, entry, place=place, server=uvicorn_server.http)


@pytest.mark.time_limit(150)
@pytest.mark.parametrize(
    ("name", "entry"),
    [pytest.param("node", "blocking", marks=_marks("node")), pytest.param("node-jspi", "jspi", marks=_marks("node"))],
)
def test_p64_ctrl_c_ends_a_blocking_request_and_the_server_sees_it(
    name: str, entry: str, runtimes: Runtimes, uvicorn_server: Server
) -> None:
    runtime = runtimes.get(name, "", entry)
    runtime.run("an_interrupt_arrives", entry, interrupt_after=500, server=uvicorn_server.http)


@pytest.mark.time_limit(150)
@pytest.mark.parametrize("name", [pytest.param("chromium", marks=_marks("chromium"))])
def test_blocking_code_on_the_main_thread_of_a_page_is_told_its_limits_once(name: str, runtimes: Runtimes) -> None:
    runtimes.get(name, "main", "blocking")
    (warning,) = runtimes.warnings[name, "main", "blocking"]
    assert "no timeouts" in warning
    assert "runPythonAsync" in warning
    for place in ("worker", "isolated"):
        runtimes.get(name, place, "blocking")
        assert not runtimes.warnings[name, place, "blocking"]


@pytest.mark.time_limit(200)
@pytest.mark.parametrize("name", [pytest.param("chromium", marks=_marks("chromium"))])
def test_a_visitor_of_the_live_page_tries_the_library_in_it(name: str, tmp_path: Path) -> None:
    node, _, _, chromium = commands()[name]
    serve = [sys.executable, str(FOLDER.parents[2] / "examples" / "pyodide" / "serve.py"), "0"]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            click = [node, str(FOLDER / "click.mjs"), chromium, url]
            done = subprocess.run(click, cwd=FOLDER, check=True, capture_output=True, text=True, timeout=180)
        finally:
            server.terminate()
    said = json.loads(done.stdout)
    assert said["errors"] == []
    for place in ("worker", "page"):
        assert "200 hello" in said["outputs"][f"async in {place}"]
        assert "part 0\npart 1\npart 2\npart 3\npart 4" in said["outputs"][f"async in {place}"]
        assert "sent by jspi" in said["outputs"][f"blocking in {place}"]
        assert "0.5 s: the server sent nothing in time" in said["outputs"][f"a timeout in {place}"]
