"""P62 to P68: the same library under Pyodide, in real JavaScript runtimes, against a real server in another process.

What is promised stands in `support/pyodide/behaviours.py`, which runs there.
"""

from __future__ import annotations

import inspect
import os
import re
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.app import CORS
from tests.support.http2_frames import Code
from tests.support.http2_peer import HTTP2Conn, HTTP2Peer, HTTP2Req
from tests.support.peer import ScriptedPeer
from tests.support.pyodide import behaviours, matrix
from tests.support.pyodide.capabilities import ASYNC, BLOCKING, ROWS
from tests.support.pyodide.runtimes import (
    START_LIMIT,
    START_SECONDS,
    Runtime,
    build_wheel,
    commands,
    packed,
    start_runtime,
)
from tests.support.servers import Server
from tests.support.tls import CertificateAuthority


def _ways(name: str, place: str) -> dict[str, str]:
    """How Python is entered ("jspi" is blocking code by runPythonAsync), and how requests are sent then."""
    is_promising = name not in ("node", "node24") and not place.endswith("-off")
    ways = {"async": "fetch"} | ({"jspi": "jspi"} if is_promising else {})
    if not name.endswith("-jspi"):  # where blocking code is entered as without the flag
        ways["blocking"] = "xhr" if place.startswith(("main", "worker")) else "worker"
    return ways


def _abilities(name: str, place: str, sent_by: str) -> set[str]:
    kind = "browser" if place else name[:4]
    found = {kind, sent_by} | (set() if place else {"streams_up"})
    if sent_by != "xhr":
        found |= {"streams_up_over_http2"} if name in ("node26", "deno", "chromium") else set()
        return found | {"streams_down", "timeouts"}
    return found if place.startswith("main") else found | {"timeouts"}


# What each runtime is and can, by its name, the place in it, and the way it is entered: see `behaviours.needs`.
_FACTS: dict[tuple[str, str, str], set[str]] = {
    (name, place, entry): _abilities(name, place, sent_by)
    for name, place in matrix.COLUMNS
    for entry, sent_by in _ways(name, place).items()
}
# A helper thread of a browser starts when blocking code has let go; until then requests are sent otherwise.
_HELPER_SECONDS = 60.0


class Runtimes:
    """Starts a runtime when the first test asks for it."""

    def __init__(self, stack: ExitStack, folder: Path, server: Server, ca: CertificateAuthority) -> None:
        self._ca = ca
        self._stack = stack
        self._folder = folder
        self._wheel: Path | None = None
        self._running: dict[str, Runtime] = {}
        self._server = server
        self.warnings: dict[tuple[str, str, str], list[str]] = {}

    def get(self, name: str, place: str, entry: str) -> Runtime:
        key = name, place, entry
        # Firefox 153 on a busy machine: one in ten times, a worker that makes another never comes back from that. It
        # does so without Python too, and nobody can interrupt it.
        tries_left = 3 if name == "firefox" and _ways(name, place)[entry] == "worker" else 1
        runtime = self._start(name)
        while key not in self.warnings:
            tries_left -= 1
            try:
                self.warnings[key] = self._prepare(runtime, key)
            except TimeoutError:
                if not tries_left:
                    raise
                runtime = self._start(name)
        return runtime

    def _prepare(self, runtime: Runtime, key: tuple[str, str, str]) -> list[str]:
        """Wait until requests are sent as they will be."""
        name, place, entry = key
        runtime.run("prepare", "async", place=place, server=self._server.http, seconds=START_SECONDS)
        expected, said = _ways(name, place)[entry], []
        deadline = time.monotonic() + _HELPER_SECONDS
        while True:
            sent_by, warnings = runtime.run(
                "prepare", entry, place=place, server=self._server.http, seconds=_HELPER_SECONDS
            )
            said += warnings
            if sent_by == expected:
                return said
            if time.monotonic() > deadline:
                break
        raise AssertionError(f"{key}: requests are sent by {sent_by}, and not by {expected}")

    def _start(self, name: str) -> Runtime:
        if self._wheel is None:
            self._wheel = build_wheel(self._folder)
        if name not in self._running or self._running[name].has_ended:
            # What failed before its end is no reason for what comes after it to fail.
            self.warnings = {key: said for key, said in self.warnings.items() if key[0] != name}
            log, also = self._folder / f"{name}.log", [packed("h11", self._folder)]  # for sockets
            runtime = start_runtime(name, self._wheel, log, self._ca, also=also)
            self._running[name] = self._stack.enter_context(runtime)
        return self._running[name]


