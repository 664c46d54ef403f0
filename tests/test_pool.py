"""What the pool promises while it is used: limits, turns, order, statistics, closing (P04, P05, P10, P11, P14, P15)."""

from __future__ import annotations

import re
import statistics
import threading
import time
from collections.abc import AsyncIterator, Iterator
from functools import partial

import pytest

import httpcore
from httpcore.testing import Fault, Faults, MemoryNetwork, Peer, Script
from tests.support.peer import Conn, ScriptedPeer
from tests.support.servers import Server
from tests.support.tls import CertificateAuthority
from tests.support.worlds import World, can_cancel_worlds, drive, only_worlds

# More than is read at once, so that a response with it holds its connection until it is read or closed.
LARGE = b"x" * 1_000_000


def serve(conn: Conn) -> None:
    while True:
        request = conn.read_request()
        conn.respond(body=LARGE if request.target == b"/large" else b"served " + request.target)


# P04: limits, and turns


async def test_p04_there_are_never_more_connections_than_the_limit(world: World) -> None:
    """m_limit: at no instant, as seen where connections are made, while dials fail and connections end."""
    most = 0

    def script(peer: Peer) -> Script:
        nonlocal most
        most = max(most, len(network.open_peers) + 1)
        for _ in range(3):
            request = yield from peer.read_request()
            peer.respond(body=request.target)

    network = MemoryNetwork(script, world.backend)
    faults = Faults(at=11, fault=Fault.ERROR)
    limits = httpcore.Limits(max_connections=5, max_connections_per_origin=3)
    http = world.pool(backend=faults.over(network.backend), limits=limits)

    async def fetch(number: int) -> None:
        url = f"http://{number % 4}.example.org/{number}"
        assert (await http.request("GET", url)).body == b"/%d" % number

    results = await world.gather(*(partial(fetch, number) for number in range(60)))
    assert sum(isinstance(result, httpcore.HTTPCoreError) for result in results) <= 1
    assert sum(isinstance(result, Exception) for result in results) <= 1
    assert 4 <= most <= 5
    assert http.stats().opened == len(network.peers)


async def test_p04_a_limit_per_origin_keeps_a_hung_host_from_starving_others(world: World) -> None:
    def hang(conn: Conn) -> None:
        conn.read_request()
        conn.wait_closed()

    with ScriptedPeer(hang, expect_disconnect=True) as hung, ScriptedPeer(serve) as healthy:
        http = world.pool(limits=httpcore.Limits(max_connections=4, max_connections_per_origin=2))

        async def ask_the_hung_one() -> object:
            return await http.request("GET", hung.url, timeout=httpcore.Timeout(None))

        async with world.tasks() as tasks:
            started = [tasks.start(ask_the_hung_one) for _ in range(10)]
            await world.until(lambda: len(hung.requests) == 2 and http.stats().waiting == 8)
            for _ in range(20):
                response = await http.request("GET", healthy.url, timeout=httpcore.Timeout(pool=1))
                assert response.status_code == 200
            assert hung.accepted == 2
            await http.aclose()
            for task in started:
                assert isinstance((await task.finished()).error, (httpcore.ReadError, httpcore.PoolClosed))


async def test_p04_origins_share_a_full_pool_in_turns(world: World) -> None:
    """With one slot, and ten requests for each of three origins, none is served twice while another waits."""
    order: list[int] = []

    def script(conn: Conn) -> None:
        while True:
            conn.read_request()
            order.append(conn.peer.port)
            conn.respond()

    with ScriptedPeer(script) as one, ScriptedPeer(script) as two, ScriptedPeer(script) as three:
        http = world.pool(limits=httpcore.Limits(max_connections=1), timeout=20)
        held = await http.request("GET", one.url)
        order.clear()
        with ScriptedPeer(serve, expect_disconnect=True) as holder:
            held = await http.request("GET", holder.origin + "/large", stream=True)

            async def let_go() -> None:
                await world.until(lambda: http.stats().waiting == 30)
                await held.aclose()

            jobs = [partial(http.request, "GET", peer.url) for peer in (one, two, three) for _ in range(10)]
            async with world.tasks() as tasks:
                tasks.start(let_go)
                await world.gather_ok(*jobs)
        turns = [order[start : start + 3] for start in range(0, 30, 3)]
        assert all(len(set(turn)) == 3 for turn in turns), turns


