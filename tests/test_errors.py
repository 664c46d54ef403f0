"""P60, I1 and I9: whatever goes wrong is one of our errors, which says what, where and how long, and no secret."""

from __future__ import annotations

import copy
import gc
import inspect
import logging
import pickle
import re
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import httpcore
from httpcore import (
    ConnectError,
    ConnectTimeout,
    DecodingError,
    HTTPCoreError,
    LocalProtocolError,
    PoolClosed,
    PoolTimeout,
    ReadError,
    ReadTimeout,
    RemoteProtocolError,
    StreamClosed,
    Timeout,
    TotalTimeout,
    WriteError,
    WriteTimeout,
)
from tests.support.black_hole import black_hole
from tests.support.peer import Conn, ScriptedPeer
from tests.support.tls import CertificateAuthority
from tests.support.worlds import World

HELLO = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
ERRORS = [cls for cls in vars(httpcore._errors).values() if inspect.isclass(cls) and issubclass(cls, HTTPCoreError)]


# The tree


def test_the_tree_of_errors_is_what_the_guide_says() -> None:
    tree = {cls.__name__: cls.__mro__[1].__name__ for cls in ERRORS}
    assert tree == {
        "HTTPCoreError": "Exception",
        "NetworkError": "HTTPCoreError",
        "ConnectError": "NetworkError",
        "ReadError": "NetworkError",
        "WriteError": "NetworkError",
        "TimeoutException": "HTTPCoreError",
        "ConnectTimeout": "TimeoutException",
        "ReadTimeout": "TimeoutException",
        "WriteTimeout": "TimeoutException",
        "PoolTimeout": "TimeoutException",
        "TotalTimeout": "TimeoutException",
        "ProtocolError": "HTTPCoreError",
        "LocalProtocolError": "ProtocolError",
        "RemoteProtocolError": "ProtocolError",
        "ProxyError": "HTTPCoreError",
        "UnsupportedProtocol": "HTTPCoreError",
        "InvalidURL": "HTTPCoreError",
        "DecodingError": "HTTPCoreError",
        "PoolClosed": "HTTPCoreError",
        "ResponseNotRead": "HTTPCoreError",
        "StreamConsumed": "HTTPCoreError",
        "StreamClosed": "HTTPCoreError",
    }
    assert issubclass(httpcore.TimeoutException, TimeoutError)
    assert issubclass(httpcore.InvalidURL, ValueError)
    assert {cls.__name__ for cls in ERRORS} <= set(httpcore.__all__)


