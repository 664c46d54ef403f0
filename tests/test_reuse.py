"""Connections that are used again, and those that must not be: no request ever sees bytes that are not its own."""

from __future__ import annotations

import os
import socket
import time
import warnings
from collections.abc import Callable, Coroutine, Generator
from typing import Any

import pytest

import httpcore
from httpcore import Limits
from httpcore._http11 import HTTP11Connection
from httpcore.testing import Fault, Faults
from tests.support.http11_rows import GOOD, Row
from tests.support.invariants import (
    Peers,
    assert_holds,
    assert_still_works,
    client_sockets,
    error_of,
    one_slot,
    serve,
)
from tests.support.peer import Conn, Gate, ScriptedPeer
from tests.support.tls import CertificateAuthority
from tests.support.ways import every_way
from tests.support.worlds import World, only_worlds

pytestmark = every_way

SMALL_SEND_BUFFER = ((socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384),)
SMALL_RECEIVE_BUFFER = ((socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384),)
EVIL = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"


def hears_of_the_peer(world: World) -> bool:
    """Whether idle connections are watched here; elsewhere they are looked at before they are used."""
    return world.name in ("asyncio", "uvloop")


async def get(http: httpcore.ConnectionPool, peers: Peers, path: str = "/1") -> bytes:
    response = await http.request("GET", peers.faulty.origin + path)
    assert response.status_code == 200
    return response.body


# What follows a response at once