async def test_p04_what_is_opened_for_turns_is_not_closed_in_vain(world: World) -> None:
    """Two origins that fit into the pool keep their connections, however many requests wait."""
    with ScriptedPeer(serve) as one, ScriptedPeer(serve) as two, ScriptedPeer(serve) as holder:
        http = world.pool(limits=httpcore.Limits(max_connections=4), timeout=20)
        held = [await http.request("GET", holder.origin + "/large", stream=True) for _ in range(4)]

        async def let_go() -> None:
            # A thread that begins late is one that needed nothing for a while.
            await world.until(lambda: http.stats().waiting == 100)
            for response in held:
                await response.read()

        jobs = [partial(http.request, "GET", peer.url) for peer in (one, two) for _ in range(50)]
        await world.gather_ok(let_go, *jobs)
        # Two more each when the other needs its own no longer.
        assert one.accepted + two.accepted <= 8
        assert len(one.requests) == len(two.requests) == 50


# P05: first in, first out


async def test_p05_waiters_are_served_in_their_order_and_no_newcomer_passes_them(world: World) -> None:
    with ScriptedPeer(serve) as peer:
        http = world.pool(limits=httpcore.Limits(max_connections=1))
        held = await http.request("GET", peer.origin + "/large", stream=True)

        async def ask(number: int) -> None:
            await http.request("GET", f"{peer.origin}/{number}")

        async with world.tasks() as tasks:
            for number in range(20):
                tasks.start(partial(ask, number))
                await world.until(partial(lambda waiting: http.stats().waiting == waiting, number + 1))
            await held.read()
            # The connection is free, and whoever waits for it may not even have resumed.
            tasks.start(lambda: ask(20))
        assert [request.target for request in peer.requests[1:]] == [b"/%d" % number for number in range(21)]
        assert peer.accepted == 1


@pytest.mark.time_limit(180)
async def test_p05_500_workers_on_100_connections_wait_equally_long(world: World, uvicorn_server: Server) -> None:
    """A 50 ms server: p99 at most 1.5 times p50. Threads are too heavy for that many, so there are fewer of them."""
    workers, connections = (500, 100) if world.can_cancel else (100, 20)
    http = world.pool(limits=httpcore.Limits(max_connections=connections), timeout=30)

    async def all_of_them() -> tuple[float, float]:
        seconds: list[float] = []

        async def work() -> None:
            for round in range(4):
                began = time.perf_counter()
                await http.request("GET", uvicorn_server.http + "/slow?delay=0.05")
                if round:  # in the first the line forms
                    seconds.append(time.perf_counter() - began)

        await world.gather_ok(*[work] * workers)
        percentiles = statistics.quantiles(seconds, n=100)
        return percentiles[98], percentiles[49]

    seen: list[tuple[float, float]] = []
    # A machine that stops everybody for a moment makes some of them wait longer; who is passed over is so each time.
    while not any(p99 <= 1.5 * p50 for p99, p50 in seen):
        assert len(seen) < 5, seen
        seen.append(await all_of_them())
    assert http.stats().opened == connections


# P10: take what comes first


