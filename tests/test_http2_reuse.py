"""Promises of the pool, kept again over HTTP/2: stale connections, order, deadlines, event loops, memory."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from functools import partial

import psutil
import pytest

import httpcore
from tests.support.garbage import assert_leaves
from tests.support.http2_peer import Code, HTTP2Conn, HTTP2Peer, HTTP2Peers, Setting, SettingsFrame, serve
from tests.support.invariants import assert_holds, assert_still_works, error_of, one_slot
from tests.support.worlds import World, only_worlds

MB = 1_000_000


# P03: stale connections


def answer_once_then(end: Callable[[HTTP2Conn], None]) -> Callable[[HTTP2Conn], None]:
    """Answers one request, and ends the connection at the next, of which it has seen everything."""

    def script(conn: HTTP2Conn) -> None:
        conn.respond(conn.read_request().stream_id, body=b"first")
        conn.read_request()
        end(conn)

    return script


def fin(conn: HTTP2Conn) -> None:
    conn.fin()
    conn.wait_closed()


ENDS: dict[str, Callable[[HTTP2Conn], None]] = {"FIN": fin, "RST": HTTP2Conn.rst}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
async def test_p03_a_get_on_a_connection_that_ends_is_answered_on_another(
    world: World, end: Callable[[HTTP2Conn], None]
) -> None:
    with HTTP2Peers(answer_once_then(end), ends_in_order=False, expect_disconnect=True) as peers:
        http = one_slot(world, http1=False)
        assert (await http.request("GET", peers.url)).body == b"first"
        assert (await http.request("GET", peers.faulty.origin + "/again")).body == b"/again"
        assert (peers.accepted, http.stats().retried) == (2, 1)
        await assert_still_works(world, http, peers)


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
async def test_p03_a_post_that_may_have_been_processed_is_never_sent_twice(
    world: World, end: Callable[[HTTP2Conn], None]
) -> None:
    with HTTP2Peers(answer_once_then(end), ends_in_order=False, expect_disconnect=True) as peers:
        http = one_slot(world, http1=False)
        assert (await http.request("GET", peers.url)).body == b"first"
        error = await error_of(lambda: http.request("POST", peers.url, body=b"once"))
        assert isinstance(error, (httpcore.RemoteProtocolError, httpcore.ReadError))
        assert error.request_sent
        assert [request.method for request in peers.faulty.requests] == [b"GET", b"POST"]
        await assert_holds(world, http, peers, idle=0)
        await assert_still_works(world, http, peers)


async def test_p03_nothing_is_resent_once_an_answer_has_begun(world: World) -> None:
    def script(conn: HTTP2Conn) -> None:
        conn.respond(conn.read_request().stream_id, body=b"first")
        conn.respond(conn.read_request().stream_id, body=b"half", end_stream=False)
        conn.roundtrip()
        fin(conn)

    with HTTP2Peers(script, ends_in_order=False, expect_disconnect=True) as peers:
        http = one_slot(world, http1=False)
        assert (await http.request("GET", peers.url)).body == b"first"
        await error_of(lambda: http.request("GET", peers.url))
        assert (peers.accepted, http.stats().retried) == (1, 0)
        await assert_still_works(world, http, peers)


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
async def test_p07_an_idle_connection_that_has_ended_is_noticed_before_it_is_used(
    world: World, end: Callable[[HTTP2Conn], None]
) -> None:
    """Also by a request that could not be sent again."""

    def script(conn: HTTP2Conn) -> None:
        conn.respond(conn.read_request().stream_id, body=b"first")
        conn.recv_until(SettingsFrame, acks=True)
        is_idle.wait()
        if end is fin:
            conn.fin()
        else:
            end(conn)
        has_ended.open()

    with HTTP2Peers(script) as peers:
        is_idle, has_ended = peers.faulty.gate(), peers.faulty.gate()
        http = one_slot(world, http1=False)
        assert (await http.request("GET", peers.url)).body == b"first"
        is_idle.open()
        has_ended.wait()
        assert (await http.request("POST", peers.url, body=iter([b"once"]))).body == b"/"
        assert (peers.accepted, http.stats().retried) == (2, 0)
        await assert_still_works(world, http, peers)


async def test_what_a_peer_may_say_while_idle_does_not_end_the_connection(world: World) -> None:
    """Unlike HTTP/1.1, where every byte is one too many (P08)."""

    def script(conn: HTTP2Conn) -> None:
        conn.respond(conn.read_request().stream_id, body=b"first")
        conn.recv_until(SettingsFrame, acks=True)
        is_idle.wait()
        conn.ping()
        conn.settings({Setting.MAX_CONCURRENT_STREAMS: 10})
        conn.window_update(0, 1000)
        has_spoken.open()
        serve(conn)

    with HTTP2Peers(script) as peers:
        is_idle, has_spoken = peers.faulty.gate(), peers.faulty.gate()
        http = one_slot(world, http1=False)
        assert (await http.request("GET", peers.url)).body == b"first"
        is_idle.open()
        has_spoken.wait()
        assert (await http.request("POST", peers.url, body=iter([b"once"]))).body == b"/"
        await assert_still_works(world, http, peers)
        assert peers.accepted == 1


async def test_p08_an_answer_that_nobody_asked_for_ends_an_idle_connection(world: World) -> None:
    def script(conn: HTTP2Conn) -> None:
        first = conn.read_request().stream_id
        conn.respond(first, body=b"first")
        conn.recv_until(SettingsFrame, acks=True)
        is_idle.wait()
        conn.send_headers(first + 2, [(b":status", b"200"), (b"evil", b"yes")], end_stream=True)
        has_spoken.open()
        assert conn.recv_goaway() is Code.PROTOCOL_ERROR
        assert conn.wait_closed()

    with HTTP2Peers(script) as peers:
        is_idle, has_spoken = peers.faulty.gate(), peers.faulty.gate()
        http = one_slot(world, http1=False)
        assert (await http.request("GET", peers.url)).body == b"first"
        is_idle.open()
        has_spoken.wait()
        assert (await http.request("GET", peers.faulty.origin + "/own")).body == b"/own"
        await assert_still_works(world, http, peers)
        assert peers.accepted == 2


async def test_p09_a_connection_is_retired_after_so_many_requests_and_never_in_one(world: World) -> None:
    with HTTP2Peer(serve) as peer:
        http = world.pool(http1=False, limits=httpcore.Limits(max_requests_per_connection=3, max_connections=2))
        for at in range(7):
            assert (await http.request("GET", f"{peer.origin}/{at}")).body == b"/%d" % at
        assert peer.accepted == 3


# P05: order


async def test_p05_waiters_for_a_stream_are_served_in_their_order(world: World) -> None:
    def script(conn: HTTP2Conn) -> None:
        held = conn.read_request()
        may_go.wait()
        conn.respond(held.stream_id)
        serve(conn)

    with HTTP2Peer(script, settings={Setting.MAX_CONCURRENT_STREAMS: 1}) as peer:
        may_go = peer.gate()
        http = world.pool(http1=False, limits=httpcore.Limits(max_connections=1))
        async with world.tasks() as tasks:
            tasks.start(lambda: http.request("GET", peer.origin + "/held"))
            await world.until(lambda: len(peer.requests) == 1)
            for number in range(20):
                tasks.start(partial(http.request, "GET", f"{peer.origin}/{number}"))
                await world.until(partial(lambda waiting: http.stats().waiting == waiting, number + 1))
            may_go.open()
        assert [request.target for request in peer.requests[1:]] == [b"/%d" % number for number in range(20)]


# P06: the total deadline


def stuck_head(conn: HTTP2Conn) -> None:
    conn.wait_closed()


def stuck_body(conn: HTTP2Conn) -> None:
    conn.respond(conn.read_head().stream_id, body=b"half", end_stream=False)
    conn.wait_closed()


def dripping(conn: HTTP2Conn) -> None:
    """A byte now and then, sooner than any timeout but the total one."""
    while True:
        stream_id = conn.read_head().stream_id
        conn.send_head(stream_id)
        while not conn.is_reset(stream_id):
            conn.send_data(stream_id, b"x")
            conn.roundtrip()


@pytest.mark.parametrize("script", [stuck_head, stuck_body, dripping], ids=lambda script: script.__name__)
@pytest.mark.parametrize("size", [0, 200_000])
async def test_p06_the_total_deadline_ends_a_request_in_every_phase(
    world: World, script: Callable[[HTTP2Conn], None], size: int
) -> None:
    """With a body of that size on its way, for which there is no room."""
    with HTTP2Peers(script, opens_windows=False, expect_disconnect=True) as peers:
        http = one_slot(world, http1=False)
        timeout = httpcore.Timeout(30, total=0.2)
        lateness = math.inf
        for _ in range(10):  # a busy machine wakes nobody in time now and then
            begun = time.monotonic()
            error = await error_of(lambda: http.request("POST", peers.url, body=bytes(size), timeout=timeout))
            lateness = min(lateness, time.monotonic() - begun - 0.2)
            assert isinstance(error, httpcore.TotalTimeout)
            assert lateness >= -0.01
            if lateness < 0.1:
                break
        assert lateness < 0.1
        assert http.stats().active == 0


async def test_p06_the_total_deadline_ends_the_wait_for_a_stream(world: World) -> None:
    with HTTP2Peers(stuck_head, settings={Setting.MAX_CONCURRENT_STREAMS: 1}, expect_disconnect=True) as peers:
        http = one_slot(world, http1=False, timeout=30)
        async with world.tasks() as tasks:
            held = tasks.start(lambda: http.request("GET", peers.url, timeout=httpcore.Timeout(30, total=1)))
            held.is_error_seen = True
            await world.until(lambda: http.stats().active == 1 and http.stats().opening == 0)
            error = await error_of(lambda: http.request("GET", peers.url, timeout=httpcore.Timeout(30, total=0.2)))
            assert isinstance(error, httpcore.TotalTimeout)
        assert isinstance(held.error, httpcore.TotalTimeout)


# P16: event loops


def test_p16_one_pool_serves_three_event_loops_in_a_row(world: World) -> None:
    with HTTP2Peer(serve, expect_disconnect=True) as peer:
        http = httpcore.ConnectionPool(backend=world.backend, http1=False)

        async def body() -> int:
            for _ in range(3):
                assert (await http.request("GET", peer.url)).status_code == 200
            return len(http.connections)

        try:
            assert [world.run(body, may_leave=True) for _ in range(3)] == [1, 1, 1]
            assert peer.accepted == (3 if world.can_cancel else 1)
        finally:
            world.run(http.aclose)


# P17: no cycles


@only_worlds("asyncio", "trio", "blocking")
@pytest.mark.parametrize("way", ["read", "closed early", "refused", "timed out"])
async def test_p17_requests_leave_nothing_for_the_garbage_collector(world: World, way: str) -> None:
    def script(conn: HTTP2Conn) -> None:
        while True:
            request = conn.read_request()
            match request.target:
                case b"/read":
                    conn.respond(request.stream_id, body=request.body, trailers=[(b"a", b"b")])
                case b"/closed":
                    conn.respond(request.stream_id, body=b"half", end_stream=False)
                case b"/refused":
                    conn.send_rst(request.stream_id, Code.INTERNAL_ERROR)

    with HTTP2Peer(script) as peer:
        http = world.pool(http1=False)
        url = f"{peer.origin}/{way.partition(' ')[0]}"

        async def act() -> None:
            timeout = httpcore.Timeout(5, read=0.001 if way == "timed out" else 5)
            try:
                if way == "closed early":
                    async with await http.request("GET", url, stream=True) as response:
                        assert await anext(response.stream()) == b"half"
                else:
                    await http.request("POST", url, body=b"hello", timeout=timeout)
            except httpcore.HTTPCoreError:
                assert way in ("refused", "timed out")

        await assert_leaves(world, act, 300, objects=0.2)
        assert http.stats().opened == 1


# P57: back-pressure


@only_worlds("asyncio", "trio", "blocking")
async def test_p57_a_slow_reader_keeps_a_large_download_out_of_memory(world: World) -> None:
    """The peer can send no more than the window of the stream, however much it has."""
    total = 200 * MB
    piece = bytes(MB)

    def script(conn: HTTP2Conn) -> None:
        stream_id = conn.read_request().stream_id
        conn.send_head(stream_id)
        for at in range(total // MB):
            conn.send_data(stream_id, piece)
            sent[0] = at
        conn.send_data(stream_id, b"", end_stream=True)

    sent = [0]
    with HTTP2Peer(script, expect_disconnect=True) as peer:
        http = world.pool(http1=False, timeout=20)
        async with await http.request("GET", peer.url, stream=True) as response:
            parts = response.stream()
            before = psutil.Process().memory_info().rss
            received = len(await anext(parts))
            (conn,) = peer.http2_connections
            looks: list[int] = []

            def is_stalled() -> bool:
                looks.append(conn.client_window(1))
                return len(looks) > 50 and len(set(looks[-50:])) == 1

            await world.until(is_stalled, 15)
            assert sent[0] < 20
            async for part in parts:
                received += len(part)
                if received >= 100 * MB:
                    break
            grown = psutil.Process().memory_info().rss - before
    assert grown < 24 * MB


async def test_p57_a_slow_server_holds_the_iterator_of_an_upload(world: World) -> None:
    taken: list[int] = []

    def body() -> Iterator[bytes]:
        for at in range(200):
            taken.append(at)
            yield bytes(100_000)

    def script(conn: HTTP2Conn) -> None:
        head = conn.read_head()
        while conn.received(head.stream_id) < 65_535:
            conn.recv_frame()
        conn.roundtrip()
        assert len(taken) <= 3, "the body was read although there was no window for it"
        conn.opens_windows = True
        conn.window_update(0, 1_000_000)
        conn.window_update(head.stream_id, 1_000_000)
        assert len(conn.read_body(head).body) == 20 * MB
        conn.respond(head.stream_id, body=b"all")
        serve(conn)

    with HTTP2Peers(script, opens_windows=False) as peers:
        http = one_slot(world, http1=False)
        assert (await http.request("POST", peers.url, body=body())).body == b"all"
        await assert_still_works(world, http, peers)