@pytest.mark.parametrize("cls", ERRORS, ids=lambda cls: cls.__name__)
def test_an_error_can_be_pickled_and_copied_and_is_explained_once(cls: type[HTTPCoreError]) -> None:
    error = cls("something failed")
    error.request_sent = True
    error.explain("connecting, example.org:80, after 1.000 s")
    error.explain("reading the body, example.org:80, after 2.000 s")
    for same in (error, copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert str(same) == "something failed (connecting, example.org:80, after 1.000 s)"
        assert same.request_sent
    assert cls.__doc__


# I1: a table of what can happen


@dataclass
class Place:
    """What a condition is made from."""

    world: World
    ca: CertificateAuthority
    peers: list[ScriptedPeer]

    def peer(self, script: Callable[[Conn], None], **options: Any) -> ScriptedPeer:
        """A peer that stays until the end of the test."""
        peer = ScriptedPeer(script, expect_disconnect=True, **options)
        peer.__enter__()
        self.peers.append(peer)
        return peer


@dataclass
class Wrong:
    """An error, and what its message must name."""

    error: HTTPCoreError
    address: str


Happening = Callable[[Place], Awaitable[Wrong]]


async def caught(address: str, job: Callable[[], Awaitable[object]]) -> Wrong:
    # I1: never an OSError or the like, and none of an engine's, a loop's or a codec's.
    with pytest.raises(HTTPCoreError) as error:
        await job()
    return Wrong(error.value, address)


def requesting(script: Callable[[Conn], None] | bytes, pool: dict[str, Any] | None = None, **request: Any) -> Happening:
    """A request to a peer with this script, or that sends these bytes after the request and closes."""

    def sending(conn: Conn) -> None:
        assert isinstance(script, bytes)
        conn.read_head()
        conn.send(script)

    async def happen(place: Place) -> Wrong:
        peer = place.peer(sending if isinstance(script, bytes) else script)
        http = place.world.pool(**(pool or {}))
        arguments: dict[str, Any] = {"method": "GET", "url": peer.url, **request}
        return await caught(peer.authority, lambda: http.request(**arguments))

    return happen


def silent(conn: Conn) -> None:
    conn.wait_closed()


def deaf(conn: Conn) -> None:
    conn.read_head()
    conn.peer.wait_for(lambda: not conn.is_open, 10)


def resetting(conn: Conn) -> None:
    conn.read_head()
    conn.rst()


def stalling_in_the_body(conn: Conn) -> None:
    conn.read_head()
    conn.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nsome")
    conn.wait_closed()


def resetting_the_upload(conn: Conn) -> None:
    conn.read_head()
    conn.recv_exactly(10_000)
    conn.rst()


async def reset_in_the_body(place: Place) -> Wrong:
    def script(conn: Conn) -> None:
        conn.read_head()
        conn.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nsome")
        some_was_read.wait()
        conn.rst()

    peer = place.peer(script)
    some_was_read = peer.gate()
    async with await place.world.pool().request("GET", peer.url, stream=True) as response:
        parts = response.stream()
        received = await anext(parts)
        assert received == b"some"
        some_was_read.open()
        return await caught(peer.authority, lambda: anext(parts))


async def refused(place: Place) -> Wrong:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    http = place.world.pool()
    return await caught(address, lambda: http.request("GET", f"http://{address}/"))


async def unresolved(place: Place) -> Wrong:
    http = place.world.pool()
    name = "does-not-exist.invalid"
    return await caught(f"{name}:80", lambda: http.request("GET", f"http://{name}/"))


async def unanswered(place: Place) -> Wrong:
    http = place.world.pool(timeout=Timeout(5, connect=0.05))
    with black_hole() as (host, port):
        return await caught(f"{host}:{port}", lambda: http.request("GET", f"http://{host}:{port}/"))


async def total_while_connecting(place: Place) -> Wrong:
    http = place.world.pool(timeout=Timeout(5, total=0.05))
    with black_hole() as (host, port):
        return await caught(f"{host}:{port}", lambda: http.request("GET", f"http://{host}:{port}/"))


async def bad_certificate(place: Place) -> Wrong:
    peer = place.peer(silent, tls=place.ca.expired())
    http = place.world.pool(ssl=place.ca.client_context())
    return await caught(peer.authority, lambda: http.request("GET", peer.url))


async def silent_in_tls(place: Place) -> Wrong:
    peer = place.peer(silent)
    http = place.world.pool(ssl=place.ca.client_context(), timeout=Timeout(30, connect=0.3))
    return await caught(peer.authority, lambda: http.request("GET", f"https://{peer.authority}/"))


async def missing_unix_socket(place: Place) -> Wrong:
    http = place.world.pool(network=httpcore.Network(uds="/nonexistent/socket"))
    return await caught("example.org:80", lambda: http.request("GET", "http://example.org/"))


def waiting_in_vain(**timeout: float) -> Happening:
    async def happen(place: Place) -> Wrong:
        peer = place.peer(stalling_in_the_body)
        http = place.world.pool(limits=httpcore.Limits(max_connections=1))
        async with await http.request("GET", peer.url, stream=True):
            return await caught(peer.authority, lambda: http.request("GET", peer.url, timeout=Timeout(5, **timeout)))

    return happen


async def closed_pool(place: Place) -> Wrong:
    http = place.world.pool()
    await http.aclose()
    return await caught("example.org:80", lambda: http.request("GET", "http://example.org/"))


async def closed_while_waiting(place: Place) -> Wrong:
    peer = place.peer(silent)
    http = place.world.pool(limits=httpcore.Limits(max_connections=1))
    outcome: list[Wrong] = []

    async def hold() -> None:
        await caught(peer.authority, lambda: http.request("GET", peer.url))

    async def wait() -> None:
        outcome.append(await caught(peer.authority, lambda: http.request("GET", peer.url)))

    async def close() -> None:
        await place.world.until(lambda: http.stats().active == 1 and http.stats().waiting == 1)
        await http.aclose()

    async def wait_in_turn() -> None:
        await place.world.until(lambda: http.stats().active == 1)
        await wait()

    await place.world.gather_ok(hold, wait_in_turn, close)
    return outcome[0]


def on_a_switched_stream(use: Callable[[Any], Awaitable[object]]) -> Happening:
    def script(conn: Conn) -> None:
        conn.read_head()
        conn.send(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n")
        conn.wait_closed()

    async def happen(place: Place) -> Wrong:
        peer = place.peer(script)
        http = place.world.pool()
        response = await http.request("GET", peer.url, {"upgrade": "x", "connection": "upgrade"})
        stream: Any = response.extensions["network_stream"]
        try:
            return await caught(peer.authority, lambda: use(stream))
        finally:
            await stream.aclose()

    return happen


async def use_after_close(stream: Any) -> None:
    await stream.aclose()
    await stream.read()


MUCH = [bytes(100_000)] * 1000

# What happens, the class, the phase (None where there is no more than the peer to be named), whether the peer may have
# acted on the request.
TABLE: dict[str, tuple[Happening, type[HTTPCoreError] | tuple[type[HTTPCoreError], ...], str | None, bool]] = {
    "the port is closed": (refused, ConnectError, "connecting", False),
    "the name does not resolve": (unresolved, ConnectError, r"resolving does-not-exist\.invalid", False),
    "nobody answers the SYN": (unanswered, ConnectTimeout, "connecting", False),
    "the certificate is bad": (bad_certificate, ConnectError, "in the TLS handshake", False),
    "nobody answers the ClientHello": (silent_in_tls, ConnectTimeout, "in the TLS handshake", False),
    "there is no such unix socket": (missing_unix_socket, ConnectError, "connecting", False),
    "no connection becomes free": (waiting_in_vain(pool=0.05), PoolTimeout, "waiting for a connection", False),
    "the total passes in the queue": (waiting_in_vain(total=0.05), TotalTimeout, "waiting for a connection", False),
    "the total passes in connecting": (
        total_while_connecting,
        TotalTimeout,
        "(connecting|waiting for a connection)",
        False,
    ),
    "the total passes in the head": (
        requesting(silent, timeout=Timeout(30, total=0.3)),
        TotalTimeout,
        "waiting for the response",
        True,
    ),
    "the total passes in the body": (
        requesting(stalling_in_the_body, timeout=Timeout(30, total=0.3)),
        TotalTimeout,
        "reading the body",
        True,
    ),
    "the total passes in the upload": (
        requesting(deaf, method="POST", body=MUCH, timeout=Timeout(30, total=0.3)),
        TotalTimeout,
        "sending the body",
        True,
    ),
    "the total passes before 100 Continue": (
        requesting(
            silent, method="POST", body=b"x", headers={"expect": "100-continue"}, timeout=Timeout(30, total=0.3)
        ),
        TotalTimeout,
        "waiting for 100 Continue",
        True,
    ),
    "no head comes": (requesting(silent, timeout=Timeout(30, read=0.1)), ReadTimeout, "waiting for the response", True),
    "the body stalls": (
        requesting(stalling_in_the_body, timeout=Timeout(30, read=0.3)),
        ReadTimeout,
        "reading the body",
        True,
    ),
    "the upload stalls": (
        requesting(deaf, method="POST", body=MUCH, timeout=Timeout(30, write=0.1)),
        WriteTimeout,
        "sending the body",
        True,
    ),
    "a reset instead of an answer": (requesting(resetting), ReadError, "waiting for the response", True),
    "a reset in the body": (reset_in_the_body, ReadError, "reading the body", True),
    "a reset in the upload": (
        requesting(resetting_the_upload, method="POST", body=MUCH),
        (WriteError, ReadError),
        "(sending the body|reading an early response)",
        True,
    ),
    "an end instead of an answer": (requesting(b""), RemoteProtocolError, "waiting for the response", True),
    "an end in the head": (requesting(b"HTTP/1.1 20"), RemoteProtocolError, "waiting for the response", True),
    "an end in the body": (
        requesting(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nsome"),
        RemoteProtocolError,
        "(reading the body|waiting for the response)",
        True,
    ),
    "noise": (requesting(bytes(range(256))), RemoteProtocolError, "waiting for the response", True),
    "a bad chunk": (
        requesting(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"),
        RemoteProtocolError,
        "(reading the body|waiting for the response)",
        True,
    ),
    "an endless head": (
        requesting(b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 100_000),
        RemoteProtocolError,
        "waiting for the response",
        True,
    ),
    "101 that was not asked for": (
        requesting(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"),
        RemoteProtocolError,
        "waiting for the response",
        True,
    ),
    "a body that is shorter than announced": (
        requesting(silent, method="POST", headers={"content-length": "5"}, body=iter([b"abc"])),
        LocalProtocolError,
        "sending the body",
        True,
    ),
    "a body that does not decode": (
        requesting(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\nnope"),
        DecodingError,
        None,
        True,
    ),
    "a pool that was closed": (closed_pool, PoolClosed, "waiting for a connection", False),
    "a pool that is closed meanwhile": (closed_while_waiting, PoolClosed, "waiting for a connection", False),
    "a stream after 101 stalls": (
        on_a_switched_stream(lambda stream: stream.read(timeout=0.05)),
        ReadTimeout,
        "reading from the stream",
        True,
    ),
    "a stream after 101 was closed": (on_a_switched_stream(use_after_close), StreamClosed, None, True),
}


@pytest.mark.parametrize("what", TABLE)
async def test_p60_an_error_is_ours_and_names_what_was_done_with_whom_and_for_how_long(
    world: World, ca: CertificateAuthority, what: str
) -> None:
    happening, cls, phase, request_sent = TABLE[what]
    place = Place(world, ca, [])
    try:
        wrong = await happening(place)
        error, message = wrong.error, str(wrong.error)
        assert isinstance(error, cls), f"{type(error).__name__}: {message}"
        assert type(error).__module__ == "httpcore._errors"
        if phase is None:
            assert wrong.address in message
        else:
            context = re.compile(rf"(?P<why>.{{10,}}) \({phase}, {re.escape(wrong.address)}, after \d+\.\d{{3}} s\)")
            assert context.fullmatch(message), message
        assert error.request_sent is request_sent
    finally:
        for peer in place.peers:
            peer.__exit__(None, None, None)


async def test_p60_errors_of_a_response_speak_too(world: World) -> None:
    with ScriptedPeer.answering(HELLO) as peer:
        http = world.pool()
        response = await http.request("GET", peer.url, stream=True)
        with pytest.raises(httpcore.ResponseNotRead, match=r"call read\(\) first"):
            _ = response.body
        received = [part async for part in response.stream()]
        assert b"".join(received) == b"hello"
        with pytest.raises(httpcore.StreamConsumed, match="already been streamed"):
            response.stream()
        with pytest.raises(httpcore.StreamConsumed, match="was streamed"):
            _ = response.body


async def test_p60_a_pool_timeout_says_who_holds_the_connections(world: World) -> None:
    def script(conn: Conn) -> None:
        stalling_in_the_body(conn)

    http = world.pool(limits=httpcore.Limits(max_connections=1))
    with ScriptedPeer(script) as peer, ScriptedPeer.answering(HELLO) as other:
        async with await http.request("GET", peer.url, stream=True):
            with pytest.raises(PoolTimeout) as timed_out:
                await http.request("GET", other.url, timeout=Timeout(5, pool=0.05))
        message = str(timed_out.value)
        assert re.match(rf"no connection to http://{other.authority} became free within 0\.\d{{3}} s; 1 wait", message)
        assert f"of at most 1 connections the pool holds: http://{peer.authority}: 1 active" in message


async def test_a_cause_is_kept(world: World) -> None:
    """What the system said is there for who wants to know."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(ConnectError) as error:
        await world.pool().request("GET", f"http://127.0.0.1:{port}/")
    assert isinstance(error.value.__cause__, ConnectionRefusedError)


# I9

SECRETS = {
    "authorization": "Bearer hunter2",
    "proxy-authorization": "Basic hunter2",
    "cookie": "session=hunter2",
}


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nset-cookie: hunter2\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 103 X\r\nset-cookie: hunter2\r\n\r\nHTTP/1.1 200 OK\r\nset-cookie: hunter2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nset-cookie: hunter2\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\nnope",
        b"",
        b"HTTP/1.1 200 OK\r\nset-cookie: x\r\ncontent-length: 9\r\n\r\n",
    ],
    ids=["200", "103", "does not decode", "end", "cut off"],
)
async def test_i9_no_secret_is_in_a_repr_a_log_a_trace_or_an_error(
    world: World, caplog: pytest.LogCaptureFixture, answer: bytes
) -> None:
    said: list[object] = []

    def hook(event: httpcore.TraceEvent) -> None:
        said.append(event)
        raise RuntimeError("which logs the event")

    def script(conn: Conn) -> None:
        conn.read_head()
        conn.send(answer)

    caplog.set_level(logging.DEBUG)
    http = world.pool(trace=hook)
    with ScriptedPeer(script, expect_disconnect=True) as peer:
        try:
            url = f"http://user:hunter2@{peer.authority}/?token=hunter2"
            response = await http.request("GET", url, SECRETS)
            said += [response, response.request, response.headers, response.extensions]
        except HTTPCoreError as exc:
            error: BaseException | None = exc
            while error is not None:
                said.append(error)
                error = error.__cause__ or error.__context__
        assert b"hunter2" in peer.requests[0].raw_head
        said += [http, http.stats(), http.connections]
    assert len(said) > 5
    for thing in said:
        assert "hunter2" not in f"{thing!r} {thing}"
    assert caplog.text
    assert "hunter2" not in caplog.text


def test_i9_no_password_of_a_key_is_in_a_repr(tmp_path: Path) -> None:
    config = httpcore.SSLConfig(cert=(tmp_path / "cert", tmp_path / "key", "hunter2"))
    assert "hunter2" not in f"{config!r} {config}"


# P17, of errors: a failed request is not kept alive by its own traceback


async def test_a_failed_request_leaves_nothing_behind(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    http = world.pool()

    async def fail() -> None:
        with pytest.raises(ConnectError):
            await http.request("GET", f"http://127.0.0.1:{port}/")

    def errors() -> int:
        return sum(isinstance(thing, HTTPCoreError) for thing in gc.get_objects())

    await fail()
    gc.collect()
    before = errors()
    for _ in range(10):
        await fail()
    gc.collect()
    assert errors() <= before
