"""One sync pool, many threads; Ctrl-C in any phase; inside of a running event loop (P20, FAULTS m_thread)."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from random import Random

import pytest
import trio

import httpcore
from tests.support.black_hole import black_hole as another_black_hole
from tests.support.peer import Conn, ScriptedPeer
from tests.support.threads import in_threads
from tests.support.tls import CertificateAuthority

# More than is read at once, so that a response with it holds its connection until it is read or closed.
LARGE = b"x" * 1_000_000


def serve(conn: Conn) -> None:
    while True:
        request = conn.read_request()
        if request.target.startswith(b"/large"):
            conn.respond(body=LARGE)
        else:
            conn.respond(body=request.target + request.body)


def test_p20_64_threads_share_8_connections_and_each_gets_its_own_answer(engine: str) -> None:
    """m_thread, with fewer requests: the limit holds, nobody hangs, and no body belongs to another request."""
    limits = httpcore.Limits(max_connections=8)
    with (
        ScriptedPeer(serve) as peer,
        httpcore.SyncConnectionPool(limits=limits, timeout=20, http1_engine=engine) as http,
    ):

        def work(number: int) -> None:
            for round in range(25):
                marker = b"%d-%d" % (number, round)
                response = http.request("POST", peer.url + marker.decode(), body=marker)
                assert response.body == b"/" + marker + marker

        in_threads(64, work)
        # Nothing ended, so that each that was ever opened is still there: there were never more.
        assert peer.accepted == peer.open_connections <= 8
        assert len(peer.requests) == 64 * 25
        stats = http.stats()
        assert (stats.active, stats.waiting, stats.idle) == (0, 0, peer.accepted)
        assert stats.reused == 64 * 25 - peer.accepted


def test_p20_threads_that_do_everything_at_once_leave_a_pool_that_works(ca: CertificateAuthority) -> None:
    """Two origins, streams that are read, left or forgotten by close, timeouts, connections that end."""

    def unreliable(conn: Conn) -> None:
        for _ in range(5):
            request = conn.read_request()
            if request.target == b"/hang":
                conn.wait_closed()
                return
            conn.respond(body=LARGE if request.target == b"/large" else request.target)

    limits = httpcore.Limits(max_connections=6, keepalive_expiry=0.05)
    with ExitStack() as stack:
        peers = [
            stack.enter_context(ScriptedPeer(unreliable, expect_disconnect=True)),
            stack.enter_context(ScriptedPeer(unreliable, tls=ca.server_context(), expect_disconnect=True)),
        ]
        http = stack.enter_context(httpcore.SyncConnectionPool(ca.client_context(), limits=limits, timeout=20))

        def work(number: int) -> None:
            random = Random(number)
            for _ in range(25):
                origin = random.choice(peers).origin
                action = random.choice(["get", "get", "read", "leave", "time out"])
                if action == "get":
                    assert http.request("GET", f"{origin}/{number}").body == b"/%d" % number
                elif action == "read":
                    with http.request("GET", origin + "/large", stream=True) as response:
                        assert sum(map(len, response.stream())) == len(LARGE)
                elif action == "leave":
                    http.request("GET", origin + "/large", stream=True).close()
                else:
                    with pytest.raises(httpcore.TimeoutException):
                        http.request("GET", origin + "/hang", timeout=httpcore.Timeout(20, read=0.01))

        in_threads(16, work)
        stats = http.stats()
        assert (stats.active, stats.opening, stats.waiting) == (0, 0, 0)
        held = [http.request("GET", peers[0].origin + "/large", stream=True) for _ in range(6)]
        for response in held:
            response.close()


def test_p20_a_response_may_be_read_in_another_thread_than_it_was_asked_for_in() -> None:
    with ScriptedPeer(serve) as peer, httpcore.SyncConnectionPool() as http:
        response = http.request("GET", peer.origin + "/large", stream=True)
        bodies: list[bytes] = []
        thread = threading.Thread(target=lambda: bodies.append(response.read()))
        thread.start()
        thread.join()
        assert bodies == [LARGE]
        assert http.stats().idle == 1


def test_p20_closing_in_one_thread_ends_what_waits_in_others() -> None:
    def hang(conn: Conn) -> None:
        conn.read_request()
        conn.wait_closed()

    with ScriptedPeer(hang, expect_disconnect=True) as peer:
        http = httpcore.SyncConnectionPool(limits=httpcore.Limits(max_connections=2), timeout=20)

        def work(number: int) -> None:
            if number == 0:
                peer.wait_for(lambda: len(peer.requests) == 2 and http.stats().waiting == 5)
                http.close()
                return
            with pytest.raises((httpcore.PoolClosed, httpcore.ReadError)):
                http.request("GET", peer.url)

        began = time.monotonic()
        in_threads(8, work)
        assert time.monotonic() - began < 10
        assert http.connections == []


def test_p15_a_thread_that_waits_is_woken_though_its_descriptor_is_taken_again() -> None:
    """Closing comes from another thread, and the next to open something is given the same number."""

    def hang(conn: Conn) -> None:
        conn.read_request()
        conn.wait_closed()

    with ScriptedPeer(hang, expect_disconnect=True) as peer:
        for number in range(20):
            http = httpcore.SyncConnectionPool(timeout=httpcore.Timeout(None))
            errors: list[Exception] = []

            def ask(http: httpcore.SyncConnectionPool, errors: list[Exception]) -> None:
                try:
                    http.request("GET", peer.url)
                except httpcore.HTTPCoreError as exc:
                    errors.append(exc)

            thread = threading.Thread(target=ask, args=(http, errors), daemon=True)
            thread.start()
            peer.wait_for(lambda: len(peer.requests) > number)  # noqa: B023 - it is called at once
            time.sleep(0.005)  # from where it is seen to where it waits
            http.close()
            with ExitStack() as stack:
                for _ in range(3):
                    for sock in socket.socketpair():
                        stack.enter_context(sock)
                thread.join(3)
                assert not thread.is_alive()
            assert [type(error) for error in errors] == [httpcore.ReadError]


# Ctrl-C


@contextmanager
def ctrl_c(when: Callable[[], object]) -> Iterator[None]:
    """Asserts that a signal, sent as soon as the condition holds, ends the block by KeyboardInterrupt, and soon."""
    is_sent_at: list[float] = []

    def send() -> None:
        deadline = time.monotonic() + 15
        while not when() and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(0.02)  # from where it is seen to where it waits
        is_sent_at.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    # Whoever runs the tests in the background has it ignored.
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            yield
    finally:
        ended_at = time.monotonic()
        thread.join()
        signal.signal(signal.SIGINT, previous)
    assert ended_at - is_sent_at[0] < 2


def slow(conn: Conn) -> None:
    """Stops in the middle of what is asked for."""
    while True:
        head = conn.read_head()
        if head.target == b"/body":
            conn.send(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nab")
        elif head.target == b"/get":
            conn.respond(body=b"served")
            continue
        elif head.target == b"/large":
            conn.respond(body=LARGE)
            continue
        while conn.is_open:
            time.sleep(0.002)
        return


def say_nothing(conn: Conn) -> None:
    conn.wait_closed()


PHASES = ["waiting", "resolving", "connecting", "connecting again", "handshake", "upload", "continue", "head", "body"]


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="there are no signals to wake what blocks")
@pytest.mark.parametrize("phase", PHASES)
def test_p20_ctrl_c_ends_a_request_in_every_phase(phase: str, ca: CertificateAuthority) -> None:
    resolving = threading.Event()

    def resolve(host: str, port: int) -> list[str]:
        if host == "slow.example":
            resolving.set()
            threading.Event().wait(10)
        return ["127.0.0.1"]

    with (
        ScriptedPeer(slow, expect_disconnect=True) as peer,
        ScriptedPeer(say_nothing, expect_disconnect=True) as silent,
        another_black_hole() as hole,
        httpcore.SyncConnectionPool(
            ca.client_context(),
            timeout=30,
            limits=httpcore.Limits(max_connections=1),
            network=httpcore.Network(resolver=resolve),
            retries=5,
        ) as http,
    ):
        if phase == "waiting":
            held = http.request("GET", peer.origin + "/large", stream=True)
            with ctrl_c(lambda: http.stats().waiting):
                http.request("GET", peer.origin + "/get")
            assert http.stats().waiting == 0
            held.close()
        elif phase == "resolving":
            with ctrl_c(resolving.is_set):
                http.request("GET", "http://slow.example/")
        elif phase == "connecting":
            with ctrl_c(lambda: http.stats().opening):
                http.request("GET", "http://{}:{}/".format(*hole))
        elif phase == "connecting again":
            with ScriptedPeer(slow) as refusing:
                refusing.stop_listening()
                with ctrl_c(lambda: http.stats().opening):
                    http.request("GET", refusing.url)
        elif phase == "handshake":
            with ctrl_c(lambda: silent.accepted):
                http.request("GET", f"https://{silent.authority}/")
        elif phase == "upload":
            with ctrl_c(lambda: peer.requests):
                http.request("POST", peer.origin + "/hang", body=b"x" * 50_000_000)
        elif phase == "continue":
            with ctrl_c(lambda: peer.requests):
                http.request("POST", peer.origin + "/hang", {"expect": "100-continue"}, b"x")
        else:
            with ctrl_c(lambda: peer.requests):
                http.request("GET", f"{peer.origin}/{phase}")
        stats = http.stats()
        assert (stats.active, stats.opening, stats.waiting) == (0, 0, 0)
        assert http.request("GET", peer.origin + "/get").body == b"served"
        assert len(http.connections) == 1


# Inside of event loops


@pytest.mark.parametrize("run", [asyncio.run, trio.run], ids=["asyncio", "trio"])
def test_p20_a_sync_pool_works_inside_a_running_event_loop(run: Callable[..., object]) -> None:
    """It blocks the loop, which is the caller's business; it does not mistake the loop for its own."""
    with ScriptedPeer(serve) as peer, httpcore.SyncConnectionPool() as http:

        async def main() -> None:
            assert http.request("GET", peer.url + "a").body == b"/a"
            with http.request("GET", peer.url + "large", stream=True) as response:
                assert sum(map(len, response.stream())) == len(LARGE)
            async with httpcore.ConnectionPool() as beside:
                assert (await beside.request("GET", peer.url + "b")).body == b"/b"
            assert http.request("POST", peer.url + "c", body=iter([b"d", b"e"])).body == b"/cde"

        run(main() if run is asyncio.run else main)
        assert http.request("GET", peer.url + "f").body == b"/f"
        assert http.stats().opened == 1


def test_p20_a_sync_pool_may_be_used_by_threads_of_an_event_loop() -> None:
    with ScriptedPeer(serve) as peer, httpcore.SyncConnectionPool() as http:

        async def main() -> None:
            urls = [f"{peer.url}{number}" for number in range(20)]
            responses = await asyncio.gather(*(asyncio.to_thread(http.request, "GET", url) for url in urls))
            assert [response.body for response in responses] == [b"/%d" % number for number in range(20)]

        asyncio.run(main())
