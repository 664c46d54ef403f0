"""Bodies that flow: seen as they come (P29), byte for byte (P30), and no faster than both sides can take (P57)."""

from __future__ import annotations

import socket
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import psutil
import pytest

import httpcore
from httpcore._backends.blocking import BlockingStream
from httpcore._streams import StreamInfo
from tests.support.cost import assert_cheaper, assert_quick, cpu_seconds
from tests.support.peer import Conn, Gate, ScriptedPeer
from tests.support.worlds import World, only_worlds

MB = 1024 * 1024
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


async def test_p29_a_server_sent_event_is_seen_when_it_comes(world: World, engine: str) -> None:
    """Each event is sent only once the one before it was seen, so that nothing can have been held back."""
    sent: list[float] = []

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.send(CHUNKED)
        for number in range(20):
            event = b"data: %d\n\n" % number
            sent.append(time.monotonic())
            conn.send(b"%x\r\n%b\r\n" % (len(event), event))
            seen[number].wait()
        conn.send(b"0\r\n\r\n")

    async def median_delay() -> float:
        sent.clear()
        with ScriptedPeer(script) as peer:
            seen[:] = [peer.gate() for _ in range(20)]
            delays: list[float] = []
            async with await world.pool(http1_engine=engine).request("GET", peer.url, stream=True) as response:
                async for part in response.stream():
                    number = len(delays)
                    delays.append(time.monotonic() - sent[number])
                    assert part == b"data: %d\n\n" % number
                    seen[number].open()
        assert len(delays) == 20
        return statistics.median(delays)

    seen: list[Gate] = []
    await assert_quick(median_delay, within=0.01)


async def test_p29_parts_that_come_together_are_not_joined_and_none_is_cut(world: World, engine: str) -> None:
    parts = [b"a", b"bc" * 1000, b"d" * 10, b"e"]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    with ScriptedPeer.answering(CHUNKED + chunks + b"0\r\n\r\n") as peer:
        response = await world.pool(http1_engine=engine).request("GET", peer.url, stream=True)
        assert [part async for part in response.stream()] == parts


async def test_p30_header_order_duplicates_and_values_are_kept_both_ways(world: World, engine: str) -> None:
    sent = [(b"X-One", b"1"), (b"x-two", b"a, b"), (b"X-One", b"3"), (b"Cookie", b"\xc3\xa9")]
    answer = (
        b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nX-B: \xe9\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\nX-Empty:\r\n\r\n"
    )
    with ScriptedPeer.answering(answer) as peer:
        response = await world.pool(http1_engine=engine).request("GET", peer.url, headers=sent)
        assert response.headers == (
            (b"set-cookie", b"a=1"),
            (b"x-b", b"\xe9"),
            (b"set-cookie", b"b=2"),
            (b"content-length", b"0"),
            (b"x-empty", b""),
        )
        received = peer.requests[0].headers
    assert [pair for pair in received if pair in sent] == sent


async def test_p30_raw_bodies_are_byte_exact(world: World, engine: str) -> None:
    body = bytes(range(256)) * 1000
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body)
    with ScriptedPeer.answering(head + body) as peer:
        http = world.pool(http1_engine=engine)
        response = await http.request("GET", peer.url, stream=True)
        assert b"".join([part async for part in response.raw()]) == body
        untouched = await http.request("GET", peer.url, headers={"accept-encoding": "gzip"})
        assert (untouched.body, untouched.headers.get("content-encoding")) == (body, b"gzip")


