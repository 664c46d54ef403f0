"""Nothing takes longer than it may (P06, and FAULTS section E)."""

from __future__ import annotations

import contextlib
import gc
import math
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

import httpcore
from tests.support.black_hole import black_hole as another_black_hole
from tests.support.peer import Conn, ScriptedPeer
from tests.support.tls import CertificateAuthority
from tests.support.ways import every_way
from tests.support.worlds import World, can_cancel_worlds, only_worlds

# How late a timeout may come. Most of it is for a machine that has other things to do, and all of it is far from
# whatever else would end the wait; the promise, 50 ms, has a test of its own.
SLACK = 2.0
# More than is read at once, so that a response with it holds its connection until it is read or closed.
LARGE = b"x" * 1_000_000


# uvloop runs the same code as asyncio, and time is dear here.
one_of_each = only_worlds("asyncio", "trio", "blocking")


def serve(conn: Conn) -> None:
    while True:
        request = conn.read_request()
        conn.respond(body=LARGE if request.target == b"/large" else b"served")


def hang(conn: Conn) -> None:
    """Read no further, and answer nothing, until the client is gone."""
    conn.read_head()
    while conn.is_open:
        time.sleep(0.005)


class took:
    """Asserts that a block takes so many seconds, and not much more."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        self._began = time.monotonic()

    def __exit__(self, *exc_info: object) -> None:
        elapsed = time.monotonic() - self._began
        assert self._seconds - 0.01 <= elapsed < self._seconds + SLACK, elapsed


# P06: one total deadline


@dataclass
class Phase:
    """A place at which a request can be held up.

    Args:
        name: what the message calls it.
        ask: makes the request, with a timeout, of a pool that hangs there.
        request_sent: whether the peer may have seen something of it.
    """

    name: str
    ask: Callable[[httpcore.Timeout], Awaitable[object]]
    request_sent: bool


@contextlib.asynccontextmanager
async def waiting(world: World, ca: CertificateAuthority) -> AsyncIterator[Phase]:
    with ScriptedPeer(serve, expect_disconnect=True) as peer:
        http = world.pool(limits=httpcore.Limits(max_connections=1))
        held = await http.request("GET", peer.origin + "/large", stream=True)
        yield Phase("waiting for a connection", lambda timeout: http.request("GET", peer.url, timeout=timeout), False)
        await held.aclose()
        assert http.stats().waiting == 0


@contextlib.asynccontextmanager
async def resolving(world: World, ca: CertificateAuthority) -> AsyncIterator[Phase]:
    async def resolve(host: str, port: int) -> list[str]:
        await world.sleep(3600)
        return []

    http = world.pool(network=httpcore.Network(resolver=resolve))
    url = "http://name.example/"
    yield Phase("resolving name.example", lambda timeout: http.request("GET", url, timeout=timeout), False)
    assert http.connections == []


@contextlib.asynccontextmanager
async def connecting(world: World, ca: CertificateAuthority) -> AsyncIterator[Phase]:
    with another_black_hole() as (host, port):
        http = world.pool()
        url = f"http://{host}:{port}/"
        yield Phase("connecting", lambda timeout: http.request("GET", url, timeout=timeout), False)
        assert http.connections == []


@contextlib.asynccontextmanager
async def connecting_again(world: World, ca: CertificateAuthority) -> AsyncIterator[Phase]:
    with ScriptedPeer(serve) as peer:
        peer.stop_listening()
        http = world.pool(retries=10)
        yield Phase("waiting to connect again", lambda timeout: http.request("GET", peer.url, timeout=timeout), False)
        assert http.connections == []


@contextlib.asynccontextmanager
async def in_the_handshake(world: World, ca: CertificateAuthority) -> AsyncIterator[Phase]:
    def script(conn: Conn) -> None:
        conn.wait_closed()

    with ScriptedPeer(script) as peer:
        http = world.pool(ssl=ca.client_context())
        url = f"https://{peer.authority}/"
        yield Phase("in the TLS handshake", lambda timeout: http.request("GET", url, timeout=timeout), False)
        assert http.connections == []
        await world.until(lambda: not peer.open_connections)


@contextlib.asynccontextmanager
async def sending(world: World, ca: CertificateAuthority) -> AsyncIterator[Phase]:
    with ScriptedPeer(hang, expect_disconnect=True) as peer:
        http = world.pool()
        body = b"x" * 50_000_000
        yield Phase(
            "sending the body", lambda timeout: http.request("POST", peer.url, body=body, timeout=timeout), True
        )
        assert http.connections == []


@contextlib.asynccontextmanager
async def waiting_for_the_callers_body(world: World, ca: CertificateAuthority) -> AsyncIterator[Phase]:
    async def body() -> AsyncIterator[bytes]:
        yield b"begun"
        await world.sleep(3600)

    with ScriptedPeer(hang, expect_disconnect=True) as peer:
        http = world.pool()
        yield Phase(
            "sending the body", lambda timeout: http.request("POST", peer.url, body=body(), timeout=timeout), True
        )
        assert http.connections == []


@contextlib.asynccontextmanager
async def expecting_100(world: World, ca: CertificateAuthority) -> AsyncIterator[Phase]:
    with ScriptedPeer(hang, expect_disconnect=True) as peer:
        http = world.pool()

        def ask(timeout: httpcore.Timeout) -> Awaitable[object]:
            return http.request("POST", peer.url, {"expect": "100-continue"}, b"x", timeout=timeout)

        yield Phase("waiting for 100 Continue", ask, True)
        assert http.connections == []


@contextlib.asynccontextmanager
async def waiting_for_the_head(world: World, ca: CertificateAuthority) -> AsyncIterator[Phase]:
    with ScriptedPeer(hang, expect_disconnect=True) as peer:
        http = world.pool()
        yield Phase("waiting for the response", lambda timeout: http.request("GET", peer.url, timeout=timeout), True)
        assert http.connections == []


@contextlib.asynccontextmanager
async def dripping(world: World, ca: CertificateAuthority) -> AsyncIterator[Phase]:
    """A byte now and then, so that no read takes long."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        for _ in range(1000):
            conn.send(b"x")
            time.sleep(0.02)

    with ScriptedPeer(script, expect_disconnect=True) as peer:
        http = world.pool()
        yield Phase("reading the body", lambda timeout: http.request("GET", peer.url, timeout=timeout), True)
        assert http.connections == []


