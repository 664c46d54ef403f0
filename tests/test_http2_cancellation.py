"""Cancel any stream, anywhere, and the others go on (P02, P15, P18, P20 for HTTP/2; FAULTS m_cancel_*, m_io_fail).

Every story is run once to count its steps, and then again with something going wrong at each of them, alone on its
connection and beside a sibling. Cancelling costs a stream; a failure of the connection costs what is on it, no more.
"""

from __future__ import annotations

import contextlib
import gc
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from random import Random
from typing import Any

import pytest

import httpcore
from httpcore.testing import Fault, Faults
from tests.support import stories
from tests.support.http2_peer import Code, HTTP2Conn, HTTP2Peer, HTTP2Req, Setting, http2_context
from tests.support.steps import CERTAIN, Cancel, sweep
from tests.support.stories import STORIES as COMMON_STORIES
from tests.support.stories import Act, Stage, failure, get
from tests.support.tls import CertificateAuthority
from tests.support.worlds import World, can_cancel_worlds, only_worlds

# More than the window of a stream, so that a response with it is not over before it is read or closed.
LARGE = 5_000_000


def serve(conn: HTTP2Conn) -> None:
    """Everything that the stories ask for. `/sibling` is answered by halves, the second half at `/go-on`."""
    siblings: list[int] = []
    while True:
        head = conn.read_head()
        if head.header(b"expect") is not None:
            conn.send_head(head.stream_id, 100)
        request = conn.read_body_or_reset(head)
        if request is None or conn.is_reset(head.stream_id):
            continue
        answer(conn, request, siblings)


def answer(conn: HTTP2Conn, request: HTTP2Req, siblings: list[int]) -> None:
    stream_id = request.stream_id
    match request.target:
        case b"/sibling":
            siblings.append(stream_id)
            conn.respond(stream_id, body=b"first, ", end_stream=False)
        case b"/go-on":
            for sibling in siblings:
                if not conn.is_reset(sibling):
                    conn.send_data(sibling, b"second", end_stream=True)
            siblings.clear()
            conn.respond(stream_id, body=b"gone on")
        case b"/large":
            conn.respond(stream_id, body=bytes(LARGE))
        case b"/parts":
            conn.send_head(stream_id)
            for part in (b"one", b"two", b"three"):
                conn.send_data(stream_id, part)
            conn.send_headers(stream_id, [(b"x-end", b"yes")], end_stream=True)
        case _:
            conn.respond(stream_id, body=request.method + b" " + request.target + b" " + request.body[:10])


# For what waits for an answer to what never left.
PATIENCE = httpcore.Timeout(5, read=0.5)


async def post_parts(stage: Stage) -> None:
    extensions = {"trailers": [("x-end", "yes")]}
    response = await stage.http.request(
        "POST", stage.url + "/post", body=iter([b"01234", b"56789"]), extensions=extensions
    )
    assert response.body == b"POST /post 0123456789"


async def close_unread(stage: Stage) -> None:
    response = await stage.http.request("GET", stage.url + "/large", stream=True)
    try:
        assert response.status_code == 200
    finally:
        await response.aclose()


STORIES: dict[str, Act] = {
    **COMMON_STORIES,
    "an upload in parts": post_parts,
    "a response that is closed unread": close_unread,
}


@pytest.fixture(params=["in clear", "over TLS"])
def tls(request: pytest.FixtureRequest, ca: CertificateAuthority) -> ssl.SSLContext | None:
    return http2_context(ca) if request.param == "over TLS" else None


@contextlib.contextmanager
def two_peers(tls: ssl.SSLContext | None, **options: Any) -> Iterator[list[HTTP2Peer]]:
    """The one of the story, and that of another origin."""
    with (
        HTTP2Peer(serve, tls=tls, expect_disconnect=True, **options) as peer,
        HTTP2Peer(serve, tls=tls, expect_disconnect=True) as other,
    ):
        yield [peer, other]


def as_good_as_new(
    world: World, ca: CertificateAuthority, peers: list[HTTP2Peer], **options: Any
) -> AbstractAsyncContextManager[httpcore.ConnectionPool]:
    """With room for one connection, and for some streams on it."""
    how: dict[str, Any] = {"backend": world.backend, "limits": httpcore.Limits(max_connections=1)}
    how |= {"ssl": httpcore.SSLConfig(str(ca.pem_path))} if peers[0].scheme == "https" else {"http1": False}
    http = httpcore.ConnectionPool(**how | options)
    return stories.as_good_as_new(world, http, peers, "/sibling", at_once=3, limit=1)