async def test_p57_a_slow_reader_keeps_a_large_download_out_of_memory(world: World) -> None:
    """The peer can send no more than what fits into sockets and one read, however much it has."""
    total = 300 * MB
    piece = b"z" * MB

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        for _ in range(total // MB):
            conn.send(piece)
            progress[0] += 1

    progress = [0]
    with ScriptedPeer(script, expect_disconnect=True) as peer:
        response = await world.pool(timeout=20).request("GET", peer.url, stream=True)
        parts = response.stream()
        before = psutil.Process().memory_info().rss
        received = len(await anext(parts))
        await world.until(lambda: stalled(progress))
        assert progress[0] < 64  # MB in flight: socket buffers on both sides, which Linux lets grow to a few
        async for part in parts:
            received += len(part)
            if received >= 100 * MB:
                break
        grown = psutil.Process().memory_info().rss - before
        await response.aclose()
    assert grown < 16 * MB


def stalled(progress: list[int]) -> bool:
    """Whether the peer has got no further since it was last asked, a moment ago."""
    now, last = progress[0], getattr(stalled, "last", None)
    stalled.last = now  # type: ignore[attr-defined]  # a function's attribute is the shortest memory there is
    return now > 0 and now == last


async def test_p57_a_slow_server_holds_the_iterator_of_an_upload(world: World) -> None:
    given = [0]

    def script(conn: Conn) -> None:
        conn.read_head()
        gate.wait()
        taken = 0
        while taken < 64 * MB:
            taken += len(conn.recv(MB))
        conn.respond(body=b"%d" % taken)

    async def pieces() -> AsyncIterator[bytes]:
        for piece in plain():
            yield piece

    def plain() -> Iterator[bytes]:
        for _ in range(64):
            given[0] += 1
            yield b"u" * MB

    with ScriptedPeer(script) as peer:
        gate = peer.gate()
        http = world.pool(timeout=httpcore.Timeout(20))

        async def upload() -> bytes:
            body = plain() if world.name == "blocking" else pieces()
            headers = {"content-length": str(64 * MB)}
            return (await http.request("POST", peer.url, headers=headers, body=body)).body

        async def watch() -> None:
            await world.until(lambda: given[0] > 0)
            await world.until(lambda: stalled(given))
            held.append(given[0])
            gate.open()

        held: list[int] = []
        results = await world.gather_ok(upload, watch)
    assert results[0] == b"%d" % (64 * MB)
    assert held[0] < 32  # of 64 MB; the rest was not even asked for


async def test_p57_memory_stays_flat_while_a_file_goes_up(
    world: World, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("upload") / "large.bin"
    with path.open("wb") as new:
        new.truncate(200 * MB)

    def script(conn: Conn) -> None:
        conn.read_head()
        taken = 0
        while taken < 200 * MB:
            taken += len(conn.recv(MB))
        conn.respond(body=b"%d" % taken)

    with ScriptedPeer(script) as peer, path.open("rb") as file:
        http = world.pool(timeout=20)
        before = psutil.Process().memory_info().rss
        response = await http.request("PUT", peer.url, body=file)
        grown = psutil.Process().memory_info().rss - before
        assert response.body == b"%d" % (200 * MB)
    assert grown < 24 * MB  # the peer's reads of 1 MB are in this process too


# Two readers


async def _only_one_reads(world: World, peer: ScriptedPeer, gate: Gate, read: Callable[[], Awaitable[bytes]]) -> None:
    """Of two who read at once one is told so at once, and the other goes on as if nothing had been."""
    errors: list[httpcore.HTTPCoreError] = []

    async def one() -> bytes:
        try:
            return await read()
        except httpcore.HTTPCoreError as exc:
            errors.append(exc)
            return b""

    async with world.tasks() as tasks:
        readers = [tasks.start(one), tasks.start(one)]
        await world.until(lambda: bool(errors))
        gate.open()
        await world.until(lambda: all(reader.is_done for reader in readers))
    assert sorted(reader.result() for reader in readers) == [b"", b"two"]
    (error,) = errors
    assert "somebody else" in str(error)
    assert await read() == b"three"


@only_worlds("asyncio", "uvloop", "trio")
async def test_two_tasks_that_read_one_body_at_once_are_told_so(world: World, engine: str) -> None:
    def script(conn: Conn) -> None:
        conn.read_request()
        conn.send(CHUNKED + b"3\r\none\r\n")
        gate.wait()
        conn.send(b"3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n")

    with ScriptedPeer(script) as peer:
        gate = peer.gate()
        async with await world.pool(http1_engine=engine).request("GET", peer.url, stream=True) as response:
            parts = response.raw()
            assert await anext(parts) == b"one"

            async def read() -> bytes:
                return await anext(parts)

            await _only_one_reads(world, peer, gate, read)


async def test_two_who_read_one_upgraded_stream_at_once_are_told_so(world: World) -> None:
    def script(conn: Conn) -> None:
        conn.read_request()
        conn.send(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n")
        gate.wait()
        conn.send(b"two")
        conn.send(b"three")
        conn.wait_closed()

    with ScriptedPeer(script) as peer:
        gate = peer.gate()
        headers = {"upgrade": "x", "connection": "upgrade"}
        async with await world.pool().request("GET", peer.url, headers, stream=True) as response:
            stream = response.extensions["network_stream"]
            assert isinstance(stream, httpcore.NetworkStream)

            async def read() -> bytes:
                return await stream.read(5 if gate.is_open() else 3)

            await _only_one_reads(world, peer, gate, read)


def test_what_waits_for_a_peer_that_takes_nothing_is_not_copied_again_and_again() -> None:
    def queue(count: int) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            ours.setblocking(False)
            stream = BlockingStream(ours, StreamInfo())
            written = 0
            while stream.write(bytes(65_536)):
                written += 65_536
            for _ in range(count):
                assert not stream.write(b"x" * 1000)
            received = 0
            while not stream.write(b""):
                received += len(theirs.recv(MB))
            stream.close()
            while data := theirs.recv(MB):
                received += len(data)
                last = data
            assert received == written + 65_536 + count * 1000
            assert last.endswith(b"x")

    # Ten times as many: linear is a factor of 10, quadratic one of 100.
    assert_cheaper(lambda: cpu_seconds(lambda: queue(5_000)), 30, lambda: cpu_seconds(lambda: queue(500)))