PHASES = [
    waiting,
    connecting,
    connecting_again,
    in_the_handshake,
    sending,
    expecting_100,
    waiting_for_the_head,
    dripping,
]


async def test_p06_the_total_deadline_comes_at_most_50_ms_late(world: World) -> None:
    with ScriptedPeer(hang, expect_disconnect=True) as peer:
        http = world.pool()
        lateness = [math.inf]
        # A busy machine wakes nobody in time now and then, but not each time.
        while min(lateness) >= 0.05 and len(lateness) < 20:
            began = time.monotonic()
            with pytest.raises(httpcore.TotalTimeout):
                await http.request("GET", peer.url, timeout=httpcore.Timeout(30, total=0.1))
            lateness.append(time.monotonic() - began - 0.1)
        assert min(lateness) < 0.05, lateness


async def check_total(world: World, ca: CertificateAuthority, phase: Any) -> None:
    async with phase(world, ca) as held_up:
        with took(0.2), pytest.raises(httpcore.TotalTimeout) as caught:
            await held_up.ask(httpcore.Timeout(30, total=0.2))
        message = str(caught.value)
        assert "the total timeout of 0.2 s passed" in message
        assert held_up.name in message
        assert caught.value.request_sent is held_up.request_sent
    del caught
    gc.collect()  # the caller's generator, to which the traceback refers


@pytest.mark.parametrize("phase", PHASES, ids=lambda phase: phase.__name__)
async def test_p06_the_total_deadline_ends_a_request_in_every_phase_and_names_it(
    world: World, ca: CertificateAuthority, phase: Any
) -> None:
    await check_total(world, ca, phase)


@can_cancel_worlds
@pytest.mark.parametrize("phase", [resolving, waiting_for_the_callers_body], ids=lambda phase: phase.__name__)
async def test_p06_the_total_deadline_ends_what_the_caller_lets_us_await(
    world: World, ca: CertificateAuthority, phase: Any
) -> None:
    await check_total(world, ca, phase)


