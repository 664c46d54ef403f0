"""The ground that the other tests stand on. A test helper that hides a failure is worse than none."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import os
import re
import selectors
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from email.message import Message
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies

from tests.support.app import TEXT, pattern
from tests.support.cost import assert_cheaper, cpu_seconds
from tests.support.invariants import Peers, serve
from tests.support.leaks import Snapshot
from tests.support.nginx import Nginx, find_nginx
from tests.support.peer import Conn, ScriptedPeer
from tests.support.running import is_async_test, run_async_test
from tests.support.servers import Server
from tests.support.tls import CertificateAuthority
from tests.support.watchdog import time_limit
from tests.support.ways import WAYS, current, every_way, spread
from tests.support.wire import BadRequest
from tests.support.worlds import (
    WORLDS,
    Hung,
    Leftovers,
    Suspended,
    World,
    can_cancel_worlds,
    drive,
    only_worlds,
)


def connect(peer: ScriptedPeer) -> socket.socket:
    return socket.create_connection((peer.host, peer.port), timeout=5)


def exchange(peer: ScriptedPeer, request: bytes) -> bytes:
    """Send, and receive everything until the peer closes."""
    with connect(peer) as sock:
        sock.sendall(request)
        return b"".join(iter(lambda: sock.recv(65_536), b""))


GET = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
# A request with this target is the last one on its connection.
HELLO = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"


# Worlds


async def test_each_world_runs_a_body(world: World) -> None:
    assert world.name in WORLDS
    await world.sleep(0)


async def test_callables_run_at_once_and_hear_of_each_other(world: World) -> None:
    first, second = world.event(), world.event()

    async def one() -> str:
        first.set()
        await second.wait()
        return "one"

    async def two() -> str:
        await first.wait()
        second.set()
        return "two"

    assert await world.gather_ok(one, two) == ["one", "two"]


async def test_gather_gives_errors_as_values_and_gather_ok_raises_them(world: World) -> None:
    async def good() -> int:
        return 1

    async def bad() -> int:
        raise ValueError("bad")

    fine, broken = await world.gather(good, bad)
    assert fine == 1
    assert isinstance(broken, ValueError)
    with pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="bad")):
        await world.gather_ok(good, bad)


async def test_an_error_of_a_task_that_nobody_asks_for_is_raised(world: World) -> None:
    async def bad() -> int:
        raise ValueError("bad")

    with pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="bad")):
        async with world.tasks() as tasks:
            tasks.start(bad)


async def test_an_error_of_the_block_comes_out_of_tasks_as_it_is(world: World) -> None:
    async def good() -> int:
        return 1

    async def block() -> None:
        async with world.tasks() as tasks:
            tasks.start(good)
            raise KeyError

    with pytest.raises(KeyError):
        await block()


@can_cancel_worlds
async def test_a_task_can_be_cancelled(world: World) -> None:
    started = world.event()

    async def for_ever() -> None:
        started.set()
        await world.sleep(3600)

    async with world.tasks() as tasks:
        task = tasks.start(for_ever)
        await started.wait()
        task.cancel()
    assert task.is_cancelled
    assert await world.cancel_after(0.01, for_ever)
    assert await world.cancel_when(lambda: True, for_ever)
    assert not await world.cancel_after(60, lambda: world.sleep(0))


@can_cancel_worlds
async def test_a_timeout_is_the_same_error_everywhere(world: World) -> None:
    with pytest.raises(TimeoutError):
        async with world.timeout(0.01):
            await world.sleep(3600)


@only_worlds("blocking")
async def test_nothing_can_be_cancelled_in_the_blocking_world(world: World) -> None:
    with pytest.raises(RuntimeError, match="cannot cancel"):
        await world.cancel_after(0, lambda: world.sleep(0))


async def test_until_gives_up(world: World) -> None:
    with pytest.raises(AssertionError, match=r"the moon did not hold within 0.02 s \(.*test_support.py:\d+\)"):
        await world.until(lambda: False, 0.02, "the moon")


def test_one_world_runs_several_loops(world: World) -> None:
    async def body() -> str:
        await world.sleep(0)
        return world.name

    assert [world.run(body) for _ in range(3)] == [world.name] * 3


@given(number=strategies.integers())
async def test_hypothesis_drives_async_tests(world: World, number: int) -> None:
    await world.sleep(0)
    assert isinstance(number, int)


def test_each_example_of_hypothesis_is_a_run_of_its_own_in_each_world() -> None:
    ran: list[str] = []

    @settings(max_examples=3, database=None)
    @given(number=strategies.integers())
    async def example(world: World, number: int) -> None:
        await world.sleep(0)
        ran.append(world.name)

    assert is_async_test(example)
    for world in WORLDS.values():
        run_async_test(example, world(), {"world": world()})
    assert ran == [name for name in WORLDS for _ in range(3)]


@pytest.mark.parametrize("name", WORLDS)
def test_a_failing_example_of_hypothesis_fails_the_test(name: str) -> None:
    @settings(database=None)
    @given(number=strategies.integers())
    async def example(number: int) -> None:
        assert number < 10

    with pytest.raises(AssertionError) as caught:
        run_async_test(example, WORLDS[name](), {})
    assert any("number=10" in note for note in caught.value.__notes__)


class NeverReady:
    def __await__(self) -> object:
        yield


def test_a_coroutine_that_suspends_in_the_blocking_world_says_where() -> None:
    async def inner() -> None:
        await NeverReady()  # type: ignore[misc]

    async def outer() -> None:
        await inner()

    with pytest.raises(Suspended, match=r"test_support\.py:\d+ in .*__await__"):
        drive(outer())


@pytest.mark.parametrize("name", [name for name, world in WORLDS.items() if world.can_cancel])
def test_a_body_that_hangs_fails(name: str) -> None:
    world = WORLDS[name](time_limit=0.05)

    with pytest.raises(Hung, match=rf"more than 0.05 s on {name}"):
        world.run(lambda: world.sleep(3600))


@pytest.mark.parametrize("name", ["asyncio", "uvloop"])
def test_a_task_that_is_left_fails(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.worlds._SETTLING_TIME", 0.0)
    world = WORLDS[name]()
    left: list[asyncio.Task[None]] = []

    async def body() -> None:
        left.append(asyncio.create_task(asyncio.sleep(3600)))

    with pytest.raises(Leftovers, match="sleep"):
        world.run(body)


def test_a_timer_that_is_left_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.worlds._SETTLING_TIME", 0.0)

    async def body() -> None:
        asyncio.get_running_loop().call_later(3600, print)

    with pytest.raises(Leftovers, match="print"):
        WORLDS["asyncio"]().run(body)
    WORLDS["asyncio"]().run(body, may_leave=True)


# The watchdog


@pytest.mark.parametrize("stuck", [lambda: threading.Event().wait(20), lambda: time.sleep(20)], ids=["lock", "sleep"])
def test_what_is_stuck_in_plain_code_is_interrupted(
    stuck: Callable[[], object], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tests.support.watchdog._GRACE", 0.0)
    with pytest.raises(Hung, match=r"more than 0.1 s"), time_limit(0.1):
        stuck()
    assert "most recent call first" in capfd.readouterr().err


# Leaks


def test_a_socket_that_is_left_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.leaks._SETTLING_TIME", 0.0)
    before = Snapshot()
    with socket.create_server(("127.0.0.1", 0)) as left:
        assert before.leaks() == [f"socket {left.fileno()}: AF_INET from {left.getsockname()} to 'nobody'"]
    assert before.leaks() == []


def test_a_descriptor_of_another_kind_that_is_left_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also a copy of one that was there before: a test that leaves them makes the suite run out of them."""
    monkeypatch.setattr("tests.support.leaks._SETTLING_TIME", 0.0)
    with open(os.devnull) as file, selectors.DefaultSelector():
        before = Snapshot()
        copy, selector = os.dup(file.fileno()), selectors.DefaultSelector()
        assert len(before.leaks()) == 2
        assert f"descriptor {copy}: {os.devnull}" in before.leaks()
        os.close(copy)
        selector.close()
        assert before.leaks() == []