@can_cancel_worlds
async def test_p10_a_waiter_takes_a_freed_connection_before_its_own_slow_dial_which_is_banked(
    world: World, ca: CertificateAuthority
) -> None:
    context = ca.server_context()
    context.num_tickets = 0  # tickets are bytes too, and would end the connection while it is idle

    def script(conn: Conn) -> None:
        if conn.index == 1:
            gate.wait()
        conn.start_tls(context)
        serve(conn)

    with ScriptedPeer(script) as peer:
        gate = peer.gate()
        http = world.pool(ssl=ca.client_context())
        url = f"https://{peer.authority}"
        held = await http.request("GET", url + "/large", stream=True)
        async with world.tasks() as tasks:
            task = tasks.start(lambda: http.request("GET", url + "/second"))
            await world.until(lambda: peer.accepted == 2)
            assert http.stats().opening == 1
            await held.read()
            assert (await task.outcome()).body == b"served /second"
        assert [request.connection for request in peer.requests] == [0, 0]
        assert (http.stats().opening, http.stats().idle) == (1, 1)
        gate.open()
        await world.until(lambda: http.stats().idle == 2)
        # Both can be used: two responses at once, and no third connection.
        first = await http.request("GET", url + "/large", stream=True)
        second = await http.request("GET", url + "/large", stream=True)
        assert await first.read() == await second.read() == LARGE
        assert peer.accepted == 2


# P11: idle connections


async def test_p11_the_default_limits_do_not_churn(world: World) -> None:
    """Bursts of 50 make 50 connections, once."""
    with ScriptedPeer(serve) as peer:
        http = world.pool()
        for _ in range(30):
            await world.gather_ok(*[lambda: http.request("GET", peer.url)] * 50)
        assert len(peer.requests) == 1500
        assert peer.accepted <= 50
        assert http.stats().idle == peer.accepted
        if world.can_cancel:
            assert peer.accepted == 50  # threads may be done before others have begun


async def test_p11_the_cap_on_idle_connections_counts_no_active_ones(world: World) -> None:
    """m_keepalive_count: 5 active and 3 idle are fine with a cap of 3."""
    with ScriptedPeer(serve, expect_disconnect=True) as peer:
        http = world.pool(limits=httpcore.Limits(max_keepalive_connections=3))
        held = [await http.request("GET", peer.origin + "/large", stream=True) for _ in range(8)]
        for response in held[:3]:
            await response.read()
        assert (http.stats().active, http.stats().idle) == (5, 3)
        assert peer.open_connections == 8
        for response in held[3:]:
            await response.read()
        assert (http.stats().active, http.stats().idle) == (0, 3)
        assert http.stats().closed == {"too many idle": 5}
        await world.until(lambda: peer.open_connections == 3)


async def test_p11_the_least_recently_used_idle_connection_goes_first(world: World) -> None:
    with ScriptedPeer(serve) as one, ScriptedPeer(serve) as two, ScriptedPeer(serve) as three:
        http = world.pool(limits=httpcore.Limits(max_keepalive_connections=2))
        for peer in (one, two, one, three):
            await http.request("GET", peer.url)
        await world.until(lambda: two.open_connections == 0)
        assert (one.open_connections, three.open_connections) == (1, 1)


async def test_p11_a_full_pool_makes_room_by_closing_the_least_recently_used_idle_connection(world: World) -> None:
    with ScriptedPeer(serve) as one, ScriptedPeer(serve) as two, ScriptedPeer(serve) as three:
        http = world.pool(limits=httpcore.Limits(max_connections=2))
        for peer in (one, two, one, three):
            await http.request("GET", peer.url)
        await world.until(lambda: two.open_connections == 0)
        assert (one.open_connections, three.open_connections) == (1, 1)
        assert http.stats().origins[two.origin].closed == {"made room for another origin": 1}


# P14: introspection