async def test_p06_the_total_deadline_runs_on_while_the_caller_reads_a_stream(world: World) -> None:
    def script(conn: Conn) -> None:
        conn.read_request()
        conn.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n" + b"x" * 50)
        conn.wait_closed()

    with ScriptedPeer(script) as peer:
        http = world.pool()
        with took(0.5):
            response = await http.request("GET", peer.url, stream=True, timeout=httpcore.Timeout(30, total=0.5))
            parts = response.stream()
            assert len(await anext(parts)) == 50
            with pytest.raises(httpcore.TotalTimeout, match="reading the body"):
                await anext(parts)
        assert http.stats().active == 0
        await world.until(lambda: not peer.open_connections)


async def test_p06_what_was_received_in_time_can_be_read_after_the_deadline(world: World) -> None:
    with ScriptedPeer(serve) as peer:
        http = world.pool()
        response = await http.request("GET", peer.url, stream=True, timeout=httpcore.Timeout(total=0.6))
        await world.until(lambda: response.is_closed or http.stats().active)
        await world.sleep(0.7)
        if response.is_closed:  # all of it came with the head
            assert await response.read() == b"served"
        await response.aclose()
        assert (await http.request("GET", peer.url)).body == b"served"


async def test_p06_a_generous_total_changes_nothing(world: World) -> None:
    with ScriptedPeer(serve) as peer:
        http = world.pool(timeout=httpcore.Timeout(total=60))
        for _ in range(3):
            assert (await http.request("GET", peer.url)).body == b"served"
        assert peer.accepted == 1


@can_cancel_worlds
@pytest.mark.parametrize("how", ["total", "cancelled"])
async def test_p06_a_dial_that_somebody_else_began_does_not_bring_their_deadline_along(world: World, how: str) -> None:
    """Two requests want the one connection that there may be. The first gives up; the second has all its time."""

    async def resolve(host: str, port: int) -> list[str]:
        if not resolved:
            resolved.append(host)
            await world.sleep(3600)
        return ["127.0.0.1"]

    resolved: list[str] = []
    impatient = httpcore.Timeout(30, total=0.5) if how == "total" else httpcore.Timeout(30, connect=0.5)
    with ScriptedPeer(serve) as peer:
        http = world.pool(limits=httpcore.Limits(max_connections=1), network=httpcore.Network(resolver=resolve))
        url = peer.url.replace("127.0.0.1", "localhost")
        async with world.tasks() as tasks:
            first = tasks.start(lambda: http.request("GET", url, timeout=impatient))
            await world.until(lambda: resolved)
            second = tasks.start(lambda: http.request("GET", url))
            await world.until(lambda: http.stats().waiting == 2)
            if how == "cancelled":
                first.cancel()
            await first.finished()
            assert first.is_cancelled or isinstance(first.error, httpcore.TotalTimeout)
            assert (await second.outcome()).body == b"served"


@can_cancel_worlds
async def test_p06_a_dial_that_somebody_else_began_does_not_hold_a_request_for_ever(
    world: World, black_hole: tuple[str, int]
) -> None:
    """The first request would wait for ever, and is cancelled; the second takes its dial over, and has a deadline."""
    http = world.pool(limits=httpcore.Limits(max_connections=1))
    url = "http://{}:{}/".format(*black_hole)
    patient, impatient = httpcore.Timeout(None), httpcore.Timeout(None, connect=0.2)
    async with world.tasks() as tasks:
        first = tasks.start(lambda: http.request("GET", url, timeout=patient))
        await world.until(lambda: http.stats().opening)
        second = tasks.start(lambda: http.request("GET", url, timeout=impatient))
        await world.until(lambda: http.stats().waiting == 2)
        with took(0.2):
            first.cancel()
            with pytest.raises(httpcore.ConnectTimeout, match="connecting"):
                await second.outcome()
    assert http.connections == []


# E: connecting


@one_of_each
async def test_e_connect_drop_a_connect_timeout_comes_in_time(world: World, black_hole: tuple[str, int]) -> None:
    http = world.pool()
    url = "http://{}:{}/".format(*black_hole)
    with took(0.2), pytest.raises(httpcore.ConnectTimeout) as caught:
        await http.request("GET", url, timeout=httpcore.Timeout(30, connect=0.2))
    assert "{}:{}".format(*black_hole) in str(caught.value)
    assert "connecting" in str(caught.value)
    assert caught.value.request_sent is False
    assert http.stats().closed == {"failed to open": 1}