def test_a_thread_that_is_left_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.leaks._SETTLING_TIME", 0.0)
    before, release = Snapshot(), threading.Event()
    left = threading.Thread(target=release.wait, name="left")
    left.start()
    assert before.leaks() == ["thread left"]
    release.set()
    left.join()
    assert before.leaks() == []


# Costs


def test_what_costs_too_much_is_noticed_and_what_did_so_once_is_not() -> None:
    with pytest.raises(AssertionError, match=r"2\.1 is not less than 2 times 1\.0"):
        assert_cheaper(lambda: 2.1, 2, lambda: 1.0)
    costs = iter([9.0, 5.0, 1.9])
    assert_cheaper(lambda: next(costs), 2, lambda: 1.0)
    assert_cheaper(lambda: 0.1, 2, lambda: 0.0, at_least=0.06)


def test_the_time_of_other_threads_is_no_cost() -> None:
    assert cpu_seconds(lambda: time.sleep(0.2)) < 0.1


# All of it together

BAD_TESTS = """
import asyncio, socket, threading, time, pytest
from tests.support import leaks, worlds
from tests.support.peer import ScriptedPeer
leaks._SETTLING_TIME = worlds._SETTLING_TIME = 0.05
release = threading.Event()

async def test_good(world): pass
async def test_no_world(): pass
def test_forgotten_socket():
    cycle = [socket.socket()]
    cycle.append(cycle)
@pytest.mark.only_worlds("asyncio")
async def test_open_socket(world): test_open_socket.left = socket.socket()
def test_thread():
    threading.Thread(target=release.wait).start()
def test_after_them_all_is_well():
    release.set()
    test_open_socket.left.close()
async def test_script(world):
    with ScriptedPeer(lambda conn: 1 / 0) as peer:
        with socket.create_connection((peer.host, peer.port)) as sock: sock.recv(1)
@pytest.mark.time_limit(0.1)
async def test_hangs(world): await world.sleep(10)
@pytest.mark.only_worlds("asyncio")
async def test_task(world): world.left = asyncio.create_task(asyncio.sleep(10))
"""


