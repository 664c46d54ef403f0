"""How long connections live, and what is left of them (P07, P09, P16, P17, P18)."""

from __future__ import annotations

import gc
import os
import socket
import subprocess
import sys
import textwrap
import time
import warnings
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

import httpcore
from httpcore._backends import make_backend
from httpcore._streams import Backend, Event
from httpcore.testing import MemoryNetwork, Peer, Script
from tests.support.garbage import assert_leaves
from tests.support.peer import Conn, ScriptedPeer
from tests.support.tls import CertificateAuthority
from tests.support.worlds import World, drive, only_worlds

# More than is read at once, so that a response with it holds its connection until it is read or closed.
LARGE = b"x" * 1_000_000

loops = only_worlds("asyncio", "uvloop", "trio")


def serve(conn: Conn) -> None:
    while True:
        request = conn.read_request()
        conn.respond(body=LARGE if request.target == b"/large" else b"served")


def half_closed_sockets(port: int) -> list[Any]:
    """Our sockets that the peer on that port has closed, and we have not."""
    sockets = psutil.Process().net_connections("tcp")
    return [each for each in sockets if each.status == "CLOSE_WAIT" and each.raddr and each.raddr.port == port]


# P07: idle connections end


@only_worlds("asyncio", "uvloop")
async def test_p07_a_connection_that_the_peer_closes_while_idle_is_closed_without_further_requests(
    world: World,
) -> None:
    def script(conn: Conn) -> None:
        conn.read_request()
        conn.respond()

    with ScriptedPeer(script) as peer:
        http = world.pool(limits=httpcore.Limits(keepalive_expiry=60))
        await world.gather_ok(*[lambda: http.request("GET", peer.url)] * 5)
        await world.until(lambda: peer.open_connections == 0 and not half_closed_sockets(peer.port), 5)
        assert http.connections == []


@only_worlds("asyncio", "uvloop")
async def test_p07_idle_connections_expire_without_further_requests(world: World) -> None:
    with ScriptedPeer(serve) as peer:
        http = world.pool(limits=httpcore.Limits(keepalive_expiry=0.6))
        await world.gather_ok(*[lambda: http.request("GET", peer.url)] * 5)
        assert peer.open_connections == peer.accepted
        await world.until(lambda: peer.open_connections == 0, 5)
        assert http.connections == []
        assert http.stats().closed == {"expired": peer.accepted}
        assert not half_closed_sockets(peer.port)