@one_of_each
async def test_e_connect_many_four_addresses_are_black_holes_and_the_fifth_answers(world: World) -> None:
    """One deadline for all of them."""
    with ScriptedPeer(serve) as peer, ExitStack() as stack:
        addresses = [f"127.0.0.{number}" for number in range(2, 6)]
        for address in addresses:
            stack.enter_context(another_black_hole(address, peer.port))
        network = httpcore.Network(resolver=lambda host, port: [*addresses, "127.0.0.1"])
        http = world.pool(network=network)
        began = time.monotonic()
        response = await http.request("GET", f"http://many.example:{peer.port}/", timeout=httpcore.Timeout(connect=2))
        assert response.body == b"served"
        # With a timeout for each address it would take four times 2 s.
        assert time.monotonic() - began < 2 + SLACK


@one_of_each
async def test_e_connect_many_all_addresses_are_black_holes(world: World, black_hole: tuple[str, int]) -> None:
    host, port = black_hole
    with another_black_hole("127.0.0.2", port):
        http = world.pool(network=httpcore.Network(resolver=lambda *_: [host, "127.0.0.2"]))
        with took(0.4), pytest.raises(httpcore.ConnectTimeout, match=r"127\.0\.0\.2") as caught:
            await http.request("GET", f"http://many.example:{port}/", timeout=httpcore.Timeout(30, connect=0.4))
        assert f"{host}:{port}" in str(caught.value)


@one_of_each
async def test_e_tls_hang_a_peer_that_never_answers_the_handshake(world: World, ca: CertificateAuthority) -> None:
    def script(conn: Conn) -> None:
        conn.wait_closed()

    with ScriptedPeer(script) as peer:
        http = world.pool(ssl=ca.client_context())
        with took(0.2), pytest.raises(httpcore.ConnectTimeout, match="TLS handshake"):
            await http.request("GET", f"https://{peer.authority}/", timeout=httpcore.Timeout(30, connect=0.2))
        assert http.connections == []
        await world.until(lambda: not peer.open_connections)


# E: reading and writing