def test_bad_tests_fail(tmp_path: Path) -> None:
    (tmp_path / "test_bad.py").write_text(BAD_TESTS)
    root = Path(__file__).parent.parent
    options = ["-p", "tests.conftest", "-c", f"{root}/pyproject.toml", "-p", "no:cacheprovider", "--tb=no", "-q", "-rA"]
    command = [sys.executable, "-m", "pytest", *options, str(tmp_path)]
    output = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, text=True, timeout=50, check=False).stdout
    outcomes: dict[str, set[str]] = {}
    for outcome, test in re.findall(r"^(PASSED|FAILED|ERROR) \S*?::(\w+)", output, re.MULTILINE):
        outcomes.setdefault(test, set()).add(outcome)
    assert outcomes == {
        "test_good": {"PASSED"},
        "test_no_world": {"FAILED"},
        "test_forgotten_socket": {"PASSED", "ERROR"},
        "test_open_socket": {"PASSED", "ERROR"},
        "test_thread": {"PASSED", "ERROR"},
        "test_after_them_all_is_well": {"PASSED"},
        "test_script": {"FAILED"},
        "test_hangs": {"FAILED"},
        "test_task": {"FAILED"},
    }, output


# Scripted peers


def test_a_peer_reads_requests_and_answers() -> None:
    def script(conn: Conn) -> None:
        first = conn.read_request()
        assert (first.method, first.target, first.version) == (b"POST", b"/a?b", b"HTTP/1.1")
        assert first.headers == [(b"Host", b"x"), (b"content-length", b"3")]
        assert first.header(b"host") == b"x"
        assert first.header(b"absent") is None
        assert first.body == b"abc"
        second = conn.read_request()
        assert second.chunks == [b"de", b"f"]
        assert second.trailers == [(b"t", b"1")]
        conn.respond(body=second.body)

    with ScriptedPeer(script) as peer:
        answer = exchange(
            peer,
            b"POST /a?b HTTP/1.1\r\nHost: x\r\ncontent-length: 3\r\n\r\nabc"
            b"PUT / HTTP/1.1\r\nHost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\nde\r\n1\r\nf\r\n0\r\nt: 1\r\n\r\n",
        )
        peer.wait_for(lambda: peer.open_connections == 0)
    assert answer == b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\ndef"
    assert [request.body for request in peer.requests] == [b"abc", b"def"]
    assert peer.accepted == 1