@pytest.mark.parametrize("row", [row for row in GOOD if row.id.startswith("a_")], ids=str)
async def test_a_rows_over_a_socket(world: World, engine: str, row: Row) -> None:
    """The response is delivered; the connection is kept or closed as its row says."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.send(row.wire)
        if row.is_reusable:
            serve(conn)
        else:
            assert conn.wait_closed()

    with Peers(script) as peers:
        http = one_slot(world, http1_engine=engine)
        response = await http.request(row.method, peers.url)
        assert (response.status_code, response.body) == (row.status, row.body)
        await assert_holds(world, http, peers, idle=int(row.is_reusable))
        await assert_still_works(world, http, peers)
        assert peers.accepted == (1 if row.is_reusable else 2)


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_a_extra_same_whichever_way_the_body_is_read(world: World, engine: str, is_streamed: bool) -> None:
    def script(conn: Conn) -> None:
        conn.read_request()
        conn.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi" + EVIL)
        assert conn.wait_closed()

    with Peers(script) as peers:
        http = one_slot(world, http1_engine=engine)
        response = await http.request("GET", peers.url, stream=is_streamed)
        assert await response.read() == b"hi"
        await assert_holds(world, http, peers, idle=0)
        await assert_still_works(world, http, peers)


# What happens to an idle connection


def say_more(conn: Conn) -> None:
    conn.send(EVIL)


def say_a_byte(conn: Conn) -> None:
    conn.send(b"\n")


def close(conn: Conn) -> None:
    conn.close()


def reset(conn: Conn) -> None:
    conn.rst()


def half_close(conn: Conn) -> None:
    conn.fin()


def time_out(conn: Conn) -> None:
    conn.respond(408, body=b"too slow", headers=[(b"connection", b"close")])
    conn.close()


def dying_while_idle(fault: Callable[[Conn], None], begin: Gate, done: Gate) -> Callable[[Conn], None]:
    def script(conn: Conn) -> None:
        conn.read_request()
        conn.respond(body=b"first")
        begin.wait()
        fault(conn)
        done.open()
        if conn.is_open:
            conn.wait_closed()

    return script


IDLE_FAULTS = {
    "a_extra_later": say_more,
    "a_extra_byte_later": say_a_byte,
    "a_idle_fin": close,
    "a_idle_rst": reset,
    "a_idle_half": half_close,
    "a_idle_408": time_out,
}


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("fault", IDLE_FAULTS)
async def test_p08_bytes_on_an_idle_connection_end_it(world: World, fault: str, method: str) -> None:
    """And so does its end: the next request goes out on a new connection, whatever it is, without a second try."""
    await check_idle_fault(world, IDLE_FAULTS[fault], method)


@pytest.mark.parametrize("fault", IDLE_FAULTS)
async def test_p08_bytes_on_an_idle_connection_end_it_over_tls(
    world: World, ca: CertificateAuthority, fault: str
) -> None:
    await check_idle_fault(world, IDLE_FAULTS[fault], "POST", ca)


async def test_a_idle_notify_a_close_notify_alone_ends_an_idle_connection(
    world: World, ca: CertificateAuthority
) -> None:
    """The socket stays open. What is sent would be answered by nobody."""
    await check_idle_fault(world, Conn.close_notify, "POST", ca)


@pytest.mark.parametrize("is_noticed", [False, True])
async def test_p14_a_connection_that_ended_while_idle_counts_as_that_whenever_it_was_noticed(
    world: World, is_noticed: bool
) -> None:
    """By the event loop, or when the connection was to be used again: where the loop had no turn, and elsewhere."""
    begin, done = Gate(), Gate()
    with Peers(dying_while_idle(close, begin, done)) as peers:
        http = one_slot(world)
        assert await get(http, peers) == b"first"
        begin.open()
        if is_noticed:
            await world.until(lambda: peers.faulty.open_connections == 0)
        else:
            peers.faulty.wait_for(lambda: peers.faulty.open_connections == 0)
        assert await get(http, peers) == b"/1"
        stats = http.stats()
        assert (stats.closed, stats.reused, stats.retried) == ({"ended by the peer while idle": 1}, 0, 0)


async def check_idle_fault(
    world: World, fault: Callable[[Conn], None], method: str, ca: CertificateAuthority | None = None
) -> None:
    begin, done = Gate(), Gate()
    tls = None if ca is None else ca.server_context()
    with Peers(dying_while_idle(fault, begin, done), tls=tls, expect_disconnect=True) as peers:
        http = one_slot(world, ssl=None if ca is None else ca.client_context())
        assert await get(http, peers) == b"first"
        await assert_holds(world, http, peers, idle=1)
        begin.open()
        await world.until(done.is_open)
        if hears_of_the_peer(world):
            await assert_holds(world, http, peers, idle=0)
        response = await http.request(method, peers.faulty.origin + "/2", body=b"x" if method == "POST" else None)
        assert (response.status_code, response.body) == (200, b"/2")
        assert [(request.connection, request.target) for request in peers.faulty.requests] == [(0, b"/1"), (1, b"/2")]
        stats = http.stats()
        assert (stats.opened, stats.retried, sum(stats.closed.values())) == (2, 0, 1)
        await assert_holds(world, http, peers, idle=1)
        await assert_still_works(world, http, peers)


async def test_a_extra_between_what_comes_before_the_request_was_sent_is_no_answer_to_it(
    world: World, engine: str
) -> None:
    """A head so long that sending it takes a while, and a peer that has answered it before it had all of it."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.respond(body=b"first")
        conn.recv(1)
        conn.send(EVIL)
        conn.wait_closed()

    headers = [("x-long", "x" * 900_000)]
    with Peers(script, expect_disconnect=True) as peers:
        http = one_slot(world, http1_engine=engine, network=httpcore.Network(socket_options=SMALL_SEND_BUFFER))
        assert await get(http, peers) == b"first"
        response = await http.request("GET", peers.faulty.origin + "/2", headers=headers)
        assert response.body == b"/2"
        assert http.stats().retried == 1
        await assert_holds(world, http, peers, idle=1)
        await assert_still_works(world, http, peers)


async def test_a_extra_between_is_an_error_where_the_request_cannot_be_sent_again(world: World, engine: str) -> None:
    def script(conn: Conn) -> None:
        conn.recv(1)
        conn.send(EVIL)
        conn.wait_closed()

    headers = [("x-long", "x" * 900_000)]
    with Peers(script, expect_disconnect=True) as peers:
        http = one_slot(world, http1_engine=engine, network=httpcore.Network(socket_options=SMALL_SEND_BUFFER))
        error = await error_of(lambda: http.request("POST", peers.url, headers=headers))
        assert isinstance(error, httpcore.RemoteProtocolError)
        assert "spoke before the request was sent" in str(error)
        assert error.request_sent
        await assert_holds(world, http, peers, idle=0)
        await assert_still_works(world, http, peers)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_extra_between_what_comes_while_a_trace_hook_takes_its_time_is_no_answer(
    world: World, engine: str, method: str
) -> None:
    """The hook runs when the request has been given its connection, and before anything is sent."""
    begin, done = Gate(), Gate()

    def hook(event: httpcore.TraceEvent) -> None:
        if isinstance(event, httpcore.ConnectionAcquired) and event.is_reused and not begin.is_open():
            begin.open()
            done.wait()

    with Peers(dying_while_idle(lambda conn: conn.send(EVIL), begin, done), expect_disconnect=True) as peers:
        http = one_slot(world, http1_engine=engine, trace=hook)
        assert await get(http, peers) == b"first"
        response = await http.request(method, peers.faulty.origin + "/2")
        assert response.body == b"/2"
        stats = http.stats()
        assert (stats.closed, stats.retried) == ({"ended by the peer while idle": 1}, 0)
        await assert_holds(world, http, peers, idle=1)
        await assert_still_works(world, http, peers)