async def test_p14_stats_agree_with_the_log_of_the_server(world: World) -> None:
    def script(conn: Conn) -> None:
        for _ in range(3):  # then the connection ends, while it is idle
            conn.read_request()
            conn.respond()

    with ScriptedPeer(script) as one, ScriptedPeer(serve) as two:
        http = world.pool()
        for _ in range(7):
            await http.request("GET", one.url)
            await world.until(lambda: all(conn.is_open == (len(conn.requests) < 3) for conn in one.connections))
        for _ in range(4):
            await http.request("GET", two.url)
        await http.request("GET", two.url, {"connection": "close"})
        held = await http.request("GET", two.origin + "/large", stream=True)

        stats = http.stats()
        assert stats.origins[one.origin].opened == one.accepted == 3
        assert stats.origins[one.origin].reused == len(one.requests) - one.accepted == 4
        assert sum(stats.origins[one.origin].closed.values()) == 2
        assert stats.origins[two.origin].opened == two.accepted == 2
        assert stats.origins[two.origin].reused == len(two.requests) - two.accepted == 4
        assert stats.origins[two.origin].closed == {"not reusable": 1}
        assert (stats.origins[two.origin].active, stats.origins[two.origin].idle) == (1, 0)
        # The sums, the list of connections and the repr say the same.
        assert (stats.opened, stats.reused, stats.retried) == (5, 8, 0)
        assert (stats.active, stats.idle, stats.opening, stats.waiting) == (1, 1, 0, 0)
        assert sorted((each.origin, each.state, each.requests) for each in http.connections) == sorted(
            [(one.origin, "idle", 1), (two.origin, "active", 1)]
        )
        name = type(http).__name__
        assert repr(http) == f"<{name}: 1 active, 1 idle, 0 opening, 0 waiting, of at most 100>"
        await held.read()


async def test_p14_a_request_that_is_sent_again_is_counted(world: World) -> None:
    def script(conn: Conn) -> None:
        conn.read_request()
        conn.respond()
        if conn.index == 0:
            conn.read_request()  # and ends without an answer
        else:
            serve(conn)

    with ScriptedPeer(script) as peer:
        http = world.pool()
        await http.request("GET", peer.url)
        await http.request("GET", peer.url)
        stats = http.stats().origins[peer.origin]
        assert (stats.opened, stats.reused, stats.retried) == (2, 1, 1)
        assert len(peer.requests) == 3


async def test_p14_stats_show_what_waits_and_what_is_opening(world: World, black_hole: tuple[str, int]) -> None:
    url = "http://{}:{}/".format(*black_hole)
    http = world.pool(limits=httpcore.Limits(max_connections=2))

    async def ask() -> None:
        with pytest.raises((httpcore.PoolClosed, httpcore.ConnectError, httpcore.ConnectTimeout)):
            await http.request("GET", url, timeout=httpcore.Timeout(connect=2, pool=20))

    async with world.tasks() as tasks:
        for _ in range(5):
            tasks.start(ask)
        await world.until(lambda: http.stats().waiting >= 3 and http.stats().opening == 2)
        assert [each.state for each in http.connections] == ["opening", "opening"]
        assert "2 opening" in repr(http)
        await http.aclose()
    assert repr(http).startswith("<closed ")
    assert http.connections == []


async def test_p14_pool_timeout_says_how_long_it_waited_for_what_and_who_holds_the_slots(world: World) -> None:
    with ScriptedPeer(serve, expect_disconnect=True) as one, ScriptedPeer(serve, expect_disconnect=True) as two:
        http = world.pool(limits=httpcore.Limits(max_connections=3))
        held = [await http.request("GET", peer.origin + "/large", stream=True) for peer in (one, one, two)]
        began = time.monotonic()
        with pytest.raises(httpcore.PoolTimeout) as caught:
            await http.request("GET", two.url, timeout=httpcore.Timeout(pool=0.1))
        seconds = time.monotonic() - began
        message = str(caught.value)
        waited = re.search(rf"no connection to {re.escape(two.origin)} became free within (\d+\.\d+) s", message)
        assert waited is not None, message
        assert 0.09 <= float(waited[1]) <= seconds + 0.01  # it is rounded
        assert f"{one.origin}: 2 active" in message
        assert f"{two.origin}: 1 active" in message
        assert "at most 3" in message
        assert caught.value.request_sent is False
        assert http.stats().waiting == 0
        for response in held:
            await response.aclose()
        assert (await http.request("GET", two.url)).status_code == 200


