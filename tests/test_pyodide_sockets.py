"""Node's sockets under Pyodide, where the host lets them in and a pool asks for them by name, in real runtimes.

What is promised stands in `support/pyodide/behaviours.py`, which runs there.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.http_proxies import RealProxy, Squid
from tests.support.peer import Conn, ScriptedPeer
from tests.support.pyodide.runtimes import START_LIMIT, Runtime, build_wheel, commands, packed, start_runtime
from tests.support.servers import Server
from tests.support.tls import CertificateAuthority

# Each runtime, and the ways to enter Python in which it can wait for a socket.
_ENTRIES = {"node": ("async",), "node-jspi": ("async", "jspi"), "node24-jspi": ("jspi",), "deno": ("async", "jspi")}
_CASES = [(name, entry) for name, entries in _ENTRIES.items() for entry in entries]


class Runtimes:
    """Starts a runtime when the first test asks for it."""

    def __init__(self, stack: ExitStack, folder: Path, ca: CertificateAuthority) -> None:
        self._stack = stack
        self._ca = ca
        self._folder = folder
        self._wheels: list[Path] = []
        self._running: dict[str, Runtime] = {}

    def get(self, name: str) -> Runtime:
        if name not in commands() and "CI" not in os.environ:
            pytest.skip(f"{name} with Pyodide is not installed")
        if not self._wheels:
            self._wheels = [build_wheel(self._folder), packed("h11", self._folder)]
        if name not in self._running:
            log = self._folder / f"{name}.log"
            runtime = start_runtime(name, self._wheels[0], log, self._ca, also=self._wheels[1:], has_sockets=True)
            self._running[name] = self._stack.enter_context(runtime)
        return self._running[name]


@pytest.fixture(scope="module")
def runtimes(tmp_path_factory: pytest.TempPathFactory, ca: CertificateAuthority) -> Iterator[Runtimes]:
    with ExitStack() as stack:
        yield Runtimes(stack, tmp_path_factory.mktemp("sockets"), ca)


pytestmark = [
    pytest.mark.time_limit(START_LIMIT),  # the first test of a runtime starts it
    pytest.mark.xdist_group("sockets of Node"),  # which starts but once
]
everywhere = pytest.mark.parametrize(("name", "entry"), _CASES)


@everywhere
def test_requests_and_their_answers_go_over_sockets(
    name: str, entry: str, runtimes: Runtimes, uvicorn_server: Server
) -> None:
    runtimes.get(name).run("sockets_requests_and_answers_arrive", entry, server=uvicorn_server.http)


@everywhere
def test_bodies_stream_down_and_up(name: str, entry: str, runtimes: Runtimes, uvicorn_server: Server) -> None:
    runtimes.get(name).run("sockets_stream_both_ways", entry, server=uvicorn_server.http)


@everywhere
def test_timeouts_are_kept(name: str, entry: str, runtimes: Runtimes, uvicorn_server: Server) -> None:
    runtimes.get(name).run("sockets_keep_timeouts", entry, server=uvicorn_server.http)


@everywhere
def test_errors_say_why_there_is_no_connection(
    name: str, entry: str, runtimes: Runtimes, uvicorn_server: Server, black_hole: tuple[str, int]
) -> None:
    with socket.socket() as bound:  # and it does not listen
        bound.bind(("127.0.0.1", 0))
        runtimes.get(name).run(
            "sockets_say_why_there_is_no_connection",
            entry,
            server=uvicorn_server.http,
            closed=f"http://127.0.0.1:{bound.getsockname()[1]}",
            silent="http://{}:{}".format(*black_hole),
        )


@everywhere
def test_a_reset_is_no_end(name: str, entry: str, runtimes: Runtimes) -> None:
    def script(conn: Conn) -> None:
        request = conn.read_request()
        conn.send(b"HTTP/1.1 200 OK\r\n\r\nto the end")
        if request.target == b"/reset":
            gate.wait()
            conn.rst()
        elif request.target == b"/now":
            gate.open()

    with ScriptedPeer(script) as peer:
        gate = peer.gate()
        runtimes.get(name).run("sockets_tell_a_reset_from_an_end", entry, server=peer.origin)


@everywhere
def test_a_connection_that_the_server_closed_is_not_used_again(name: str, entry: str, runtimes: Runtimes) -> None:
    with ScriptedPeer.answering(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", close=True) as peer:
        runtimes.get(name).run("sockets_that_the_server_has_closed_are_not_used", entry, server=peer.origin)
        assert len(peer.requests) == 3


@everywhere
def test_tls_is_refused_before_a_byte_is_sent(
    name: str, entry: str, runtimes: Runtimes, ca: CertificateAuthority
) -> None:
    with ScriptedPeer.answering(b"HTTP/1.1 200 OK\r\n\r\n", tls=ca.server_context()) as peer:
        proxy = f"https://user:secret@{peer.authority}"
        runtimes.get(name).run("sockets_carry_no_tls", entry, server=peer.origin, proxy=proxy)
        assert peer.accepted == 0


def test_proxies_are_gone_through(
    runtimes: Runtimes, uvicorn_server: Server, squid_proxy: Squid, dante_proxy: RealProxy
) -> None:
    proxies = [squid_proxy.open.url, dante_proxy.url]
    runtimes.get("node").run("sockets_go_through_proxies", "async", server=uvicorn_server.http, proxies=proxies)


@pytest.mark.parametrize("name", ["node", "deno"])
def test_cancellation_closes_the_socket(name: str, runtimes: Runtimes) -> None:
    def script(conn: Conn) -> None:
        request = conn.read_request()
        if request.target == b"/hang":
            arrived.open()
            assert conn.wait_closed()
            ended.open()
            return
        (arrived if request.target == b"/has-arrived" else ended).wait()
        conn.respond(body=b"hello")

    with ScriptedPeer(script) as peer:
        arrived, ended = peer.gate(), peer.gate()
        runtimes.get(name).run("sockets_of_cancelled_requests_are_closed", "async", server=peer.origin)


def test_ctrl_c_ends_a_blocking_request_over_a_socket(runtimes: Runtimes, uvicorn_server: Server) -> None:
    runtime = runtimes.get("node-jspi")
    # Ctrl-C would else come while something is imported.
    runtime.run("sockets_requests_and_answers_arrive", "jspi", server=uvicorn_server.http)
    runtime.run("an_interrupt_arrives", "jspi", interrupt_after=500, server=uvicorn_server.http, backend="blocking")


def test_blocking_code_that_cannot_wait_is_told_how_it_could(runtimes: Runtimes, uvicorn_server: Server) -> None:
    runtime = runtimes.get("node")
    runtime.run("sockets_need_promise_integration_in_blocking_code", "blocking", server=uvicorn_server.http)