@pytest.mark.parametrize(
    "bad",
    [
        b"GET  / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/2\r\n\r\n",
        b"GET / HTTP/1.1\r\na b: c\r\n\r\n",
        b"GET / HTTP/1.1\r\na: b\nc: d\r\n\r\n",
        b"GET / HTTP/1.1\r\na: b\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\nab\r\n",
        b"GET / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n+1\r\na\r\n",
        b"GET / HTTP/1.1\r\ncontent-length: +1\r\n\r\na",
    ],
)
def test_a_client_that_sends_what_is_not_http_fails_the_test(bad: bytes) -> None:
    with pytest.RaisesGroup(BadRequest), ScriptedPeer.answering(HELLO) as peer:
        assert exchange(peer, bad) == b""


def test_an_exception_in_a_script_fails_the_test() -> None:
    def script(conn: Conn) -> None:
        assert conn.read_request().target == b"/other"

    with pytest.RaisesGroup(AssertionError), ScriptedPeer(script) as peer:
        assert exchange(peer, GET) == b""


def test_an_exception_in_a_script_does_not_hide_that_of_the_test() -> None:
    def script(conn: Conn) -> None:
        conn.read_request()
        raise KeyError("script")

    def test() -> None:
        with ScriptedPeer(script) as peer:
            assert exchange(peer, GET) == b""
            raise ValueError("the test")

    with pytest.raises(ValueError, match="the test") as caught:
        test()
    assert caught.value.__notes__ == ["and the script of the peer failed: KeyError('script')"]


def test_breaking_off_in_a_request_is_an_error_unless_it_is_expected() -> None:
    def script(conn: Conn) -> None:
        conn.read_request()

    def break_off(peer: ScriptedPeer) -> None:
        with connect(peer) as sock:
            sock.sendall(b"GET / HT")
        peer.wait_for(lambda: peer.accepted == 1 and peer.open_connections == 0)

    with pytest.RaisesGroup(pytest.RaisesExc(Exception, match="GET / HT")), ScriptedPeer(script) as peer:
        break_off(peer)
    with ScriptedPeer(script, expect_disconnect=True) as peer:
        break_off(peer)


def test_leaving_between_requests_is_no_error() -> None:
    with ScriptedPeer.answering(HELLO) as peer, connect(peer) as sock:
        for _ in range(2):
            sock.sendall(GET)
            assert sock.recv(1000) == HELLO
    assert len(peer.requests) == 2


def test_a_script_sees_the_client_close_and_tells_it_from_being_stopped() -> None:
    seen: list[bool] = []

    def script(conn: Conn) -> None:
        conn.read_request()
        seen.append(conn.wait_closed())

    with ScriptedPeer(script) as peer:
        with connect(peer) as sock:
            sock.sendall(GET)
        peer.wait_for(lambda: seen)
    with ScriptedPeer(script) as peer, connect(peer) as sock:
        sock.sendall(GET)
        peer.wait_for(lambda: peer.requests)
        peer.__exit__(None, None, None)
    assert seen == [True, False]