@only_worlds("trio", "blocking")
async def test_p07_idle_connections_are_swept_at_the_next_use_of_the_pool(world: World) -> None:
    """Closed by the peer or not: what has expired goes when any other origin is asked."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.respond(body=LARGE)
        if conn.index % 2:
            assert conn.wait_closed()

    with ScriptedPeer(script) as peer, ScriptedPeer(serve) as other:
        http = world.pool(limits=httpcore.Limits(keepalive_expiry=0.2))
        held = [await http.request("GET", peer.url, stream=True) for _ in range(4)]
        for response in held:
            await response.read()
        await world.until(lambda: peer.open_connections == 2)
        assert len(http.connections) == 4
        await world.sleep(0.8)  # the expiry, and half a second, in which the pool does not look again
        await http.request("GET", other.url)
        assert [each.origin for each in http.connections] == [other.origin]
        await world.until(lambda: peer.open_connections == 0 and not half_closed_sockets(peer.port))


@only_worlds("asyncio", "uvloop")
async def test_p07_a_connection_with_a_shorter_life_is_not_kept_by_one_with_a_longer(world: World) -> None:
    """The peer says that it keeps one of two connections for a second, after the other went idle for a minute."""

    def brief(conn: Conn) -> None:
        conn.read_request()
        conn.respond(headers=[(b"keep-alive", b"timeout=1")])
        conn.wait_closed()

    with ScriptedPeer(serve) as lasting, ScriptedPeer(brief) as peer:
        http = world.pool(limits=httpcore.Limits(keepalive_expiry=60))
        await http.request("GET", lasting.url)
        await http.request("GET", peer.url)
        await world.until(lambda: peer.open_connections == 0, 5)
        assert lasting.open_connections == 1


@loops
async def test_p07_a_banked_connection_expires_too(world: World) -> None:
    """A dial that ended when nobody needed it any more: no request was ever on it."""
    resolved = world.event()

    async def resolve(host: str, port: int) -> list[str]:
        if len(http.connections) == 2:
            await resolved.wait()
        return ["127.0.0.1"]

    def script(conn: Conn) -> None:
        if conn.index == 0:
            conn.read_request()
            conn.respond(body=LARGE)
            conn.read_request()
            conn.respond(headers=[(b"connection", b"close")])
        assert conn.wait_closed()

    with ScriptedPeer(script) as peer, ScriptedPeer(serve) as other:
        url = peer.url.replace("127.0.0.1", "localhost")
        network = httpcore.Network(resolver=resolve, dns_cache_ttl=0)
        http = world.pool(limits=httpcore.Limits(keepalive_expiry=0.6), network=network)
        held = await http.request("GET", url, stream=True)
        async with world.tasks() as tasks:
            waiting = tasks.start(lambda: http.request("GET", url))
            await world.until(lambda: http.stats().opening)
            await held.read()
            await waiting.outcome()
        resolved.set()
        await world.until(lambda: http.stats().idle == 1)
        await world.until(lambda: peer.accepted == 2)
        if world.name == "trio":
            await world.sleep(1.2)
            await http.request("GET", other.url)
        await world.until(lambda: peer.open_connections == 0, 5)


# P09: age and number of requests


async def test_p09_a_connection_retires_after_its_last_request_and_never_in_it(world: World) -> None:
    def script(conn: Conn) -> None:
        conn.read_request()
        conn.respond_chunked([b"begun"])
        request = conn.read_request()
        conn.send(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nlon")
        if request.target == b"/long":
            gate.wait()
        conn.send(b"glong")
        assert conn.wait_closed()

    with ScriptedPeer(script) as peer:
        gate = peer.gate()
        http = world.pool(limits=httpcore.Limits(max_connection_age=0.8))
        await http.request("GET", peer.url)
        response = await http.request("GET", peer.url + "long", stream=True)
        await world.sleep(0.9)  # it grows old in the middle of its second request
        assert http.stats().active == 1
        gate.open()
        assert await response.read() == b"longlong"
        await world.until(lambda: peer.open_connections == 0)
        assert http.stats().closed == {"retired by age or number of requests": 1}
        await http.request("GET", peer.url)
        assert peer.accepted == 2
        await http.aclose()


async def test_p09_an_idle_connection_that_is_too_old_is_not_used_again(world: World) -> None:
    with ScriptedPeer(serve) as peer:
        http = world.pool(limits=httpcore.Limits(max_connection_age=0.2))
        await http.request("GET", peer.url)
        await world.sleep(0.25)
        await http.request("GET", peer.url)
        assert peer.accepted == 2


async def test_p09_a_connection_retires_after_so_many_requests(world: World) -> None:
    with ScriptedPeer(serve) as peer:
        http = world.pool(limits=httpcore.Limits(max_requests_per_connection=2))
        for _ in range(5):
            assert (await http.request("GET", peer.url)).body == b"served"
        assert [request.connection for request in peer.requests] == [0, 0, 1, 1, 2]
        await world.until(lambda: peer.open_connections == 1)
        assert http.stats().closed == {"retired by age or number of requests": 2}


async def test_p09_limits_of_one_request_and_no_idle_connections_hold(world: World) -> None:
    with ScriptedPeer(serve) as peer:
        for limits in (
            httpcore.Limits(max_requests_per_connection=1),
            httpcore.Limits(max_keepalive_connections=0),
            httpcore.Limits(keepalive_expiry=0),
        ):
            http = world.pool(limits=limits)
            before = peer.accepted
            for _ in range(3):
                await http.request("GET", peer.url)
            assert peer.accepted == before + 3, limits
            await http.aclose()


async def test_e_clock_only_the_monotonic_clock_counts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wall clock jumps: nothing expires, and nothing lives longer."""
    with ScriptedPeer(serve) as peer:
        http = world.pool(limits=httpcore.Limits(keepalive_expiry=60, max_connection_age=60))
        await http.request("GET", peer.url)
        now = time.time()
        for jump in (3600, -3600):
            monkeypatch.setattr(time, "time", lambda jump=jump: now + jump)
            assert (await http.request("GET", peer.url, timeout=httpcore.Timeout(2, total=2))).status_code == 200
        assert peer.accepted == 1