@asynccontextmanager
async def beside_a_sibling(http: httpcore.ConnectionPool, peer: HTTP2Peer) -> AsyncIterator[None]:
    """A response that is half read while something happens, and then goes on, on the same connection."""
    sibling = await http.request("GET", peer.origin + "/sibling", stream=True)
    parts = sibling.raw()
    assert await anext(parts) == b"first, "
    accepted = peer.accepted
    yield
    assert (await http.request("GET", peer.origin + "/go-on")).body == b"gone on"
    assert [part async for part in parts] == [b"second"]
    assert peer.accepted == accepted


@can_cancel_worlds
@pytest.mark.parametrize("story", STORIES)
async def test_p02_a_request_can_be_cancelled_at_every_step_of(
    world: World, story: str, ca: CertificateAuthority, tls: ssl.SSLContext | None
) -> None:
    cancelled = 0
    with two_peers(tls) as peers:

        async def once(cancel: Cancel) -> None:
            nonlocal cancelled
            async with as_good_as_new(world, ca, peers) as http:
                cancelled += await cancel.run(lambda: STORIES[story](Stage(world, http, peers[0].origin)))

        await sweep(world, once)
    assert cancelled, "the wait for the dial is certain; answers may be there when they are waited for"


@can_cancel_worlds
@pytest.mark.parametrize("story", STORIES)
async def test_p02_a_sibling_goes_on_whichever_step_is_cancelled_of(
    world: World, story: str, ca: CertificateAuthority, tls: ssl.SSLContext | None
) -> None:
    with two_peers(tls) as peers:

        async def once(cancel: Cancel) -> None:
            async with as_good_as_new(world, ca, peers) as http, beside_a_sibling(http, peers[0]):
                await cancel.run(lambda: STORIES[story](Stage(world, http, peers[0].origin)))

        await sweep(world, once)


@can_cancel_worlds
async def test_p02_waiting_for_a_slot_can_be_cancelled_at_every_step(world: World, ca: CertificateAuthority) -> None:
    """m_cancel_queue, for a stream of a connection that has no more of them."""
    with two_peers(None, settings={Setting.MAX_CONCURRENT_STREAMS: 1}) as peers:

        async def once(cancel: Cancel) -> None:
            async with as_new_with_one_stream(world, peers) as http, world.tasks() as tasks:
                stage = Stage(world, http, peers[0].origin)
                held = await http.request("GET", stage.url + "/sibling", stream=True)

                async def give_back() -> None:
                    await world.until(lambda: http.stats().waiting == 2 or cancel.is_reached)
                    await held.aclose()

                async def other_waiter() -> None:
                    await world.until(lambda: http.stats().waiting or cancel.is_reached)
                    await get(stage)

                # Whoever is not cancelled is served, whatever happens to the other.
                waiter, returned = tasks.start(other_waiter), tasks.start(give_back)
                await cancel.run(lambda: get(stage))
                await returned.outcome()
                await waiter.outcome()

        assert await sweep(world, once) >= CERTAIN


@asynccontextmanager
async def as_new_with_one_stream(world: World, peers: list[HTTP2Peer]) -> AsyncIterator[httpcore.ConnectionPool]:
    async with httpcore.ConnectionPool(
        backend=world.backend, http1=False, limits=httpcore.Limits(max_connections=1)
    ) as http:
        yield http
        stats = http.stats()
        assert (stats.active, stats.opening, stats.waiting) == (0, 0, 0), http
        for peer in peers:
            assert (await http.request("GET", peer.origin + "/get")).body == b"GET /get "
    await world.until(lambda: not any(peer.open_connections for peer in peers), what="closing of all sockets")


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


@only_worlds("asyncio", "trio")
async def test_p02_a_storm_of_cancels_leaves_a_pool_that_works(
    world: World, ca: CertificateAuthority, tls: ssl.SSLContext | None
) -> None:
    """20 tasks on one connection, each request cancelled at random or not at all."""
    random = Random(20)
    stories = list(STORIES.values())
    ends = time.monotonic() + 1.5
    cancelled = finished = 0
    with two_peers(tls) as peers:
        async with as_good_as_new(world, ca, peers, timeout=20) as http:

            async def work() -> None:
                nonlocal cancelled, finished
                # On a busy machine it takes longer until there are enough of both.
                while time.monotonic() < ends or min(cancelled, finished) <= 20:
                    act = random.choice(stories)
                    try:
                        async with world.timeout(random.choice([0.001, 0.01, 0.1, 10])):
                            await act(Stage(world, http, peers[0].origin))
                        finished += 1
                    except TimeoutError:
                        cancelled += 1

            await world.gather_ok(*[work] * 20)
            await world.until(lambda: not http.stats().opening)
        # Cancelling costs streams, never the connection.
        assert peers[0].accepted == 1
    assert cancelled > 20
    assert finished > 20