def test_a_peer_ends_connections_by_fin_and_by_rst() -> None:
    def script(conn: Conn) -> None:
        conn.read_request()
        if conn.index == 0:
            conn.fin()
            conn.send  # noqa: B018 - only receiving is left
            assert conn.recv_exactly(4) == b"more"
            assert conn.wait_closed()
        else:
            conn.rst()

    with ScriptedPeer(script) as peer:
        with connect(peer) as sock:
            sock.sendall(GET)
            assert sock.recv(1) == b""
            sock.sendall(b"more")
        with connect(peer) as sock:
            sock.sendall(GET)
            with pytest.raises(ConnectionResetError):
                sock.recv(1)
        peer.wait_for(lambda: peer.open_connections == 0)


def test_open_connections_are_what_the_kernel_knows_not_what_the_script_does() -> None:
    def script(conn: Conn) -> None:
        gate.wait()

    with ScriptedPeer(script) as peer:
        gate = peer.gate()
        with connect(peer) as sock:
            peer.wait_for(lambda: peer.open_connections == 1)
            sock.sendall(b"unread")
        peer.wait_for(lambda: peer.open_connections == 0)
        with connect(peer) as sock:
            peer.wait_for(lambda: peer.open_connections == 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.wait_for(lambda: peer.open_connections == 0)
    assert peer.accepted == 2


def test_a_gate_holds_a_script_and_a_test() -> None:
    def script(conn: Conn) -> None:
        conn.read_request()
        arrived.open()
        go_on.wait()
        conn.send_bytewise(HELLO)

    with ScriptedPeer(script) as peer, connect(peer) as sock:
        arrived, go_on = peer.gate(), peer.gate()
        sock.sendall(GET)
        arrived.wait()
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.recv(1)
        sock.settimeout(5)
        go_on.open()
        assert b"".join(iter(lambda: sock.recv(1000), b"")) == HELLO
    with pytest.raises(TimeoutError, match="gate"):
        peer.gate().wait(0.01)


def test_a_peer_that_no_longer_listens_refuses() -> None:
    with ScriptedPeer.answering(HELLO) as peer, connect(peer) as sock:
        sock.sendall(GET)
        assert sock.recv(1000) == HELLO
        peer.stop_listening()
        with pytest.raises(ConnectionRefusedError):
            connect(peer)
        sock.sendall(GET)
        assert sock.recv(1000) == HELLO


@pytest.mark.parametrize("name", ["peer.sock", "\0httpcore-test-support"], ids=["path", "abstract"])
def test_a_peer_listens_on_a_unix_socket(name: str, tmp_path: object) -> None:
    uds = name if name.startswith("\0") else f"{tmp_path}/{name}"
    with (
        ScriptedPeer(lambda conn: conn.respond(body=conn.read_request().target), uds=uds),
        socket.socket(socket.AF_UNIX) as sock,
    ):
        sock.connect(uds)
        sock.sendall(GET)
        assert sock.recv(1000).endswith(b"\r\n\r\n/")


def test_nobody_answers_at_the_black_hole(black_hole: tuple[str, int]) -> None:
    with pytest.raises(TimeoutError):
        socket.create_connection(black_hole, timeout=0.1)


# TLS


def handshake(peer: ScriptedPeer, context: ssl.SSLContext, name: str = "localhost") -> ssl.SSLSocket:
    sock = connect(peer)
    try:
        return context.wrap_socket(sock, server_hostname=name)
    except BaseException:
        sock.close()
        raise


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_a_peer_speaks_tls(ca: CertificateAuthority, name: str) -> None:
    def script(conn: Conn) -> None:
        assert conn.tls is not None
        assert conn.tls.selected_alpn_protocol() == "http/1.1"
        # An address is not sent as a name (RFC 6066, 3).
        assert conn.server_name == ("localhost" if name == "localhost" else None)
        conn.respond(body=conn.read_request().target)

    client = ca.client_context()
    client.set_alpn_protocols(["h2", "http/1.1"])
    with ScriptedPeer(script, tls=ca.server_context(alpn=("http/1.1",))) as peer, handshake(peer, client, name) as sock:
        assert peer.url.startswith("https://127.0.0.1:")
        sock.sendall(GET)
        received = b"".join(iter(lambda: sock.recv(1000), b""))
    assert received.endswith(b"\r\n\r\n/")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (CertificateAuthority.expired, "expired"),
        (CertificateAuthority.wrong_host, "not valid for 'localhost'"),
        (CertificateAuthority.self_signed, "self-signed"),
        (lambda ca: ca.untrusted(), "local issuer|self-signed"),
    ],
)
def test_a_bad_certificate_is_refused_and_that_is_no_error_of_the_script(
    ca: CertificateAuthority, make: Callable[[CertificateAuthority], ssl.SSLContext], message: str
) -> None:
    with ScriptedPeer(lambda conn: pytest.fail("served"), tls=make(ca)) as peer:
        with pytest.raises(ssl.SSLCertVerificationError, match=message):
            handshake(peer, ca.client_context())
        peer.wait_for(lambda: peer.tls_errors)


