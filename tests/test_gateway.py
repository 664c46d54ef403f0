"""The gateway of examples/: a real uvicorn, a real client on one side of it and an upstream on the other."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import re
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

import httpcore
from examples.gateway import Gateway
from scripts.demo import serving
from tests.support.app import TEXT, pattern
from tests.support.peer import Conn, ScriptedPeer
from tests.support.servers import Server, running
from tests.support.worlds import World, only_worlds

pytestmark = only_worlds("asyncio")

MB = 1024 * 1024


@contextmanager
def gateway_to(upstream: str, *, timeout: float = 30, parser: str = "auto") -> Iterator[str]:
    """The origin of a gateway in a uvicorn of this process: the timeout of its pool, the parser of its server."""
    gateway = Gateway(upstream)
    gateway.http = httpcore.ConnectionPool(timeout=timeout)
    with serving(gateway, http=parser, server_header=False, date_header=False) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def gateway(uvicorn_server: Server) -> Iterator[str]:
    with gateway_to(uvicorn_server.http) as origin:
        yield origin


def connected(origin: str) -> socket.socket:
    host, _, port = origin.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=10)


def exchange(origin: str, request: bytes) -> bytes:
    """What a gateway answers to these bytes, which end with `connection: close`."""
    with connected(origin) as sock:
        sock.sendall(request)
        return b"".join(iter(lambda: sock.recv(65_536), b""))


# Headers and encodings


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br"])
async def test_a_client_that_asks_for_a_coding_gets_the_bytes_untouched(
    world: World, gateway: str, uvicorn_server: Server, coding: str
) -> None:
    asked = {"accept-encoding": coding}
    direct = await world.pool().request("GET", f"{uvicorn_server.http}/{coding}", headers=asked)
    through = await world.pool().request("GET", f"{gateway}/{coding}", headers=asked)
    assert through.body == direct.body != TEXT
    for name in ("content-encoding", "content-length", "content-type"):
        assert through.headers.get(name) == direct.headers.get(name) is not None


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br"])
async def test_a_client_that_asks_for_none_gets_the_body_decoded(world: World, gateway: str, coding: str) -> None:
    response = await world.pool(decompress=False).request("GET", f"{gateway}/{coding}")
    assert response.body == TEXT
    assert response.headers.get("content-encoding") is None
    assert response.headers.get("content-length") is None
    assert response.headers.get("content-type") == b"text/plain"


async def test_a_coding_nobody_knows_passes_untouched(world: World) -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-encoding: rot13\r\n\r\nuryyb"[:-2]
    with ScriptedPeer.answering(answer) as peer, gateway_to(peer.origin) as origin:
        response = await world.pool().request("GET", origin, headers={"accept-encoding": "rot13"})
        assert (response.headers.get("content-encoding"), response.body) == (b"rot13", b"ury")


async def test_request_headers_pass_in_order_without_what_is_hop_by_hop(
    world: World, gateway: str, uvicorn_server: Server
) -> None:
    headers = [
        ("x-a", "1"),
        ("connection", "x-private, keep-alive"),
        ("x-private", "for the gateway"),
        ("te", "trailers"),
        ("x-b", "2"),
        ("x-a", "3"),
        ("accept-encoding", "identity"),
    ]
    response = await world.pool().request("GET", f"{gateway}/headers?a=%20b&c", headers=headers)
    seen = json.loads(response.body)
    assert (seen["path"], seen["query"]) == ("/headers", "a=%20b&c")
    assert seen["headers"] == [
        ["host", uvicorn_server.http.removeprefix("http://")],
        ["x-a", "1"],
        ["x-b", "2"],
        ["x-a", "3"],
        ["accept-encoding", "identity"],
        ["via", "1.1 gateway"],
    ]


async def test_response_headers_pass_as_they_are_without_what_is_hop_by_hop(world: World) -> None:
    kept = [
        (b"date", b"Sat, 21 Nov 2026 10:00:00 GMT"),
        (b"set-cookie", b"a=1"),
        (b"set-cookie", b"b=2"),
        (b"server", b"upstream"),
        (b"content-length", b"2"),
    ]
    hops = [(b"Connection", b"keep-alive, X-Hop"), (b"X-Hop", b"1"), (b"Keep-Alive", b"timeout=9")]

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.respond(headers=[*hops, *kept], body=b"hi")

    with ScriptedPeer(script) as peer, gateway_to(peer.origin) as origin:
        response = await world.pool().request("GET", origin)
        assert list(response.headers) == kept


@pytest.mark.parametrize("status", [204, 304, 404, 500])
async def test_every_status_passes(world: World, gateway: str, status: int) -> None:
    http = world.pool(limits=httpcore.Limits(max_connections=1))
    for _ in range(2):
        response = await http.request("GET", f"{gateway}/status/{status}")
        assert response.status_code == status
        assert response.body == (b"" if status in (204, 304) else str(status).encode())


async def test_the_answer_to_head_keeps_its_headers_and_has_no_body(world: World, gateway: str) -> None:
    http = world.pool(limits=httpcore.Limits(max_connections=1))
    for _ in range(2):
        response = await http.request("HEAD", f"{gateway}/gzip", headers={"accept-encoding": "gzip"})
        assert response.headers.get("content-encoding") == b"gzip"
        assert response.headers.get("content-length") is not None
        assert response.body == b""


# Bodies


async def parts(count: int, digest: hashlib._Hash) -> AsyncIterator[bytes]:
    for number in range(count):
        part = pattern(MB, number)
        digest.update(part)
        yield part


@contextmanager
def gateway_process(upstream: str, log: Path) -> Iterator[tuple[str, psutil.Process]]:
    """The gateway as its documentation says to run it; its origin and its process."""
    options = ["--factory", "examples.gateway:from_environment", "--no-server-header", "--no-date-header"]
    command = ["env", f"BASE_URL={upstream}", sys.executable, "-m", "uvicorn", *options, "--port", "0"]
    with running(command, log) as process:
        deadline = time.monotonic() + 10
        while (found := re.search(r"running on (http://127\.0\.0\.1:[0-9]+)", log.read_text())) is None:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.01)
        (child,) = psutil.Process(process.pid).children()
        yield found[1], child


def peak_memory(process: psutil.Process) -> int:
    """The most memory it ever had, in bytes."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s*([0-9]+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of another process is read from /proc")
