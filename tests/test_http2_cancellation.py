"""Cancel or lose any stream, and the others go on (P02, P15, P18, P20 for HTTP/2; FAULTS m_cancel_read_lock).

The sweeps over every step of a request, alone on its connection and beside a sibling, are in `test_sweeps.py`.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial

import pytest

import httpcore
from tests.support.http2_peer import Code, HTTP2Conn, HTTP2Peer, Setting
from tests.support.scenes import Place, http2
from tests.support.scenes import serve_http2 as serve
from tests.support.stories import Stage, beside_a_sibling, failure
from tests.support.tls import CertificateAuthority
from tests.support.worlds import World, can_cancel_worlds, only_worlds


@pytest.fixture
def place(ca: CertificateAuthority) -> Iterator[Place]:
    with http2(ca) as place:
        yield place


def sibling(world: World, http: httpcore.ConnectionPool, place: Place) -> AbstractAsyncContextManager[None]:
    return beside_a_sibling(Stage(world, http, place.origin), lambda: False)


def resets(place: Place) -> list[tuple[int, Code]]:
    (peer, _) = place.peers
    assert isinstance(peer, HTTP2Peer)
    return peer.resets


@can_cancel_worlds
@pytest.mark.parametrize("victim", range(5))
async def test_m_cancel_read_lock_whoever_reads_for_all_may_be_cancelled(world: World, victim: int) -> None:
    """Ten wait for their responses, one of them reads for all; each in turn is cancelled, and another takes over."""

    def script(conn: HTTP2Conn) -> None:
        heads = [conn.read_request() for _ in range(10)]
        assert conn.recv_rst() is Code.CANCEL
        for request in heads:
            if not conn.is_reset(request.stream_id):
                conn.respond(request.stream_id, body=request.target)

    with HTTP2Peer(script) as peer:
        http = world.pool(http1=False)
        async with world.tasks() as tasks:
            started = [tasks.start(partial(http.request, "GET", f"{peer.origin}/{at}")) for at in range(10)]
            await world.until(lambda: len(peer.requests) == 10)
            started[victim].cancel()
        assert started[victim].is_cancelled
        others = [task for task in started if task is not started[victim]]
        assert [task.result().body for task in others] == [b"/%d" % at for at in range(10) if at != victim]
        assert http.stats().active == 0
        assert peer.accepted == 1


@can_cancel_worlds
async def test_m_cancel_read_lock_all_but_the_last_may_be_cancelled_one_after_another(world: World) -> None:
    def script(conn: HTTP2Conn) -> None:
        heads = [conn.read_request() for _ in range(10)]
        for _ in range(9):
            assert conn.recv_rst() is Code.CANCEL
        (last,) = (request for request in heads if not conn.is_reset(request.stream_id))
        conn.respond(last.stream_id, body=last.target)

    with HTTP2Peer(script) as peer:
        http = world.pool(http1=False)
        async with world.tasks() as tasks:
            started = [tasks.start(partial(http.request, "GET", f"{peer.origin}/{at}")) for at in range(10)]
            await world.until(lambda: len(peer.requests) == 10)
            for task in started[:-1]:
                task.cancel()
                await task.finished()
        assert started[-1].result().body == b"/9"


# Timeouts


async def test_a_read_timeout_costs_only_its_stream(world: World, place: Place) -> None:
    async with place.as_good_as_new(world) as http, sibling(world, http, place):
        timeout = httpcore.Timeout(5, read=0.1)
        error = await failure(http.request("GET", place.origin + "/sibling", timeout=timeout))
        assert isinstance(error, httpcore.ReadTimeout)
    assert (3, Code.CANCEL) in resets(place)


async def test_a_total_timeout_costs_only_its_stream(world: World, place: Place) -> None:
    async with place.as_good_as_new(world) as http, sibling(world, http, place):
        timeout = httpcore.Timeout(5, total=0.1)
        error = await failure(http.request("GET", place.origin + "/sibling", timeout=timeout))
        assert isinstance(error, httpcore.TotalTimeout)


# Closing


async def test_p15_closing_the_pool_ends_every_stream_with_an_error_of_ours(world: World) -> None:
    with HTTP2Peer(serve, expect_disconnect=True) as peer:
        http = world.pool(http1=False)
        held = [await http.request("GET", peer.origin + "/sibling", stream=True) for _ in range(3)]
        async with world.tasks() as tasks:
            reading = [tasks.start(response.read) for response in held]
            await http.aclose()
            for task in reading:
                assert isinstance((await task.finished()).error, httpcore.HTTPCoreError)
        with pytest.raises(httpcore.PoolClosed):
            await http.request("GET", peer.url)
        await world.until(lambda: peer.open_connections == 0)
        assert http.connections == []


async def test_p15_draining_lets_streams_end_and_takes_no_more(world: World) -> None:
    with HTTP2Peer(serve) as peer:
        http = world.pool(http1=False)
        sibling = await http.request("GET", peer.origin + "/parts", stream=True)
        async with world.tasks() as tasks:
            draining = tasks.start(lambda: http.drain(5))
            await world.until(lambda: "closed" in repr(http) or "draining" in repr(http))
            assert await sibling.read() == b"onetwothree"
        assert draining.result()
        await world.until(lambda: peer.open_connections == 0)


async def test_p15_leaving_says_goaway(world: World) -> None:
    with HTTP2Peer(serve) as peer:
        http = world.pool(http1=False)
        await http.request("GET", peer.url)
        await http.aclose()
        await world.until(lambda: peer.goaways == [Code.NO_ERROR])


def forget(responses: list[httpcore.Response]) -> None:
    responses.clear()
    gc.collect()


async def test_p18_a_forgotten_response_costs_a_warning_and_its_stream(world: World, place: Place) -> None:
    async with place.as_good_as_new(world) as http, sibling(world, http, place):
        responses = [await http.request("GET", place.origin + "/large", stream=True)]
        with pytest.warns(ResourceWarning, match="neither read to its end nor closed"):
            forget(responses)
        assert (await http.request("GET", place.origin + "/get")).body == b"GET /get "
        await world.until(lambda: (3, Code.CANCEL) in resets(place))


# Threads, and many at once


@only_worlds("blocking")
@pytest.mark.time_limit(60)
async def test_p20_64_threads_on_one_connection(world: World) -> None:
    with HTTP2Peer(serve, settings={Setting.MAX_CONCURRENT_STREAMS: 50}) as peer:
        http = world.pool(http1=False, limits=httpcore.Limits(max_connections=1), timeout=30)

        async def work(number: int) -> int:
            for at in range(30):
                target = f"/{number}/{at}"
                response = await http.request("POST", peer.origin + target, body=b"%d" % number)
                assert response.body == f"POST {target} {number}".encode()
            return number

        assert await world.gather_ok(*[partial(work, number) for number in range(64)]) == list(range(64))
        assert (peer.accepted, http.stats().active) == (1, 0)