def test_a_certificate_for_another_address_is_refused(ca: CertificateAuthority) -> None:
    with ScriptedPeer(lambda conn: pytest.fail("served"), tls=ca.wrong_ip()) as peer:
        with pytest.raises(ssl.SSLCertVerificationError, match=r"IP address mismatch"):
            handshake(peer, ca.client_context(), "127.0.0.1")
        peer.wait_for(lambda: peer.tls_errors)


def test_a_client_certificate_is_required(ca: CertificateAuthority) -> None:
    def script(conn: Conn) -> None:
        assert conn.tls is not None
        assert conn.tls.getpeercert()
        conn.respond(body=conn.read_request().target)

    with ScriptedPeer(script, tls=ca.requiring_client_certificate()) as peer:
        with (
            handshake(peer, ca.client_context()) as sock,
            pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"),
        ):
            sock.recv(1)
        client = ca.client_context()
        client.load_cert_chain(*ca.client_certificate())
        with handshake(peer, client) as sock:
            sock.sendall(GET)
            assert sock.recv(1000).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("is_proper", [True, False])
def test_tls_ends_with_a_close_notify_or_is_cut_off(ca: CertificateAuthority, is_proper: bool) -> None:
    def script(conn: Conn) -> None:
        conn.read_request()
        if not is_proper:
            conn.fin()
            conn.close()

    client = ca.client_context()
    with ScriptedPeer(script, tls=ca.server_context()) as peer:
        sock = socket.create_connection((peer.host, peer.port), timeout=5)
        with client.wrap_socket(sock, server_hostname="localhost", suppress_ragged_eofs=False) as tls:
            tls.sendall(GET)
            if is_proper:
                assert tls.recv(1) == b""
            else:
                with pytest.raises(ssl.SSLEOFError):
                    tls.recv(1)


def test_tls_starts_in_the_middle_of_a_connection(ca: CertificateAuthority) -> None:
    def script(conn: Conn) -> None:
        assert conn.read_request().method == b"CONNECT"
        conn.send(b"HTTP/1.1 200 OK\r\n\r\n")
        conn.start_tls(ca.server_context())
        conn.respond(body=conn.read_request().target)

    with ScriptedPeer(script) as peer, connect(peer) as sock:
        sock.sendall(b"CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n")
        assert sock.recv(1000) == b"HTTP/1.1 200 OK\r\n\r\n"
        with ca.client_context().wrap_socket(sock, server_hostname="localhost") as tls:
            tls.sendall(GET)
            assert tls.recv(1000).endswith(b"\r\n\r\n/")


# Real servers


def get(url: str, ca: CertificateAuthority, headers: dict[str, str] | None = None) -> tuple[bytes, Message]:
    request = urllib.request.Request(url, headers=headers or {})
    with urllib.request.urlopen(request, context=ca.client_context(), timeout=5) as response:
        return response.read(), response.headers