async def test_big_bodies_pass_both_ways_in_flat_memory(world: World, uvicorn_server: Server, tmp_path: Path) -> None:
    http = world.pool(timeout=20)
    with gateway_process(uvicorn_server.http, tmp_path / "gateway.log") as (origin, process):

        async def up(count: int) -> None:
            digest = hashlib.sha256()
            response = await http.request("POST", f"{origin}/upload", body=parts(count, digest))
            assert json.loads(response.body) == {"sha256": digest.hexdigest(), "length": count * MB}

        async def down(count: int) -> None:
            digest = hashlib.sha256()
            async with await http.request("GET", f"{origin}/bytes/{count * MB}", stream=True) as response:
                async for part in response.stream():
                    digest.update(part)
            assert digest.digest() == hashlib.sha256(pattern(count * MB)).digest()

        await up(1)
        await down(1)
        before = peak_memory(process)
        await up(50)
        await down(50)
        # A third of one body: what is left of it are buffers, and what the allocator made of them.
        assert peak_memory(process) - before < 16 * MB


async def test_what_comes_is_passed_on_at_once(world: World) -> None:
    with ScriptedPeer(lambda conn: script(conn)) as peer:
        gate = peer.gate()

        def script(conn: Conn) -> None:
            conn.read_request()
            conn.send(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nhalf")
            gate.wait()
            conn.send(b"rest")

        with gateway_to(peer.origin) as origin:
            response = await world.pool().request("GET", origin, stream=True)
            stream = response.stream()
            assert await anext(stream) == b"half"
            gate.open()
            assert [part async for part in stream] == [b"rest"]


async def test_a_compressed_stream_is_decoded_as_it_comes(world: World) -> None:
    whole = gzip.compress(b"first", mtime=0), gzip.compress(b"second", mtime=0)
    with ScriptedPeer(lambda conn: script(conn)) as peer:
        gate = peer.gate()

        def script(conn: Conn) -> None:
            conn.read_request()
            head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n"
            conn.send(head % sum(map(len, whole)) + whole[0])
            gate.wait()
            conn.send(whole[1])

        with gateway_to(peer.origin) as origin:
            response = await world.pool(decompress=False).request("GET", origin, stream=True)
            stream = response.stream()
            assert await anext(stream) == b"first"
            gate.open()
            assert [part async for part in stream] == [b"second"]


async def test_an_answer_that_begins_before_the_upload_ends_does_not_end_it(world: World, gateway: str) -> None:
    sent, received = hashlib.sha256(), hashlib.sha256()
    async with await world.pool().request("POST", f"{gateway}/echo", body=parts(5, sent), stream=True) as response:
        async for part in response.stream():
            received.update(part)
    assert received.digest() == sent.digest()


# Uploads that do not come to their end


async def test_the_body_is_asked_for_when_the_upstream_asks_for_it(world: World) -> None:
    begun = []

    async def body() -> AsyncIterator[bytes]:
        begun.append(True)
        yield b"never sent"

    def script(conn: Conn) -> None:
        assert conn.read_head().header(b"expect") == b"100-continue"
        conn.respond(417, headers=[(b"connection", b"close")])
        assert conn.recv() == b""

    with ScriptedPeer(script) as peer, gateway_to(peer.origin) as origin:
        headers = {"expect": "100-continue", "content-length": "10"}
        response = await world.pool().request("PUT", origin, headers=headers, body=body())
        assert response.status_code == 417
        assert not begun


async def test_an_early_413_reaches_a_client_that_is_still_sending(world: World) -> None:
    def script(conn: Conn) -> None:
        conn.read_head()
        conn.respond(413, body=b"too large", headers=[(b"connection", b"close")])
        conn.wait_closed()

    with ScriptedPeer(script, expect_disconnect=True) as peer, gateway_to(peer.origin) as origin:
        sent = hashlib.sha256()
        response = await world.pool().request("POST", f"{origin}/", body=parts(50, sent))
        assert (response.status_code, response.body) == (413, b"too large")


async def test_a_client_that_hangs_up_while_it_sends_ends_the_upstream_request(world: World) -> None:
    ended = []

    def script(conn: Conn) -> None:
        conn.read_head()
        ended.append(conn.wait_closed())

    with ScriptedPeer(script, expect_disconnect=True) as peer, gateway_to(peer.origin) as origin:
        with connected(origin) as sock:
            sock.sendall(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nhalf")
            await world.until(lambda: peer.requests)
        await world.until(lambda: ended)
        assert ended == [True]


# Clients that hang up


def endless(conn: Conn) -> None:
    conn.read_request()
    conn.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        conn.send(b"5\r\nagain\r\n")


def silent(conn: Conn) -> None:
    conn.read_request()
    conn.wait_closed()


def refusing_endlessly(conn: Conn) -> None:
    conn.read_head()
    conn.send(b"HTTP/1.1 417 No\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        conn.send(b"5\r\nagain\r\n")


GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
EXPECT = b"PUT / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 1\r\n\r\n"


@pytest.mark.parametrize(
    ("script", "request_head", "status"),
    [
        pytest.param(endless, GET, b"HTTP/1.1 200", id="in its answer"),
        pytest.param(silent, GET, b"", id="before its answer"),
        pytest.param(refusing_endlessly, EXPECT, b"HTTP/1.1 417", id="before its body was asked for"),
    ],
)
async def test_a_client_that_hangs_up_closes_the_upstream_connection(
    world: World, script: Callable[[Conn], None], request_head: bytes, status: bytes
) -> None:
    with ScriptedPeer(script, expect_disconnect=True) as peer, gateway_to(peer.origin) as origin:
        with connected(origin) as sock:
            sock.sendall(request_head)
            await world.until(lambda: peer.requests)
            assert sock.recv(len(status)) == status
        await world.until(lambda: peer.open_connections == 0)


async def test_a_slow_client_holds_the_upstream(world: World) -> None:
    taken: list[int] = []

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (100 * MB))
        # A send that gets nowhere for so long means that everything between here and the client is full.
        conn.socket.sock.settimeout(0.5)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < 100:
                conn.send(bytes(MB))
                sent += 1
        taken.append(sent)
        conn.wait_closed()

    with ScriptedPeer(script, expect_disconnect=True) as peer, gateway_to(peer.origin) as origin:
        async with await world.pool().request("GET", origin, stream=True) as response:
            assert await anext(response.stream())
            await world.until(lambda: taken, timeout=20)
            assert taken[0] < 50
        await world.until(lambda: peer.open_connections == 0)


# Errors


async def test_an_upstream_that_cannot_be_reached_is_502(world: World) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with gateway_to(f"http://127.0.0.1:{unused.getsockname()[1]}") as origin:
            response = await world.pool().request("GET", origin)
            assert (response.status_code, response.body) == (502, b"502\n")


async def test_an_upstream_that_speaks_no_http_is_502(world: World) -> None:
    with ScriptedPeer.answering(b"220 mail.example.org\r\n") as peer, gateway_to(peer.origin) as origin:
        assert (await world.pool().request("GET", origin)).status_code == 502


async def test_an_upstream_that_does_not_answer_is_504(world: World) -> None:
    with ScriptedPeer(silent) as peer, gateway_to(peer.origin, timeout=0.2) as origin:
        assert (await world.pool().request("GET", origin)).status_code == 504


async def test_an_answer_that_breaks_off_is_seen_to_break_off(world: World) -> None:
    def script(conn: Conn) -> None:
        conn.read_request()
        conn.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")

    with ScriptedPeer(script) as peer, gateway_to(peer.origin) as origin:
        response = await world.pool().request("GET", origin, stream=True)
        assert response.status_code == 200
        with pytest.raises((httpcore.RemoteProtocolError, httpcore.ReadError)):
            await response.read()


@pytest.mark.parametrize("target", ["@{}/", "http://{}/", "*"])
async def test_a_target_cannot_become_another_host(world: World, target: str) -> None:
    peer = ScriptedPeer.answering(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    other = ScriptedPeer.answering(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    # h11 takes any target, and uvicorn passes it on; llhttp refuses the first itself.
    with peer, other, gateway_to(peer.origin, parser="h11") as origin:
        line = f"GET {target.format(other.authority)} HTTP/1.1\r\n".encode()
        answer = exchange(origin, line + b"host: a\r\nconnection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert other.accepted == peer.accepted == 0


async def test_a_websocket_is_refused(world: World, gateway: str) -> None:
    asked = [
        (b"upgrade", b"websocket"),
        (b"connection", b"upgrade"),
        (b"sec-websocket-version", b"13"),
        (b"sec-websocket-key", b"AAAAAAAAAAAAAAAAAAAAAA=="),
    ]
    assert (await world.pool().request("GET", gateway, headers=asked)).status_code == 403


# Its life


async def test_its_connections_are_reused_and_closed_when_it_shuts_down(world: World) -> None:
    with ScriptedPeer.answering(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi") as peer:
        with gateway_to(peer.origin) as origin:
            for _ in range(5):
                assert (await world.pool().request("GET", origin)).body == b"hi"
            assert (peer.accepted, peer.open_connections) == (1, 1)
        assert peer.open_connections == 0