@only_worlds("asyncio", "trio", "blocking")
@pytest.mark.parametrize("fault", [Fault.ERROR, Fault.TIMEOUT, Fault.END], ids=lambda fault: fault.value)
@pytest.mark.parametrize("story", STORIES)
async def test_p02_a_request_may_fail_at_every_step_of(
    world: World, story: str, fault: Fault, ca: CertificateAuthority, tls: ssl.SSLContext | None
) -> None:
    """m_io_fail: connect, write, read, over TLS too, each fails in turn: by a reset, a timeout, an early end."""
    failed = 0
    with two_peers(tls) as peers:
        for at in range(200):
            faults = Faults(at, fault)
            async with as_good_as_new(world, ca, peers, backend=faults.over(world.backend), timeout=PATIENCE) as http:
                error = await failure(STORIES[story](Stage(world, http, peers[0].origin)))
                faults.stop()
                if error is not None:
                    # What went wrong is said, and where (P60).
                    assert peers[0].authority in str(error)
                    failed += 1
                if not faults.has_failed:
                    break
            assert not faults.open_streams
        else:
            raise AssertionError("the story has no end")
    assert failed


@only_worlds("asyncio", "trio", "blocking")
@pytest.mark.parametrize("fault", [Fault.ERROR, Fault.END], ids=lambda fault: fault.value)
@pytest.mark.parametrize("story", ["a GET", "an upload of bytes", "a streamed download that is left early"])
async def test_p02_siblings_end_with_a_connection_that_fails_at_any_step(
    world: World, story: str, fault: Fault, ca: CertificateAuthority
) -> None:
    """They get their body, or an error of ours; the pool is as good as new."""
    with two_peers(None) as peers:
        for at in range(200):
            faults = Faults(at, fault)
            async with as_good_as_new(world, ca, peers, backend=faults.over(world.backend), timeout=PATIENCE) as http:
                stage = Stage(world, http, peers[0].origin)
                first = await failure(half_read_while(stage, STORIES[story]))
                faults.stop()
                if not faults.has_failed:
                    assert first is None
                    break
            assert not faults.open_streams
        else:
            raise AssertionError("the story has no end")
    assert at > 3


async def half_read_while(stage: Stage, story: Act) -> None:
    async with await stage.http.request("GET", stage.url + "/sibling", stream=True) as sibling:
        parts = sibling.raw()
        assert await anext(parts) == b"first, "
        await story(stage)
        assert (await stage.http.request("GET", stage.url + "/go-on")).body == b"gone on"
        assert [part async for part in parts] == [b"second"]


@only_worlds("blocking")
@pytest.mark.parametrize("story", STORIES)
async def test_p20_keyboard_interrupt_at_every_step_of_io(
    world: World, story: str, ca: CertificateAuthority, tls: ssl.SSLContext | None
) -> None:
    interrupted = 0
    with two_peers(tls) as peers:
        for at in range(200):
            faults = Faults(at, KeyboardInterrupt())
            async with as_good_as_new(world, ca, peers, backend=faults.over("blocking")) as http:
                try:
                    await STORIES[story](Stage(world, http, peers[0].origin))
                except KeyboardInterrupt:
                    interrupted += 1
                faults.stop()
                if not faults.has_failed:
                    break
            assert not faults.open_streams
    assert interrupted == at >= 3  # connect, send, receive


# Timeouts


async def test_a_read_timeout_costs_only_its_stream(world: World, ca: CertificateAuthority) -> None:
    with two_peers(None) as peers:
        async with as_good_as_new(world, ca, peers) as http, beside_a_sibling(http, peers[0]):
            timeout = httpcore.Timeout(5, read=0.1)
            error = await failure(http.request("GET", peers[0].origin + "/sibling", timeout=timeout))
            assert isinstance(error, httpcore.ReadTimeout)
        assert (3, Code.CANCEL) in peers[0].resets


async def test_a_total_timeout_costs_only_its_stream(world: World, ca: CertificateAuthority) -> None:
    with two_peers(None) as peers:
        async with as_good_as_new(world, ca, peers) as http, beside_a_sibling(http, peers[0]):
            timeout = httpcore.Timeout(5, total=0.1)
            error = await failure(http.request("GET", peers[0].origin + "/sibling", timeout=timeout))
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


async def test_p18_a_forgotten_response_costs_a_warning_and_its_stream(world: World, ca: CertificateAuthority) -> None:
    with two_peers(None) as peers:
        async with as_good_as_new(world, ca, peers) as http, beside_a_sibling(http, peers[0]):
            responses = [await http.request("GET", peers[0].origin + "/large", stream=True)]
            with pytest.warns(ResourceWarning, match="neither read to its end nor closed"):
                forget(responses)
            assert (await http.request("GET", peers[0].origin + "/get")).body == b"GET /get "
            await world.until(lambda: (3, Code.CANCEL) in peers[0].resets)


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