# P15: closing


async def test_p15_aclose_ends_whatever_waits_dials_or_runs(world: World, black_hole: tuple[str, int]) -> None:
    """m_close_race: each gets an error that says so, none hangs, and no connection is left."""

    def hang(conn: Conn) -> None:
        head = conn.read_head()
        if head.target == b"/body":
            conn.send(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab")
        conn.wait_closed()

    with ScriptedPeer(hang, expect_disconnect=True) as peer:
        http = world.pool(limits=httpcore.Limits(max_connections=3), timeout=httpcore.Timeout(None))
        urls = [peer.url, peer.origin + "/body", "http://{}:{}/".format(*black_hole), peer.url + "waiting"]
        async with world.tasks() as tasks:
            started = []
            for index, url in enumerate(urls):
                # In the blocking world a dial cannot be interrupted, and is bounded by its own timeout.
                timeout = httpcore.Timeout(None, connect=2)
                started.append(tasks.start(partial(http.request, "GET", url, timeout=timeout)))
                began = min(index + 1, 3)
                await world.until(partial(lambda count: len(peer.requests) + http.stats().opening >= count, began))
            await world.until(lambda: http.stats().waiting >= 1 and len(peer.requests) == 2)
            closed_at = time.monotonic()
            await http.aclose()
            errors = [(await task.finished()).error for task in started]
            assert time.monotonic() - closed_at < 5
        head, body, dial, waiting = errors
        assert isinstance(head, httpcore.ReadError)
        assert isinstance(body, httpcore.ReadError)
        assert isinstance(dial, httpcore.PoolClosed if world.can_cancel else httpcore.HTTPCoreError)
        assert isinstance(waiting, httpcore.PoolClosed)
        assert not waiting.request_sent
        assert peer.authority in str(head)
        assert http.connections == []
        await world.until(lambda: peer.open_connections == 0)


async def test_p15_a_closed_pool_refuses_requests_and_closes_again(world: World) -> None:
    with ScriptedPeer(serve) as peer:
        http = world.pool()
        await http.request("GET", peer.url)
        await http.aclose()
        await http.aclose()
        with pytest.raises(httpcore.PoolClosed, match="closed"):
            await http.request("GET", peer.url)
        with pytest.raises(httpcore.PoolClosed):
            await http.request("GET", peer.url, stream=True)
        assert await http.drain(1)
        assert len(peer.requests) == 1


async def test_p15_a_pool_that_was_never_used_can_be_closed(world: World) -> None:
    async with httpcore.ConnectionPool(backend=world.backend) as http:
        pass
    with pytest.raises(httpcore.PoolClosed):
        await http.request("GET", "http://127.0.0.1:9/")


async def test_p15_drain_finishes_what_runs_and_refuses_what_is_new(world: World) -> None:
    def script(conn: Conn) -> None:
        conn.read_request()
        gate.wait()
        conn.respond(body=b"finished")
        assert conn.wait_closed()

    with ScriptedPeer(script) as peer:
        gate = peer.gate()
        http = world.pool(limits=httpcore.Limits(max_connections=2))
        async with world.tasks() as tasks:
            running = [tasks.start(lambda: http.request("GET", peer.url)) for _ in range(2)]
            await world.until(lambda: len(peer.requests) == 2)
            waiting = tasks.start(lambda: http.request("GET", peer.url))
            await world.until(lambda: http.stats().waiting)
            draining = [tasks.start(lambda: http.drain(10)), tasks.start(lambda: http.drain())]
            assert isinstance((await waiting.finished()).error, httpcore.PoolClosed)
            with pytest.raises(httpcore.PoolClosed):
                await http.request("GET", peer.url)
            assert not draining[0].is_done
            gate.open()
            assert [(await task.outcome()).body for task in running] == [b"finished"] * 2
            assert [await task.outcome() for task in draining] == [True, True]
        assert http.connections == []


async def test_p15_drain_gives_up_in_time_and_closes_what_still_runs(world: World) -> None:
    def hang(conn: Conn) -> None:
        conn.read_request()
        assert conn.wait_closed()

    with ScriptedPeer(hang) as peer:
        http = world.pool()
        async with world.tasks() as tasks:
            task = tasks.start(lambda: http.request("GET", peer.url))
            await world.until(lambda: peer.requests)
            began = time.monotonic()
            assert not await http.drain(0.2)
            assert 0.19 <= time.monotonic() - began < 2
            assert isinstance((await task.finished()).error, httpcore.ReadError)


async def test_p15_close_idle_closes_what_no_request_uses_and_nothing_else(world: World) -> None:
    with ScriptedPeer(serve) as peer:
        http = world.pool()
        held = [await http.request("GET", peer.origin + "/large", stream=True) for _ in range(3)]
        await held[0].read()
        await http.close_idle()
        await world.until(lambda: peer.open_connections == 2)
        assert (http.stats().active, http.stats().idle) == (2, 0)
        assert await held[1].read() == await held[2].read() == LARGE
        assert (await http.request("GET", peer.url)).status_code == 200
        assert peer.accepted == 3


async def test_e_close_hang_closing_does_not_wait_for_the_peer(world: World, ca: CertificateAuthority) -> None:
    """A peer that never answers our close_notify, nor our FIN."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.respond(body=LARGE)
        gate.wait()

    with ScriptedPeer(script, tls=ca.server_context(), expect_disconnect=True) as peer:
        gate = peer.gate()
        http = world.pool(ssl=ca.client_context())
        response = await http.request("GET", peer.url, stream=True)
        began = time.monotonic()
        await response.aclose()
        await http.aclose()
        assert time.monotonic() - began < 2
        gate.open()


# Elsewhere


async def test_m_body_reent_a_request_from_within_a_body_waits_for_the_pool_and_does_not_deadlock(world: World) -> None:
    with ScriptedPeer(serve, expect_disconnect=True) as peer:
        http = world.pool(limits=httpcore.Limits(max_connections=1))
        timeout = httpcore.Timeout(pool=0.1)

        async def body() -> AsyncIterator[bytes]:
            yield (await http.request("GET", peer.url, timeout=timeout)).body

        def plain_body() -> Iterator[bytes]:
            yield drive(http.request("GET", peer.url, timeout=timeout)).body

        with pytest.raises(httpcore.PoolTimeout):
            await http.request("POST", peer.url, body=body() if world.can_cancel else plain_body())
        assert (await http.request("GET", peer.url)).status_code == 200


@only_worlds("asyncio", "uvloop", "trio")
async def test_m_loop_close_a_pool_that_another_running_loop_uses_is_refused_with_reasons(world: World) -> None:
    with ScriptedPeer(serve) as peer:
        http = world.pool()
        await http.request("GET", peer.url)
        errors: list[BaseException] = []

        def elsewhere() -> None:
            other = type(world)()
            with pytest.raises(RuntimeError, match="another event loop") as caught:
                other.run(lambda: http.request("GET", peer.url))
            errors.append(caught.value)

        thread = threading.Thread(target=elsewhere)
        thread.start()
        await world.until(lambda: not thread.is_alive())
        thread.join()
        assert len(errors) == 1
        assert (await http.request("GET", peer.url)).status_code == 200
        assert peer.accepted == 1


def test_m_loop_close_a_pool_outside_of_any_loop_says_what_to_do() -> None:
    http = httpcore.ConnectionPool()
    with pytest.raises(RuntimeError, match="SyncConnectionPool"):
        drive(http.request("GET", "http://127.0.0.1:9/"))