@pytest.fixture(scope="module")
def runtimes(
    uvicorn_server: Server, ca: CertificateAuthority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Runtimes]:
    with ExitStack() as stack:
        yield Runtimes(stack, tmp_path_factory.mktemp("pyodide"), uvicorn_server, ca)


_INSTALLED = commands()


def _marks(name: str) -> list[pytest.MarkDecorator]:
    """Of a test that runs in a runtime. Those of one runtime run in one process, so that it starts but once."""
    marks = [pytest.mark.xdist_group(name)]
    if name not in _INSTALLED and "CI" not in os.environ:
        marks.append(pytest.mark.skip(reason=f"{name} with Pyodide is not installed"))
    return marks


def _cases(prefix: str | tuple[str, ...]) -> Iterator[object]:
    for (name, place, entry), facts in _FACTS.items():
        if entry == "async" and place.endswith("-off"):
            continue  # which makes no difference to it; the matrix has looked
        for behaviour, body in behaviours.behaviours(prefix).items():
            # Firefox is told to trust anybody, see `start_runtime`.
            verifies = {"verifies"} if name != "firefox" else set()
            if behaviours.can_run(body, facts | {entry} | verifies):
                label = "-".join(filter(None, (name, place, entry, behaviour.removeprefix("a_promise_"))))
                yield pytest.param(name, place, entry, behaviour, id=label, marks=_marks(name))


@pytest.mark.time_limit(START_LIMIT)  # the first test of a runtime starts it
@pytest.mark.parametrize(("name", "place", "entry", "behaviour"), list(_cases("a_promise_")))
def test_under_pyodide(
    name: str, place: str, entry: str, behaviour: str, runtimes: Runtimes, uvicorn_server: Server
) -> None:
    runtimes.get(name, place, entry).run(behaviour, entry, place=place, server=uvicorn_server.http)


def _columns() -> Iterator[object]:
    for (name, place), column in matrix.COLUMNS.items():
        yield pytest.param(name, place, column, id="-".join(filter(None, (name, place))), marks=_marks(name))


@pytest.mark.time_limit(START_LIMIT)
@pytest.mark.parametrize(("name", "place", "column"), list(_columns()))
def test_the_matrix_in_the_docs_is_what_is_observed(
    name: str,
    place: str,
    column: matrix.Column,
    runtimes: Runtimes,
    uvicorn_server: Server,
    hypercorn_server: Server,
) -> None:
    # What a row can ask for by name; for its function an argument.
    servers = {"server": uvicorn_server.http, "http2": hypercorn_server.https}
    for entry in _ways(name, place):
        runtime = runtimes.get(name, place, entry)
    version = re.search(r"Node (\d+)", column[1])
    if version is not None and runtime.version.split(".")[0] != version[1] and "CI" not in os.environ:
        pytest.skip(f"{name} is of version {runtime.version} here")

    def run(function: str, entry: str, names: Iterable[str]) -> Any:
        arguments: dict[str, Any] = {key: servers[key] for key in names if key != "world"}
        return runtime.run(function, entry, module="capabilities", place=place, **arguments)

    sent_by = {entry: run("how_requests_are_sent", entry, ["server"]) for entry in (*ASYNC, *BLOCKING)}
    cells = {}
    for row in ROWS:
        names = inspect.signature(row.function).parameters
        results = {entry: run(row.function.__name__, entry, names) for entry in row.entries}
        cells[row.title] = row.cell(results, sent_by)
    matrix.check(column, cells)


@pytest.mark.time_limit(START_LIMIT)
@pytest.mark.parametrize(
    ("name", "entry"),
    [pytest.param("node", "blocking", marks=_marks("node")), pytest.param("node-jspi", "jspi", marks=_marks("node"))],
)
def test_p64_ctrl_c_ends_a_blocking_request_and_the_server_sees_it(
    name: str, entry: str, runtimes: Runtimes, uvicorn_server: Server
) -> None:
    runtime = runtimes.get(name, "", entry)
    runtime.run("an_interrupt_arrives", entry, interrupt_after=500, server=uvicorn_server.http)