class Watched:
    """An awaitable that counts how often it gives way to others."""

    def __init__(self, coroutine: Coroutine[Any, Any, httpcore.Response]) -> None:
        self.coroutine = coroutine
        self.suspensions = 0

    def __await__(self) -> Generator[Any, Any, httpcore.Response]:
        steps = self.coroutine.__await__()
        told: Any = None
        while True:
            try:
                asked = steps.send(told)
            except StopIteration as done:
                response: httpcore.Response = done.value
                return response
            self.suspensions += 1
            told = yield asked


@pytest.mark.parametrize("body", [None, b"x"])
async def test_a_extra_between_nothing_runs_between_the_last_look_and_the_first_byte(
    world: World, monkeypatch: pytest.MonkeyPatch, body: bytes | None
) -> None:
    """So only what the kernel receives in these microseconds can be mistaken, as it bears no sign of when it came."""
    seen: list[tuple[str, int]] = []

    class Steps(Faults):
        def _step(self, name: str) -> Fault | None:
            seen.append((name, request.suspensions))
            return super()._step(name)

    def look(connection: HTTP11Connection) -> bool:
        seen.append(("look", request.suspensions))
        return is_stale(connection)

    is_stale = HTTP11Connection.is_stale
    monkeypatch.setattr(HTTP11Connection, "is_stale", look)
    with Peers() as peers:
        http = one_slot(world, backend=Steps().over(world.backend))
        request = Watched(http.request("GET", peers.url))
        await request
        seen.clear()
        request = Watched(http.request("POST", peers.url, body=body))
        assert (await request).status_code == 200
    assert seen[:2] == [("look", 0), ("send", 0)]


# A connection that ends as it is used