# P16: event loops and forks


def run_script(source: str, *arguments: str) -> None:
    """Run a program of its own, with all warnings and checks on; it may say nothing.

    Except, with asyncio's checks, that a step of the event loop took long, which it does where the machine is busy.
    """
    not_slow = "import logging; logging.getLogger('asyncio').addFilter(lambda r: not r.msg.startswith('Executing'))\n"
    result = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", not_slow + textwrap.dedent(source), *arguments],
        capture_output=True,
        text=True,
        timeout=50,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_p16_one_pool_serves_three_event_loops_in_a_row(world: World) -> None:
    with ScriptedPeer(serve) as peer:
        http = httpcore.ConnectionPool(backend=world.backend)

        async def body() -> int:
            for _ in range(3):
                assert (await http.request("GET", peer.url)).status_code == 200
            return len(http.connections)

        try:
            assert [world.run(body, may_leave=True) for _ in range(3)] == [1, 1, 1]
            assert peer.accepted == (3 if world.can_cancel else 1)
            # What belonged to a loop that has ended is gone by the next use, at the latest.
            assert peer.open_connections <= 1
        finally:
            world.run(http.aclose)


@pytest.mark.parametrize("run", ["asyncio.run", "uvloop.run", "trio.run"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_p16_a_module_level_pool_that_nobody_closes_says_nothing(
    run: str, scheme: str, ca: CertificateAuthority
) -> None:
    """Three loops in a row, and the end of the interpreter; as people use it who never call `aclose`."""
    with ScriptedPeer(serve, tls=ca.server_context() if scheme == "https" else None, expect_disconnect=True) as peer:
        run_script(
            f"""
            import sys
            import {run.partition(".")[0]}
            import httpcore

            http = httpcore.ConnectionPool(httpcore.SSLConfig(verify=sys.argv[2]))

            async def main():
                for _ in range(3):
                    response = await http.request("GET", sys.argv[1])
                    assert response.body == b"served"
                assert len(http.connections) == 1

            for _ in range(3):
                {run}({"main" if run == "trio.run" else "main()"})
            """,
            peer.url,
            str(ca.pem_path),
        )
        assert peer.accepted == 3


def test_p16_event_loops_that_are_run_by_hand_take_turns_too() -> None:
    """Nobody tells us when such a loop ends; its connections are dropped at the next use."""
    with ScriptedPeer(serve, expect_disconnect=True) as peer:
        run_script(
            """
            import asyncio, gc, sys, warnings
            import httpcore

            # asyncio's own transports warn where nobody closes them before their loop.
            warnings.simplefilter("ignore", ResourceWarning)
            http = httpcore.ConnectionPool()
            for last in (False, False, True):
                loop = asyncio.new_event_loop()
                response = loop.run_until_complete(http.request("GET", sys.argv[1]))
                assert response.body == b"served"
                assert len(http.connections) == 1
                if last:
                    loop.run_until_complete(http.aclose())
                loop.close()
                gc.collect()
            """,
            peer.url,
        )
        assert peer.accepted == 3


@loops
def test_p16_a_response_that_outlives_its_event_loop_harms_nothing(world: World) -> None:
    with ScriptedPeer(serve, expect_disconnect=True) as peer:
        http = httpcore.ConnectionPool(limits=httpcore.Limits(max_connections=1))
        held: list[httpcore.Response] = []

        async def hold() -> None:
            held.append(await http.request("GET", peer.origin + "/large", stream=True))

        async def use() -> None:
            assert (await http.request("GET", peer.url)).status_code == 200
            with pytest.raises(httpcore.ReadError):
                await held[0].read()
            await held[0].aclose()
            assert (http.stats().active, http.stats().idle) == (0, 1)
            assert (await http.request("GET", peer.url)).status_code == 200

        world.run(hold, may_leave=True)
        world.run(use, may_leave=True)
        held.clear()
        world.run(http.aclose)
        assert peer.accepted == 2


FORK = """
    import asyncio, gc, os, sys, traceback, warnings
    import httpcore

    url, ca, world = sys.argv[1:]
    run = asyncio.run
    if world == "trio":
        import trio
        run = lambda main: trio.run(lambda: main)
    elif world == "uvloop":
        import uvloop
        run = uvloop.run
    http = httpcore.ConnectionPool(httpcore.SSLConfig(verify=ca), limits=httpcore.Limits(max_connections=2))

    async def in_child():
        assert http.connections == [], http
        assert http.stats().opened == 0
        response = await http.request("GET", url + "/child")
        assert response.body == b"served"

    async def in_parent():
        await http.request("GET", url + "/before")
        held = await http.request("GET", url + "/large", stream=True)
        await http.request("GET", url + "/before")
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                # What the parent holds is let go of; that may warn, and nothing else.
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    del held
                    gc.collect()
                if world != "trio":  # which takes itself to be running, as it is not told of the fork
                    asyncio.run(in_child())  # uvloop aborts where it forks in its own loop, and then runs another
                else:
                    assert http.connections == []
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        _, status = os.waitpid(pid, 0)
        assert status == 0, status
        assert len(http.connections) == 2
        assert len(await held.read()) == 1_000_000
        for _ in range(2):
            await http.request("GET", url + "/after")
        await http.aclose()

    run(in_parent())
"""


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("name", ["asyncio", "uvloop", "trio"])
def test_p16_after_a_fork_the_child_starts_empty_and_writes_to_nothing_it_inherited(
    name: str, scheme: str, ca: CertificateAuthority
) -> None:
    """a_pid_fork: over TLS a byte of the child's, a close_notify even, would break the parent's connections."""
    with ScriptedPeer(serve, tls=ca.server_context() if scheme == "https" else None) as peer:
        run_script(FORK, peer.origin, str(ca.pem_path), name)
        seen = [[request.target for request in conn.requests] for conn in peer.connections]
        assert seen[0] == [b"/before", b"/large", b"/after", b"/after"]
        assert seen[1] == [b"/before"]
        assert seen[2:] == ([] if name == "trio" else [[b"/child"]])


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_p16_after_a_fork_the_child_of_a_blocking_program_starts_empty(scheme: str, ca: CertificateAuthority) -> None:
    """Also when another thread of the parent holds the pool's lock, or waits for a connection, at that moment."""
    with ScriptedPeer(serve, tls=ca.server_context() if scheme == "https" else None) as peer:
        run_script(
            """
            import os, sys, threading, time
            import httpcore

            url, ca = sys.argv[1:]
            http = httpcore.SyncConnectionPool(httpcore.SSLConfig(verify=ca), limits=httpcore.Limits(max_connections=1))
            http.request("GET", url + "/before")
            held = http.request("GET", url + "/large", stream=True)
            waiter = threading.Thread(target=lambda: http.request("GET", url + "/waiter"))
            waiter.start()
            while not http.stats().waiting:
                time.sleep(0.001)
            pid = os.fork()
            if pid == 0:
                status = 1
                try:
                    held.close()
                    assert (http.stats().active, http.stats().waiting) == (0, 0), http
                    assert http.request("GET", url + "/child").body == b"served"
                    assert len(http.connections) == 1
                    http.close()
                    status = 0
                finally:
                    os._exit(status)
            _, status = os.waitpid(pid, 0)
            assert status == 0, status
            assert len(held.read()) == 1_000_000
            waiter.join()
            http.request("GET", url + "/after")
            http.close()
            """,
            peer.origin,
            str(ca.pem_path),
        )
        seen = [[request.target for request in conn.requests] for conn in peer.connections]
        assert seen == [[b"/before", b"/large", b"/waiter", b"/after"], [b"/child"]]


# P17: no cycles


@only_worlds("asyncio", "blocking")  # the others differ in what is not in memory
@pytest.mark.time_limit(180)
async def test_p17_10000_requests_leave_nothing_for_the_garbage_collector(world: World, engine: str) -> None:
    def script(peer: Peer) -> Script:
        while True:
            request = yield from peer.read_request()
            peer.respond(body=request.body)

    network = MemoryNetwork(script, world.backend)
    http = world.pool(backend=network.backend, http1_engine=engine)

    async def act() -> None:
        await http.request("GET", "http://example.org/")
        await http.request("POST", "http://example.org/", body=b"0123456789")
        await http.request("POST", "http://example.org/", body=iter([b"01234", b"56789"]))
        async with await http.request("POST", "http://example.org/", body=b"x" * 1000, stream=True) as response:
            async for _ in response.stream():
                pass

    await assert_leaves(world, act, 2500, objects=0.05, memory=400)


async def test_p17_connections_that_end_leave_nothing_for_the_garbage_collector(world: World) -> None:
    """Real sockets; each request makes a connection, half of them have no good end."""

    def script(conn: Conn) -> None:
        request = conn.read_request()
        if request.target == b"/reset":
            conn.rst()
        else:
            conn.respond(headers=[(b"connection", b"close")])

    with ScriptedPeer(script, expect_disconnect=True) as peer:
        http = world.pool()

        async def act() -> None:
            await http.request("GET", peer.url)
            try:
                await http.request("GET", peer.url + "reset")
            except httpcore.HTTPCoreError:
                return
            raise AssertionError("it should have failed")

        await assert_leaves(world, act, 150, objects=0.5)


async def test_p17_requests_that_fail_leave_nothing_for_the_garbage_collector(world: World) -> None:
    """No connection, a timeout in the queue, an end without an answer."""

    def script(peer: Peer) -> Script:
        request = yield from peer.read_request()
        if request.target == b"/hold":
            peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")
            yield from peer.read()

    def refuse(host: str, port: int) -> list[str]:
        if host == "refused.example":
            raise OSError("refused")
        return ["192.0.2.1"]

    network = MemoryNetwork(script, world.backend)
    http = world.pool(
        backend=network.backend,
        limits=httpcore.Limits(max_connections_per_origin=1),
        network=httpcore.Network(resolver=refuse),
    )
    held = await http.request("GET", "http://held.example/hold", stream=True)

    async def act() -> None:
        for host, error in (
            ("refused.example", httpcore.ConnectError),
            ("held.example", httpcore.PoolTimeout),
            ("example.org", httpcore.RemoteProtocolError),
        ):
            try:
                await http.request("GET", f"http://{host}/", timeout=httpcore.Timeout(pool=0))
            except error:
                network.peers.clear()
            else:
                raise AssertionError("it should have failed")

    await assert_leaves(world, act, 150, objects=0.5)
    await held.aclose()


def end_badly(conn: Conn) -> None:
    """A peer that does what the path says, and reads no body."""
    target = conn.read_head().target
    if target == b"/silence":
        conn.peer.wait_for(lambda: not conn.is_open)
    elif target == b"/reset":
        conn.rst()
    elif target == b"/nonsense":
        conn.send(b"what?\r\n\r\n")
    elif target == b"/short":
        conn.send(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc")
    elif target == b"/undecodable":
        conn.respond(body=b"abc", headers=[(b"content-encoding", b"gzip"), (b"connection", b"close")])
    elif target == b"/too-coded":
        codings = b", ".join([b"gzip"] * 9)
        conn.respond(body=b"abc", headers=[(b"content-encoding", codings), (b"connection", b"close")])


def break_off() -> Iterator[bytes]:
    yield b"x"
    raise ZeroDivisionError


WAYS_TO_FAIL: dict[str, tuple[type[Exception], dict[str, Any]]] = {
    "/silence": (httpcore.ReadTimeout, {"timeout": httpcore.Timeout(5, read=0.001)}),
    "/silence in all": (httpcore.TotalTimeout, {"timeout": httpcore.Timeout(5, total=0.005)}),
    "/silence to an upload": (httpcore.WriteTimeout, {"body": LARGE * 4, "timeout": httpcore.Timeout(5, write=0.001)}),
    "/reset": (httpcore.NetworkError, {}),
    "/reset of an upload": (httpcore.NetworkError, {"body": LARGE * 4}),
    "/end": (httpcore.RemoteProtocolError, {}),
    "/nonsense": (httpcore.RemoteProtocolError, {}),
    "/short": (httpcore.RemoteProtocolError, {}),
    "/undecodable": (httpcore.DecodingError, {}),
    "/too-coded": (httpcore.DecodingError, {}),
    "/silence after a broken body": (ZeroDivisionError, {"body": break_off}),
}


@pytest.mark.parametrize("way", WAYS_TO_FAIL)
async def test_p17_a_failed_exchange_leaves_nothing_for_the_garbage_collector(world: World, way: str) -> None:
    expected, options = WAYS_TO_FAIL[way]
    with ScriptedPeer(end_badly, expect_disconnect=True) as peer:
        http = world.pool(network=httpcore.Network(socket_options=((socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384),)))

        async def act() -> None:
            body = options.get("body")
            try:
                await http.request(
                    "POST", peer.origin + way.split()[0], body=body() if callable(body) else body, **rest
                )
            except expected:
                return
            raise AssertionError("it should have failed")

        rest = {name: value for name, value in options.items() if name != "body"}
        await assert_leaves(world, act, 50, objects=0.5)


@pytest.mark.parametrize("way", ["refused", "in time", "in all", "tls", "certificate"])
async def test_p17_a_failed_dial_leaves_nothing_for_the_garbage_collector(
    world: World, way: str, black_hole: tuple[str, int], ca: CertificateAuthority
) -> None:
    def script(conn: Conn) -> None:
        conn.recv()
        conn.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    hole = "http://{}:{}/".format(*black_hole)
    with (
        ScriptedPeer(script) as peer,
        ScriptedPeer(serve, tls=ca.server_context()) as secure,
        ScriptedPeer(serve) as gone,
    ):
        gone.stop_listening()
        expected, url, timeout = {
            "refused": (httpcore.ConnectError, gone.url, None),
            "in time": (httpcore.ConnectTimeout, hole, httpcore.Timeout(5, connect=0.001)),
            "in all": (httpcore.TotalTimeout, hole, httpcore.Timeout(5, total=0.001)),
            "tls": (httpcore.ConnectError, peer.url.replace("http:", "https:"), None),
            "certificate": (httpcore.ConnectError, secure.url, None),
        }[way]
        http = world.pool()

        async def act() -> None:
            try:
                await http.request("GET", url, timeout=timeout)
            except expected:
                secure.tls_errors.clear()  # they are the peer's, and it keeps them
                return
            raise AssertionError("it should have failed")

        await assert_leaves(world, act, 50, objects=0.5)


async def test_p17_an_error_in_a_thread_leaves_nothing_for_the_garbage_collector(world: World) -> None:
    """As of a name that does not resolve."""
    backend = make_backend(world.backend)

    def fail() -> None:
        raise OSError("no such name")

    async def act() -> None:
        try:
            await backend.to_thread(fail, backend.now() + 10)
        except OSError:
            return
        raise AssertionError("it should have failed")

    await assert_leaves(world, act, 50, objects=0.5)


@loops
@pytest.mark.parametrize("is_dialing", [False, True])
async def test_p17_a_cancelled_request_leaves_nothing_for_the_garbage_collector(
    world: World, black_hole: tuple[str, int], is_dialing: bool
) -> None:
    with ScriptedPeer(end_badly, expect_disconnect=True) as peer:
        url = "http://{}:{}/".format(*black_hole) if is_dialing else peer.origin + "/silence"
        http = world.pool()

        async def act() -> None:
            try:
                async with world.timeout(0.003):
                    await http.request("GET", url)
            except TimeoutError:
                return
            raise AssertionError("it should have been cancelled")

        await assert_leaves(world, act, 50, objects=0.5)


# P18: forgotten responses


def forgotten() -> Any:
    return pytest.warns(ResourceWarning, match="was neither read to its end nor closed")


async def test_p18_a_forgotten_response_costs_a_warning_and_no_slot(world: World) -> None:
    with ScriptedPeer(serve, expect_disconnect=True) as peer:
        http = world.pool(limits=httpcore.Limits(max_connections=1))
        for _ in range(3):
            response = await http.request("GET", peer.origin + "/large", stream=True)
            assert response.status_code == 200
            with forgotten():
                del response
            assert (await http.request("GET", peer.url)).body == b"served"
        assert http.stats().active == 0
        assert peer.accepted == 4


async def test_p18_a_forgotten_stream_costs_a_warning_and_no_slot(world: World) -> None:
    def script(conn: Conn) -> None:
        if conn.read_request().header(b"upgrade"):
            conn.respond(101, headers=[(b"upgrade", b"x"), (b"connection", b"upgrade")])
            conn.wait_closed()
        else:
            conn.respond(body=b"served")

    with ScriptedPeer(script, expect_disconnect=True) as peer:
        http = world.pool(limits=httpcore.Limits(max_connections=1))
        response = await http.request("GET", peer.url, {"upgrade": "x", "connection": "upgrade"})
        assert response.status_code == 101
        with pytest.warns(ResourceWarning, match="was not closed"):
            del response
        assert (await http.request("GET", peer.url)).body == b"served"


async def test_p18_a_forgotten_response_gives_its_slot_to_who_waits_for_it(world: World) -> None:
    with ScriptedPeer(serve, expect_disconnect=True) as peer:
        http = world.pool(limits=httpcore.Limits(max_connections=1))
        held = [await http.request("GET", peer.origin + "/large", stream=True)]
        async with world.tasks() as tasks:
            waiting = [tasks.start(lambda: http.request("GET", peer.url)) for _ in range(3)]
            await world.until(lambda: http.stats().waiting == 3)
            with forgotten():
                held.clear()
            began = time.monotonic()
            assert [(await task.outcome()).body for task in waiting] == [b"served"] * 3
            assert time.monotonic() - began < 3


async def test_p18_a_forgotten_response_in_a_cycle_is_found_by_the_garbage_collector(world: World) -> None:
    with ScriptedPeer(serve, expect_disconnect=True) as peer:
        http = world.pool(limits=httpcore.Limits(max_connections=1))
        cycle: list[object] = [await http.request("GET", peer.origin + "/large", stream=True)]
        cycle.append(cycle)
        del cycle
        with forgotten():
            gc.collect()
        assert (await http.request("GET", peer.url)).body == b"served"


async def test_p18_the_finaliser_of_a_forgotten_response_takes_no_lock(world: World) -> None:
    """It may run wherever Python allocates memory: here while the pool is in the middle of its own business, locked."""
    held: list[httpcore.Response] = []
    kind: Any = type(make_backend(world.backend))

    class Forgetting(kind):  # type: ignore[misc]  # a backend of the world that runs
        def event(self) -> Event:  # the pool asks for one when it has its lock
            if held:
                with forgotten():
                    held.clear()
            event: Event = super().event()
            return event

    def backend() -> Backend:
        made: Backend = Forgetting()
        return made

    with ScriptedPeer(serve, expect_disconnect=True) as peer:
        http = world.pool(backend=backend, limits=httpcore.Limits(max_connections=1))
        held.append(await http.request("GET", peer.origin + "/large", stream=True))
        assert (await http.request("GET", peer.url)).body == b"served"
        assert not held
        assert http.stats().active == 0


async def test_p18_what_is_read_closed_or_failed_is_not_forgotten(world: World) -> None:
    def script(conn: Conn) -> None:
        while True:
            request = conn.read_request()
            if request.target == b"/cut":
                conn.send(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc")
                return
            conn.respond(body=LARGE)

    with ScriptedPeer(script, expect_disconnect=True) as peer, warnings.catch_warnings():
        warnings.simplefilter("error")
        http = world.pool()
        read = await http.request("GET", peer.url, stream=True)
        await read.read()
        iterated = await http.request("GET", peer.url, stream=True)
        async for _ in iterated.stream():
            pass
        closed = await http.request("GET", peer.url, stream=True)
        await closed.aclose()
        failed = await http.request("GET", peer.url + "cut", stream=True)
        with pytest.raises(httpcore.RemoteProtocolError):
            await failed.read()
        empty = await http.request("HEAD", peer.url, stream=True)
        del read, iterated, closed, failed, empty
        gc.collect()


def test_p18_a_forgotten_response_of_a_sync_pool_costs_a_warning_and_no_slot() -> None:
    with (
        ScriptedPeer(serve, expect_disconnect=True) as peer,
        httpcore.SyncConnectionPool(limits=httpcore.Limits(max_connections=1)) as http,
    ):
        response = http.request("GET", peer.origin + "/large", stream=True)
        assert response.status_code == 200
        with forgotten():
            del response
        assert http.request("GET", peer.url).body == b"served"


def test_p18_a_response_that_is_forgotten_after_its_pool_harms_nothing() -> None:
    with ScriptedPeer(serve, expect_disconnect=True) as peer:

        async def body() -> httpcore.Response:
            http = httpcore.ConnectionPool(backend="blocking")
            return await http.request("GET", peer.origin + "/large", stream=True)

        response = drive(body())
        assert response.status_code == 200
        with forgotten():
            del response
        gc.collect()
        peer.wait_for(lambda: not peer.open_connections)