@pytest.mark.time_limit(START_LIMIT)
@pytest.mark.parametrize("name", [pytest.param("chromium", marks=_marks("chromium"))])
def test_blocking_code_on_the_main_thread_of_a_page_is_told_its_limits_once(name: str, runtimes: Runtimes) -> None:
    runtimes.get(name, "main", "blocking")
    (warning,) = runtimes.warnings[name, "main", "blocking"]
    assert "no timeouts" in warning
    assert "runPythonAsync" in warning
    for place in ("worker", "isolated"):
        runtimes.get(name, place, "blocking")
        assert not runtimes.warnings[name, place, "blocking"]


_OVER_TLS = ("over_tls_a_body", "over_tls_bodies", "over_tls_the_runtime")


@pytest.mark.time_limit(START_LIMIT)
@pytest.mark.parametrize(("name", "place", "entry", "behaviour"), list(_cases(_OVER_TLS)))
def test_over_tls(
    name: str,
    place: str,
    entry: str,
    behaviour: str,
    runtimes: Runtimes,
    hypercorn_server: Server,
    uvicorn_server: Server,
) -> None:
    runtime = runtimes.get(name, place, entry)
    keys = runtime.run(behaviour, entry, place=place, http2=hypercorn_server.https, http11=uvicorn_server.https)
    logs = hypercorn_server.log.read_text() + uvicorn_server.log.read_text()
    assert all(logs.count(f"POST /upload/{key} ") <= 1 for key in keys or ()), logs[-3000:]


@pytest.mark.time_limit(START_LIMIT)
@pytest.mark.parametrize(("name", "place", "entry", "behaviour"), list(_cases("over_tls_an_unknown")))
def test_over_tls_to_a_stranger(
    name: str, place: str, entry: str, behaviour: str, runtimes: Runtimes, ca: CertificateAuthority
) -> None:
    runtime = runtimes.get(name, place, entry)
    with ScriptedPeer(lambda conn: None, tls=ca.untrusted(), expect_disconnect=True) as peer:
        runtime.run(behaviour, entry, place=place, stranger=f"https://127.0.0.1:{peer.port}")


@contextmanager
def _scripted(ca: CertificateAuthority, on_upload: Callable[[HTTP2Conn, HTTP2Req], None]) -> Iterator[str]:
    """The origin of a server of HTTP/2, with the key that Chromium trusts, that does something with an upload."""

    def script(conn: HTTP2Conn) -> None:
        while True:
            head = conn.read_head()
            if head.method == b"OPTIONS":
                conn.respond(head.stream_id, headers=CORS)
            else:
                on_upload(conn, head)

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(ca.server_chain_path, ca.server_key_path)
    tls.set_alpn_protocols(["h2"])
    with HTTP2Peer(script, tls=tls, opens_windows=False, expect_disconnect=True) as peer:
        yield f"https://127.0.0.1:{peer.port}"


@pytest.mark.time_limit(START_LIMIT)
@pytest.mark.parametrize(("name", "place", "entry", "behaviour"), list(_cases("over_http2_what_is_reset")))
def test_over_http2_what_was_sent_is_not_sent_again(
    name: str, place: str, entry: str, behaviour: str, runtimes: Runtimes, ca: CertificateAuthority
) -> None:
    """Chromium asks for a part of a body before it sends the head of the request, on which our second try relies."""
    heads = []

    def reset(conn: HTTP2Conn, head: HTTP2Req) -> None:
        heads.append(head)
        conn.send_rst(head.stream_id, Code.INTERNAL_ERROR)

    runtime = runtimes.get(name, place, entry)
    with _scripted(ca, reset) as server:
        runtime.run(behaviour, entry, place=place, server=server)
    assert len(heads) == 1


@pytest.mark.time_limit(START_LIMIT)
@pytest.mark.parametrize(("name", "place", "entry", "behaviour"), list(_cases("over_http2_a_server_that_takes")))
def test_over_http2_a_server_that_takes_nothing_holds_the_body(
    name: str, place: str, entry: str, behaviour: str, runtimes: Runtimes, ca: CertificateAuthority
) -> None:
    runtime = runtimes.get(name, place, entry)
    with _scripted(ca, lambda conn, head: None) as server:
        runtime.run(behaviour, entry, place=place, server=server)


@pytest.mark.time_limit(START_LIMIT)
@pytest.mark.parametrize(("name", "place", "entry", "behaviour"), list(_cases("what_never_connects")))
def test_what_never_connects(
    name: str, place: str, entry: str, behaviour: str, runtimes: Runtimes, black_hole: tuple[str, int]
) -> None:
    host, port = black_hole
    runtimes.get(name, place, entry).run(behaviour, entry, place=place, black_hole=f"http://{host}:{port}/")