def die_on_second(end: Callable[[Conn], None]) -> Callable[[Conn], None]:
    """Answers one request, and ends the connection on the next, once it has read it."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.respond(body=b"first")
        conn.read_request()
        end(conn)

    return script


def say_one_byte_and_close(conn: Conn) -> None:
    conn.send(b"H")


@pytest.mark.parametrize("end", [close, reset])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
async def test_p03_stale_connections_are_our_business(
    world: World, engine: str, end: Callable[[Conn], None], method: str
) -> None:
    """a_race_get: an idempotent request is answered on a new connection."""
    with Peers(die_on_second(end)) as peers:
        http = one_slot(world, http1_engine=engine)
        assert await get(http, peers) == b"first"
        response = await http.request(method, peers.faulty.origin + "/2", body=b"x" if method == "PUT" else None)
        assert response.status_code == 200
        assert response.body == (b"" if method == "HEAD" else b"/2")
        assert [request.connection for request in peers.faulty.requests] == [0, 0, 1]
        assert http.stats().retried == 1
        await assert_holds(world, http, peers, idle=1)
        await assert_still_works(world, http, peers)


@pytest.mark.parametrize("end", [close, reset])
@pytest.mark.parametrize("method", ["POST", "PATCH", "LOCK"])
async def test_p03_what_is_not_idempotent_is_never_sent_twice(
    world: World, engine: str, end: Callable[[Conn], None], method: str
) -> None:
    """a_race_post: the server saw it once, and the error says that it may have been processed."""
    with Peers(die_on_second(end)) as peers:
        http = one_slot(world, http1_engine=engine)
        assert await get(http, peers) == b"first"
        error = await error_of(lambda: http.request(method, peers.faulty.origin + "/2", body=b"x"))
        assert isinstance(error, httpcore.RemoteProtocolError if end is close else httpcore.ReadError)
        assert error.request_sent
        assert [request.target for request in peers.faulty.requests] == [b"/1", b"/2"]
        await assert_holds(world, http, peers, idle=0)
        await assert_still_works(world, http, peers)


async def test_p03_after_one_response_byte_nothing_is_sent_again(world: World, engine: str) -> None:
    with Peers(die_on_second(say_one_byte_and_close)) as peers:
        http = one_slot(world, http1_engine=engine)
        assert await get(http, peers) == b"first"
        error = await error_of(lambda: http.request("GET", peers.url))
        assert isinstance(error, httpcore.RemoteProtocolError)
        assert "in the middle of the response head" in str(error)
        assert error.request_sent
        assert http.stats().retried == 0
        assert len(peers.faulty.requests) == 2
        await assert_holds(world, http, peers, idle=0)
        await assert_still_works(world, http, peers)


async def test_p03_a_second_connection_is_the_last_try(world: World, engine: str) -> None:
    def refuse(conn: Conn) -> None:
        conn.read_request()

    with Peers(die_on_second(close), refuse) as peers:
        http = one_slot(world, http1_engine=engine)
        assert await get(http, peers) == b"first"
        error = await error_of(lambda: http.request("GET", peers.url))
        assert isinstance(error, httpcore.RemoteProtocolError)
        assert error.request_sent
        assert (peers.accepted, http.stats().retried) == (2, 1)
        await assert_holds(world, http, peers, idle=0)
        await assert_still_works(world, http, peers)


@pytest.mark.parametrize("end", [close, reset])
async def test_a_fresh_close(world: World, engine: str, end: Callable[[Conn], None]) -> None:
    """A fresh connection that ends without a word will do so again: no second try."""

    def script(conn: Conn) -> None:
        conn.read_request()
        end(conn)

    with Peers(script) as peers:
        http = one_slot(world, http1_engine=engine)
        error = await error_of(lambda: http.request("GET", peers.url))
        if end is close:
            assert isinstance(error, httpcore.RemoteProtocolError)
            assert "without sending a response" in str(error)
        else:
            assert isinstance(error, httpcore.ReadError)
        assert error.request_sent
        assert (peers.accepted, http.stats().retried) == (1, 0)
        await assert_holds(world, http, peers, idle=0)
        await assert_still_works(world, http, peers)


async def test_a_race_storm(world: World) -> None:
    """Many stale connections: one is tried, then a fresh one, not all the others as well."""
    count = 100 if hears_of_the_peer(world) else 25
    all_are_there = Gate()

    def script(conn: Conn) -> None:
        if conn.index >= count:
            serve(conn)
        conn.read_request()
        all_are_there.wait()
        conn.respond()
        conn.read_request()  # and closes

    with ScriptedPeer(script) as peer:
        http = world.pool(timeout=50)  # a busy machine shakes a hundred hands
        async with world.tasks() as tasks:
            requests = [tasks.start(lambda: http.request("GET", peer.url)) for _ in range(count)]
            await world.until(lambda: len(peer.requests) == count)
            all_are_there.open()
            for request in requests:
                assert (await request.outcome()).status_code == 200
        assert http.stats().idle == count
        assert (await http.request("GET", peer.origin + "/last")).body == b"/last"
        assert len(peer.requests) == count + 2
        stats = http.stats()
        assert (stats.retried, stats.opened, stats.closed) == (1, count + 1, {"not reusable": 1})


# What the peer says about reuse


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: TE, CLOSE\r\n",
        b"HTTP/1.0 200 OK\r\n",
        b"HTTP/1.0 200 OK\r\nkeep-alive: timeout=5\r\n",
        b"HTTP/1.1 200 OK\r\nkeep-alive: max=0\r\n",
    ],
)
async def test_a_conn_close_the_connection_is_closed_by_us(world: World, engine: str, head: bytes) -> None:
    """Also a_http10_nokeep. The peer keeps the socket open; the body is complete all the same."""
    is_closed = Gate()

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.send(head + b"content-length: 2\r\n\r\nhi")
        assert conn.wait_closed()
        is_closed.open()

    with Peers(script) as peers:
        http = one_slot(world, http1_engine=engine)
        assert await get(http, peers) == b"hi"
        await world.until(is_closed.is_open)
        await assert_holds(world, http, peers, idle=0)
        await assert_still_works(world, http, peers)


async def test_a_request_that_says_close_is_the_last_on_its_connection(world: World, engine: str) -> None:
    """RFC 9112, 9.6: whatever the peer answers."""
    with Peers(serve) as peers:
        http = one_slot(world, http1_engine=engine)
        assert (await http.request("GET", peers.url, headers={"Connection": "Close"})).status_code == 200
        await assert_holds(world, http, peers, idle=0)
        await assert_still_works(world, http, peers)
        assert peers.accepted == 2


async def test_a_keepalive_hdr_says_how_many_requests_are_left(world: World, engine: str) -> None:
    def script(conn: Conn) -> None:
        for left in (2, 1, 0):
            conn.read_request()
            conn.respond(body=b"%d" % conn.index, headers=[(b"keep-alive", b"timeout=5, max=%d" % left)])
        conn.wait_closed()

    with ScriptedPeer(script) as peer:
        http = one_slot(world, http1_engine=engine)
        bodies = [(await http.request("GET", peer.url)).body for _ in range(6)]
        assert bodies == [b"0", b"0", b"0", b"1", b"1", b"1"]
        await world.until(lambda: peer.open_connections == 0)
        assert http.stats().retried == 0


async def test_a_keepalive_hdr_says_how_long_a_connection_is_kept(world: World) -> None:
    """With `timeout=1` it is given up before the second is over, so that we are first to let go."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.respond(headers=[(b"keep-alive", b"timeout=1, max=100")])
        begun = time.monotonic()
        assert conn.wait_closed()
        assert time.monotonic() - begun < 5  # without the hint it would be 15 s

    with Peers(script) as peers:
        http = one_slot(world)
        assert await get(http, peers) == b""
        begun = time.monotonic()
        if hears_of_the_peer(world):
            await world.until(lambda: not http.connections)
        else:
            await world.sleep(0.8)  # nobody is there to tell us of the time but a request
        await assert_still_works(world, http, peers)
        assert time.monotonic() - begun > 0.7
        assert http.stats().closed["expired"] == 1
        assert peers.accepted == 2