@every_way
async def test_a_way_brings_tls_and_proxies(world: World) -> None:
    """What the script sees is the same, what goes over the wire is not, and connections are counted by origin."""
    with Peers(serve) as peers:
        http = world.pool()
        for origin in (*peers.origins, peers.faulty.origin):
            assert (await http.request("GET", f"{origin}/hello")).body == b"/hello"
        way, conn = peers.faulty.way, peers.faulty.connections[0]
        assert way is current().way
        assert (conn.tls is not None) == way.is_secure == peers.url.startswith("https:")
        assert conn.is_tunnel == (way.name == "CONNECT")
        target = conn.requests[0].raw_head.split(b" ")[1]
        assert target == (f"{peers.faulty.origin}/hello".encode() if way.name == "forwarded" else b"/hello")
        assert len(peers.other.connections) == int(not way.is_proxied)
        assert peers.accepted == 1
        assert [request.target for request in conn.requests] == [b"/hello"] * 2


def test_ways_meet_all_worlds_and_engines() -> None:
    met = {case for number in range(200) for case in spread(f"test {number}", WAYS, list(WORLDS), ["h11", "httptools"])}
    assert len(met) == len(WAYS) * len(WORLDS) * 2


@pytest.mark.parametrize("name", ["uvicorn_server", "hypercorn_server"])
def test_an_asgi_server_serves_the_application(
    name: str, ca: CertificateAuthority, request: pytest.FixtureRequest
) -> None:
    server: Server = request.getfixturevalue(name)
    for origin in (server.http, server.https):
        assert get(f"{origin}/", ca)[0] == b"hello"
        assert get(f"{origin}/bytes/100000?chunked", ca)[0] == pattern(100_000)
        assert json.loads(get(f"{origin}/headers?a=b", ca)[0])["query"] == "a=b"
        assert gzip.decompress(get(f"{origin}/gzip", ca)[0]) == TEXT


def test_nginx_serves_files_and_the_application(nginx_server: Nginx, ca: CertificateAuthority) -> None:
    for origin in (nginx_server.http, nginx_server.https):
        assert get(f"{origin}/1kB.bin", ca)[0] == pattern(1000)
        assert get(f"{origin}/app/", ca)[0] == b"hello"
        compressed, headers = get(f"{origin}/text.txt", ca, {"accept-encoding": "gzip"})
        assert gzip.decompress(compressed) == TEXT
        assert headers["content-encoding"] == "gzip"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(nginx_server.uds)
        sock.sendall(b"GET /no-keepalive/1MB.bin HTTP/1.1\r\nhost: x\r\n\r\n")
        assert b"".join(iter(lambda: sock.recv(65_536), b"")).endswith(b"\r\n\r\n" + pattern(1_000_000))
    # A request is logged after its response was sent.
    deadline = time.monotonic() + 5
    while "GET /no-keepalive/1MB.bin HTTP/1.1 200" not in nginx_server.log.read_text():
        assert time.monotonic() < deadline


def test_without_nginx_a_user_is_told_how_to_install_it_and_ci_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install nginx"):
        find_nginx()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="CI skips nothing"):
        find_nginx()


def test_a_server_does_not_outlive_the_tests_even_when_they_are_killed(tmp_path: Path) -> None:
    server = (
        "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True);"
        "s.accept()[0].recv(1)"
    )
    tests = (
        "import sys; from pathlib import Path; from tests.support.servers import running\n"
        "with running([sys.executable, '-c', sys.argv[1]], Path(sys.argv[2])) as process:\n"
        "    print(process.stdout.readline().decode(), flush=True); input()"
    )
    command = [sys.executable, "-c", tests, server, str(tmp_path / "log")]
    root = Path(__file__).parent.parent
    with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
            process.kill()
            # The kernel closes it when the server is gone, and resets it where the server had not accepted it yet.
            with contextlib.suppress(ConnectionResetError):
                assert sock.recv(1) == b""