@every_way
@one_of_each
async def test_e_body_stall_a_head_two_bytes_and_silence(world: World, engine: str) -> None:
    def script(conn: Conn) -> None:
        conn.read_request()
        conn.send(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nab")
        conn.wait_closed()

    with ScriptedPeer(script) as peer:
        http = world.pool(http1_engine=engine)
        with took(0.2), pytest.raises(httpcore.ReadTimeout, match="reading the body") as caught:
            await http.request("GET", peer.url, timeout=httpcore.Timeout(30, read=0.2))
        assert caught.value.request_sent is True
        assert http.connections == []
        await world.until(lambda: not peer.open_connections)


@every_way
@one_of_each
async def test_e_drip_head_each_byte_comes_in_time_and_the_head_does_not(world: World, engine: str) -> None:
    def script(conn: Conn) -> None:
        conn.read_request()
        conn.send(b"HTTP/1.1 200 OK\r\n")
        for _ in range(100):
            conn.send(b"x")
            time.sleep(0.05)

    with ScriptedPeer(script, expect_disconnect=True) as peer:
        http = world.pool(http1_engine=engine)
        with took(0.2), pytest.raises(httpcore.ReadTimeout, match="waiting for the response"):
            await http.request("GET", peer.url, timeout=httpcore.Timeout(30, read=0.2))
        assert http.connections == []


@every_way
@one_of_each
async def test_e_drip_body_without_a_total_is_received_byte_by_byte(world: World) -> None:
    """Slow is not dead: the read timeout is about silence."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.send(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n")
        for _ in range(10):
            conn.send(b"x")
            time.sleep(0.12)
        conn.wait_closed()

    with ScriptedPeer(script) as peer:
        http = world.pool()
        assert (await http.request("GET", peer.url, timeout=httpcore.Timeout(30, read=1))).body == b"x" * 10


@every_way
@one_of_each
async def test_e_a_peer_that_takes_nothing_is_a_write_timeout(world: World) -> None:
    with ScriptedPeer(hang, expect_disconnect=True) as peer:
        http = world.pool()
        with took(0.2), pytest.raises(httpcore.WriteTimeout, match="sending the body") as caught:
            await http.request("POST", peer.url, body=b"x" * 50_000_000, timeout=httpcore.Timeout(30, write=0.2))
        assert caught.value.request_sent is True
        assert http.connections == []


@pytest.mark.parametrize("is_secure", [False, True], ids=["in clear", "over TLS"])
async def test_e_a_head_that_is_not_taken_may_have_been_sent(
    world: World, ca: CertificateAuthority, is_secure: bool
) -> None:
    """Some of it has left, whatever became of the rest."""
    network = httpcore.Network(socket_options=((socket.SOL_SOCKET, socket.SO_SNDBUF, 4096),))

    def script(conn: Conn) -> None:
        failed.wait()

    with ScriptedPeer(script, tls=ca.server_context() if is_secure else None, expect_disconnect=True) as peer:
        failed = peer.gate()
        http = world.pool(network=network, ssl=ca.client_context())
        with took(0.2), pytest.raises(httpcore.WriteTimeout, match="sending the request") as caught:
            await http.request("GET", peer.url, [("x", "y" * 900_000)], timeout=httpcore.Timeout(30, write=0.2))
        assert caught.value.request_sent is True
        assert http.connections == []
        failed.open()


@every_way
@one_of_each
async def test_e_closing_a_response_that_drips_takes_no_time(world: World) -> None:
    """P19: what is left is read for 20 ms, not for ever."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        for _ in range(1000):
            conn.send(b"x")
            time.sleep(0.005)

    with ScriptedPeer(script, expect_disconnect=True) as peer:
        http = world.pool()
        response = await http.request("GET", peer.url, stream=True)
        began = time.monotonic()
        await response.aclose()
        assert time.monotonic() - began < SLACK
        assert http.connections == []


# E: values


@one_of_each
async def test_e_zero_connect(world: World, black_hole: tuple[str, int]) -> None:
    http = world.pool()
    with took(0), pytest.raises(httpcore.ConnectTimeout):
        await http.request("GET", "http://{}:{}/".format(*black_hole), timeout=httpcore.Timeout(30, connect=0))


@every_way
@one_of_each
async def test_e_zero_read(world: World) -> None:
    with ScriptedPeer(hang, expect_disconnect=True) as peer:
        http = world.pool()
        with took(0), pytest.raises(httpcore.ReadTimeout):
            await http.request("GET", peer.url, timeout=httpcore.Timeout(30, read=0))
        assert http.connections == []


async def test_e_zero_write(world: World) -> None:
    """What the system takes at once was written in time."""
    with ScriptedPeer(serve, expect_disconnect=True) as peer, ScriptedPeer(hang, expect_disconnect=True) as hung:
        http = world.pool()
        assert (await http.request("GET", peer.url, timeout=httpcore.Timeout(30, write=0))).body == b"served"
        body = b"x" * 50_000_000
        with took(0), pytest.raises(httpcore.WriteTimeout):
            await http.request("POST", hung.url, body=body, timeout=httpcore.Timeout(30, write=0))


async def test_e_zero_pool(world: World) -> None:
    """A slot that is free is taken, one that is not is not waited for."""
    with ScriptedPeer(serve, expect_disconnect=True) as peer:
        http = world.pool(limits=httpcore.Limits(max_connections=1))
        no_wait = httpcore.Timeout(30, pool=0)
        held = await http.request("GET", peer.origin + "/large", stream=True, timeout=no_wait)
        with took(0), pytest.raises(httpcore.PoolTimeout):
            await http.request("GET", peer.url, timeout=no_wait)
        await held.read()
        assert (await http.request("GET", peer.url, timeout=no_wait)).body == b"served"


@every_way
async def test_e_zero_total(world: World) -> None:
    def script(conn: Conn) -> None:
        # An answer that is there at once would be one in time, where the request goes out at all.
        if conn.read_request().target == b"/late":
            conn.wait_closed()
        else:
            conn.respond(body=b"served")

    with ScriptedPeer(script, expect_disconnect=True) as peer:
        http = world.pool()
        with took(0), pytest.raises(httpcore.TotalTimeout):
            await http.request("GET", peer.origin + "/late", timeout=httpcore.Timeout(30, total=0))
        assert (http.stats().active, http.stats().waiting) == (0, 0)
        assert (await http.request("GET", peer.url)).body == b"served"


@every_way
@one_of_each
@pytest.mark.parametrize("seconds", [1e12, 1e308, math.inf, None])
async def test_e_huge_no_timeout_is_too_long(world: World, ca: CertificateAuthority, seconds: float | None) -> None:
    """In each place where something is waited for: a name, a connection, a handshake, both ways of a body, a slot."""

    def slow(conn: Conn) -> None:
        gate.wait()
        conn.start_tls(context)
        while True:
            head = conn.read_head()
            if head.header(b"expect"):
                gate.wait()
                conn.respond(100)
            time.sleep(0.02)  # so that it is the other side that waits
            request = conn.read_body(head)
            conn.send(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nse")
            time.sleep(0.02)
            conn.send(b"rved")
            assert len(request.body) in (0, 1, 5_000_000)

    async def later(host: str, port: int) -> list[str]:
        await world.sleep(0.01)
        return ["127.0.0.1"]

    context = ca.server_context("localhost")
    network = httpcore.Network(resolver=later if world.can_cancel else None)
    with ScriptedPeer(slow) as peer:
        gate = peer.gate()
        timeout = httpcore.Timeout(seconds, total=seconds)
        http = world.pool(
            ssl=ca.client_context(), network=network, limits=httpcore.Limits(max_connections=1), timeout=timeout
        )
        url = f"https://localhost:{peer.port}/"

        async def open_gate() -> None:
            await world.until(lambda: peer.accepted and http.stats().waiting >= 2)
            gate.open()

        responses = await world.gather_ok(
            lambda: http.request("GET", url),
            lambda: http.request("POST", url, body=b"x" * 5_000_000),
            lambda: http.request("POST", url, {"expect": "100-continue"}, b"x"),
            open_gate,
        )
        assert [response and response.body for response in responses] == [b"served"] * 3 + [None]
        assert await http.drain(seconds)
        assert peer.accepted == 1


@pytest.mark.parametrize("seconds", [-1, -0.1, math.nan, "1", True, b"1", object()])
@pytest.mark.parametrize("name", ["connect", "read", "write", "pool", "total"])
def test_e_bad_timeouts_are_refused_by_name(name: str, seconds: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=name):
        httpcore.Timeout(**{name: seconds})


def test_e_a_timeout_of_a_pool_is_a_number_or_a_timeout() -> None:
    assert httpcore.Timeout(10) == httpcore.Timeout(connect=10, read=10, write=10, pool=10)
    assert httpcore.Timeout().total is None
    with pytest.raises(TypeError):
        httpcore.ConnectionPool(timeout="10")  # type: ignore[arg-type]  # that is the point
    with pytest.raises(ValueError, match="0 or more"):
        httpcore.ConnectionPool(timeout=-1)


# E: timers


@every_way
@one_of_each
async def test_e_idle_timer_the_timeout_of_one_request_does_not_reach_the_next(world: World) -> None:
    def script(conn: Conn) -> None:
        conn.read_request()
        conn.respond(body=b"quick")
        conn.read_request()
        time.sleep(0.6)
        conn.respond(body=b"slow")
        conn.wait_closed()

    with ScriptedPeer(script) as peer:
        http = world.pool()
        assert (await http.request("GET", peer.url, timeout=httpcore.Timeout(30, read=0.5))).body == b"quick"
        # The deadline of the first passes in the middle of the second.
        assert (await http.request("GET", peer.url)).body == b"slow"
        assert peer.accepted == 1


@only_worlds("asyncio")
async def test_e_idle_timer_requests_do_not_pile_up_timers(world: World) -> None:
    import asyncio

    with ScriptedPeer(serve) as peer:
        http = world.pool(limits=httpcore.Limits(max_connections=5))
        await world.gather_ok(*[lambda: http.request("GET", peer.url)] * 5)
        for _ in range(200):
            await http.request("GET", peer.url)
        timers = [timer for timer in asyncio.get_running_loop()._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
        # One for reading on each connection, one of the pool, one of this test.
        assert len(timers) <= 5 + 1 + 1


def test_e_the_timers_of_a_request_are_gone_with_its_pool(world: World) -> None:
    def body() -> Iterator[bytes]:
        yield b"x"

    async def use() -> None:
        with ScriptedPeer(serve) as peer:
            http = world.pool(timeout=httpcore.Timeout(1e6, total=1e6))
            await http.request("POST", peer.url, body=body())

    world.run(use)  # which fails where one is left