@pytest.mark.parametrize(
    "hint", ["timeout=-1, max=-5", "timeout=1e99, max=1e99", "timeout=soon, max=many", "\xff=1, =,,"]
)
async def test_a_keepalive_hdr_that_makes_no_sense_is_ignored(world: World, engine: str, hint: str) -> None:
    def script(conn: Conn) -> None:
        conn.read_request()
        conn.respond(headers=[(b"keep-alive", hint.encode("latin-1"))])
        serve(conn)

    with Peers(script) as peers:
        http = one_slot(world, http1_engine=engine)
        assert await get(http, peers) == b""
        await assert_still_works(world, http, peers)
        assert peers.accepted == 1


# What we decide about reuse


async def test_a_expiry(world: World) -> None:
    """An idle connection whose time is over is never used, and on asyncio is closed without further requests."""
    with Peers(serve) as peers:
        http = world.pool(limits=Limits(max_connections=1, keepalive_expiry=0.05))
        assert await get(http, peers) == b"/1"
        if hears_of_the_peer(world):
            await assert_closed_in_time(world, http, peers)
        else:
            await world.sleep(0.06)
        await assert_still_works(world, http, peers)
        assert (peers.accepted, http.stats().retried) == (2, 0)


async def assert_closed_in_time(world: World, http: httpcore.ConnectionPool, peers: Peers) -> None:
    await world.until(lambda: not http.connections)
    await world.until(lambda: client_sockets(peers) in (None, 0))


@pytest.mark.parametrize(
    "limits",
    [
        Limits(max_connections=1, max_requests_per_connection=1),
        Limits(max_connections=1, max_connection_age=0),
        Limits(max_connections=1, max_keepalive_connections=0),
        Limits(max_connections=1, keepalive_expiry=0),
    ],
    ids=["max_requests_per_connection", "max_connection_age", "max_keepalive_connections", "keepalive_expiry"],
)
async def test_a_maxlife(world: World, limits: Limits) -> None:
    """A connection at the end of its life finishes its request, and the next goes on a new one."""
    head_is_read = Gate()

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n")
        head_is_read.wait()
        conn.send(b"/1")
        serve(conn)

    with Peers(script) as peers:
        http = world.pool(limits=limits)
        response = await http.request("GET", peers.faulty.origin + "/1", stream=True)
        assert len(http.connections) == 1
        head_is_read.open()
        assert await response.read() == b"/1"
        if limits.keepalive_expiry:
            await assert_holds(world, http, peers, idle=0)
        assert await get(http, peers, "/2") == b"/2"
        assert [request.connection for request in peers.faulty.requests] == [0, 1]
        await assert_still_works(world, http, peers)


# Bodies that nobody reads


async def test_p19_a_small_rest_is_read_and_the_connection_reused(world: World, engine: str) -> None:
    def script(conn: Conn) -> None:
        conn.read_request()
        conn.respond(body=b"x" * 60_000)
        serve(conn)

    with Peers(script) as peers:
        http = one_slot(world, http1_engine=engine)
        async with await http.request("GET", peers.url, stream=True) as response:
            assert response.status_code == 200
        assert response.is_closed
        await assert_holds(world, http, peers, idle=1)
        await assert_still_works(world, http, peers)
        assert peers.accepted == 1


@pytest.mark.parametrize("size", [100_000, 10_000_000])
async def test_a_unread_body_closes_the_connection(world: World, engine: str, size: int) -> None:
    """P19: of a large rest only 64 kB are read; the slot is free at once."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.respond(body=b"x" * size)
        conn.wait_closed()

    with Peers(script, expect_disconnect=True) as peers:
        http = one_slot(world, http1_engine=engine, network=httpcore.Network(socket_options=SMALL_RECEIVE_BUFFER))
        response = await http.request("GET", peers.url, stream=True)
        assert (await anext(aiter(response.stream()))).strip(b"x") == b""
        await response.aclose()
        assert response.is_closed
        await assert_holds(world, http, peers, idle=0)
        await assert_still_works(world, http, peers)


async def test_p19_a_rest_that_does_not_come_is_not_waited_for(world: World, engine: str) -> None:
    def script(conn: Conn) -> None:
        conn.read_request()
        conn.send(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello")
        assert conn.wait_closed()

    with Peers(script) as peers:
        http = one_slot(world, http1_engine=engine)
        response = await http.request("GET", peers.url, stream=True)
        begun = time.monotonic()
        await response.aclose()
        assert time.monotonic() - begun < 2
        await assert_holds(world, http, peers, idle=0)
        await assert_still_works(world, http, peers)


async def test_a_closed_response_says_so(world: World) -> None:
    with Peers(serve) as peers:
        http = one_slot(world)
        response = await http.request("GET", peers.url, stream=True)
        await response.aclose()
        await response.aclose()
        with pytest.raises(httpcore.StreamConsumed):
            await response.read()
        await assert_holds(world, http, peers, idle=1)


# No pipelining


async def test_d_pipeline_no_request_is_sent_before_the_last_one_is_answered(world: World) -> None:
    def script(conn: Conn) -> None:
        for _ in range(3):
            conn.read_request()
            conn.peer.wait_for(lambda: http.stats().waiting == 2 - len(answered))
            assert not conn.has_more
            answered.append(1)
            conn.respond()

    answered: list[int] = []
    with ScriptedPeer(script) as peer:
        http = one_slot(world)
        responses = await world.gather_ok(*(lambda: http.request("GET", peer.url),) * 3)
        assert [response.status_code for response in responses] == [200] * 3
        assert peer.accepted == 1


# Forks


@only_worlds("asyncio", "trio", "blocking")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
async def test_a_pid_fork_the_child_starts_empty_and_writes_to_no_socket_of_its_parent(world: World) -> None:
    with Peers(serve) as peers:
        http = one_slot(world)
        assert await get(http, peers) == b"/1"
        assert len(http.connections) == 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # other threads run; the child leaves them alone
            pid = os.fork()
        if not pid:
            status = 1
            try:
                status = in_the_child(http, peers, world.name == "blocking")
            finally:
                os._exit(status)
        status = os.waitpid(pid, 0)[1]  # noqa: ASYNC222 - the child is quick, and nothing else goes on here
        assert os.waitstatus_to_exitcode(status) == 0
        assert await get(http, peers, "/3") == b"/3"
        expected = [(0, b"/1"), (0, b"/3")] if world.name != "blocking" else [(0, b"/1"), (1, b"/2"), (0, b"/3")]
        assert [(request.connection, request.target) for request in peers.faulty.requests] == expected
        await assert_still_works(world, http, peers)


def in_the_child(http: httpcore.ConnectionPool, peers: Peers, can_request: bool) -> int:
    """An exit status: 0 where all is well. No assertions, whose exceptions would run the tests' own cleaning up."""
    if http.connections or http.stats().idle:
        return 2
    if can_request:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sync = http.request("GET", peers.faulty.origin + "/2")
            try:
                sync.send(None)
            except StopIteration as stop:
                return 0 if stop.value.body == b"/2" else 3
        return 4
    return 0
