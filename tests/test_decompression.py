"""P56 and FAULTS I, through the pool: who asks for a coding decodes it, in bounded steps, and no other bytes change."""

from __future__ import annotations

import gzip
import math
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import brotli
import pytest

from httpcore import DecodingError, RemoteProtocolError
from tests.support.app import TEXT, zstd_compress
from tests.support.peer import Conn, ScriptedPeer
from tests.support.servers import Server
from tests.support.worlds import World

OFFERED = b"gzip, deflate, br, zstd"
SMALL = b"".join(b"%d bottles of beer, " % number for number in range(9))
ROOT = Path(__file__).parents[1]


def raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush()


ENCODE: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "deflate": zlib.compress,
    "raw deflate": raw_deflate,
    "br": brotli.compress,
    "zstd": zstd_compress,
}


def coding(name: str) -> bytes:
    return name.removeprefix("raw ").encode()


def encoded(*names: str, data: bytes = SMALL) -> bytes:
    for name in names:
        data = ENCODE[name](data)
    return data


def answering(body: bytes, *codings: bytes, status: int = 200, chunked: bool = False) -> ScriptedPeer:
    """A peer that answers every request with this body, and has a content-encoding line for each of the codings."""
    headers = [(b"x-first", b"1"), *((b"content-encoding", value) for value in codings), (b"etag", b'"e"')]

    def script(conn: Conn) -> None:
        while True:
            conn.read_request()
            if chunked:
                conn.respond_chunked([body[start : start + 7] for start in range(0, len(body), 7)], status, headers)
            else:
                conn.respond(status, body, headers)

    return ScriptedPeer(script)


# Go's rule


@pytest.mark.parametrize(
    ("pool", "request_", "headers", "asked", "is_decoded"),
    [
        # Who asks is who decodes.
        (None, None, {}, OFFERED, True),
        (None, None, {"accept-encoding": "gzip"}, b"gzip", False),
        (None, None, {"Accept-Encoding": "gzip, br;q=0"}, b"gzip, br;q=0", False),
        (None, None, {"accept-encoding": "identity"}, b"identity", False),
        (None, None, {"accept-encoding": ""}, b"", False),
        # A part of a coded body cannot be decoded, so for one it is not asked.
        (None, None, {"range": "bytes=5-"}, None, False),
        # Always, and never.
        (True, None, {}, OFFERED, True),
        (True, None, {"accept-encoding": "gzip"}, b"gzip", True),
        (False, None, {}, None, False),
        (False, None, {"accept-encoding": "gzip"}, b"gzip", False),
        # The request's word counts before the pool's.
        (None, True, {"accept-encoding": "gzip"}, b"gzip", True),
        (None, False, {}, None, False),
        (True, False, {}, None, False),
        (False, True, {}, OFFERED, True),
        (False, True, {"accept-encoding": "gzip"}, b"gzip", True),
    ],
)
async def test_gos_rule_who_asked_for_a_coding_decodes_it(
    world: World,
    pool: bool | None,
    request_: bool | None,
    headers: dict[str, str],
    asked: bytes | None,
    is_decoded: bool,
) -> None:
    body = encoded("gzip")
    http = world.pool(decompress=pool)
    with answering(body, b"gzip") as peer:
        response = await http.request("GET", peer.url, headers, decompress=request_)
        assert peer.requests[0].header(b"accept-encoding") == asked
        assert response.body == (SMALL if is_decoded else body)
        # The headers describe what the caller has; the others stay, in their order.
        described = [] if is_decoded else [(b"content-encoding", b"gzip"), (b"content-length", b"%d" % len(body))]
        found = [pair for pair in response.headers if pair[0] in (b"content-encoding", b"content-length")]
        assert found == described
        assert [pair for pair in response.headers if pair not in found] == [(b"x-first", b"1"), (b"etag", b'"e"')]
        kept = {"content_encoding": b"gzip", "content_length": b"%d" % len(body)} if is_decoded else {}
        assert {name: value for name, value in response.extensions.items() if name.startswith("content_")} == kept


@pytest.mark.parametrize("names", [("gzip",), ("deflate",), ("raw deflate",), ("br",), ("zstd",), ("gzip", "br")])
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_is_decoded_whole_and_in_parts(world: World, names: tuple[str, ...], chunked: bool) -> None:
    http = world.pool()
    with answering(encoded(*names), b", ".join(map(coding, names)), chunked=chunked) as peer:
        assert (await http.request("GET", peer.url)).body == SMALL
        response = await http.request("GET", peer.url, stream=True)
        assert b"".join([part async for part in response.stream()]) == SMALL
        assert ("content_length" in response.extensions) is not chunked
        response = await http.request("GET", peer.url, stream=True)
        assert await response.read() == SMALL
        assert response.body == SMALL
        assert peer.accepted == 1


@pytest.mark.parametrize("path", ["/gzip", "/deflate", "/br", "/zstd"])
async def test_a_real_servers_body_is_decoded(world: World, uvicorn_server: Server, path: str) -> None:
    response = await world.pool().request("GET", uvicorn_server.http + path)
    assert response.body == TEXT
    assert response.extensions["content_encoding"] == path[1:].encode()


async def test_raw_is_what_was_received_whatever_is_decoded(world: World) -> None:
    body = encoded("gzip")
    http = world.pool()
    with answering(body, b"gzip") as peer:
        response = await http.request("GET", peer.url, stream=True)
        received = b""
        async for part in response.raw():
            received += part
        assert received == body
        assert peer.accepted == 1


async def test_a_gateway_that_passes_on_what_its_client_asked_for_changes_no_byte(world: World) -> None:
    body = encoded("br", "gzip")
    http = world.pool()
    with answering(body, b"br", b"gzip") as peer:
        response = await http.request("GET", peer.url, {"accept-encoding": "br, gzip"}, stream=True)
        assert b"".join([part async for part in response.stream()]) == body
        assert response.headers.get_list("content-encoding") == [b"br", b"gzip"]


async def test_p29_what_was_flushed_is_decoded_as_it_comes(world: World) -> None:
    compressor = zlib.compressobj(wbits=31)

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.send(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n")
        for number in range(3):
            event = compressor.compress(b"event %d\n" % number) + compressor.flush(zlib.Z_SYNC_FLUSH)
            conn.send(b"%x\r\n%b\r\n" % (len(event), event))
            seen[number].wait()
        end = compressor.flush()
        conn.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(end), end))

    http = world.pool()
    with ScriptedPeer(script) as peer:
        seen = [peer.gate() for _ in range(3)]
        response = await http.request("GET", peer.url, stream=True)
        number = 0
        async for part in response.stream():
            assert part == b"event %d\n" % number
            seen[number].open()
            number += 1
        assert number == 3


# i_head_req


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
async def test_i_head_req_what_has_no_body_is_not_decoded_and_keeps_its_headers(
    world: World, method: str, status: int
) -> None:
    def script(conn: Conn) -> None:
        while True:
            conn.read_request()
            length = b"" if status == 204 else b"content-length: 100\r\n"
            conn.send(b"HTTP/1.1 %d X\r\ncontent-encoding: gzip\r\n%b\r\n" % (status, length))

    with ScriptedPeer(script) as peer:
        for decompress in (None, True):
            http = world.pool(decompress=decompress)
            for stream in (False, True):
                response = await http.request(method, peer.url, stream=stream)
                assert await response.read() == b""
                assert response.headers.get("content-encoding") == b"gzip"
                assert response.headers.get("content-length") == (None if status == 204 else b"100")
                assert "content_encoding" not in response.extensions
            assert len(http.connections) == 1


async def test_an_empty_body_is_empty_whatever_its_coding(world: World) -> None:
    http = world.pool()
    for chunked in (False, True):
        with answering(b"", b"gzip, br", chunked=chunked) as peer:
            assert (await http.request("GET", peer.url)).body == b""


# i_stack2, i_stack20, i_star


@pytest.mark.parametrize(
    ("lines", "names"),
    [
        ((b"gzip, gzip",), ("gzip", "gzip")),
        ((b"br, gzip",), ("br", "gzip")),
        ((b"br", b"gzip"), ("br", "gzip")),
        ((b"gzip,deflate,br,zstd,gzip",), ("gzip", "deflate", "br", "zstd", "gzip")),
        ((b" , GZip ,, identity",), ("gzip",)),
        ((b"identity", b"x-gzip"), ("gzip",)),
    ],
)
async def test_i_stack2_codings_are_undone_last_first(
    world: World, lines: tuple[bytes, ...], names: tuple[str, ...]
) -> None:
    http = world.pool()
    with answering(encoded(*names), *lines) as peer:
        response = await http.request("GET", peer.url)
        assert response.body == SMALL
        assert b"content-encoding" not in dict(response.headers)


@pytest.mark.parametrize(
    "lines", [(b"gzip, " * 20 + b"gzip",), (b"gzip",) * 6, (b"gzip, br", b"gzip, br", b"gzip, br")]
)
async def test_i_stack20_more_than_five_codings_are_refused_counted_over_all_headers(
    world: World, lines: tuple[bytes, ...]
) -> None:
    http = world.pool()
    with answering(encoded("gzip"), *lines) as peer:
        with pytest.raises(DecodingError, match="content codings, and 5 is the most"):
            await http.request("GET", peer.url)
        response = await http.request("GET", peer.url, stream=True)
        assert response.headers.get_list("content-encoding") == list(lines)
        with pytest.raises(DecodingError, match="content codings, and 5 is the most"):
            await response.read()
        assert (await http.request("GET", peer.url, decompress=False)).body == encoded("gzip")
        assert http.stats().active == 0


@pytest.mark.parametrize(
    "lines", [(b"identity",), (b"*",), (b"",), (b" , ,",), (b"gzip;q=1",), (b"zork",), (b"gzip, zork",)]
)
async def test_i_star_what_is_not_a_coding_we_know_is_left_with_its_headers(
    world: World, lines: tuple[bytes, ...]
) -> None:
    http = world.pool(decompress=True)
    with answering(SMALL, *lines) as peer:
        response = await http.request("GET", peer.url)
        assert response.body == SMALL
        assert response.headers.get_list("content-encoding") == [line.strip() for line in lines]
        assert response.headers.get("content-length") == b"%d" % len(SMALL)
        assert "content_encoding" not in response.extensions


# Broken bodies


@pytest.mark.parametrize("name", ENCODE)
async def test_i_trunc_a_body_that_is_cut_off_anywhere_is_a_decoding_error_and_never_a_short_body(
    world: World, name: str
) -> None:
    whole = encoded(name)

    def script(conn: Conn) -> None:
        while True:
            cut = int(conn.read_request().target[1:])
            conn.respond(body=whole[:cut], headers=[(b"content-encoding", coding(name))])

    http = world.pool()
    with ScriptedPeer(script) as peer:
        for cut in range(1, len(whole)):
            with pytest.raises(DecodingError, match=r"before the end of its|not valid") as caught:
                await http.request("GET", f"{peer.origin}/{cut}")
            assert caught.value.request_sent
        assert (await http.request("GET", f"{peer.origin}/{len(whole)}")).body == SMALL
        # HTTP's framing was right all the time.
        assert peer.accepted == 1


async def test_i_trunc_what_came_before_the_cut_is_handed_out_first(world: World) -> None:
    compressor = zlib.compressobj(wbits=31)
    flushed = compressor.compress(SMALL) + compressor.flush(zlib.Z_SYNC_FLUSH)
    http = world.pool()
    with answering(flushed, b"gzip") as peer:
        response = await http.request("GET", peer.url, stream=True)
        parts = response.stream()
        received = await anext(parts)
        assert received == SMALL
        with pytest.raises(DecodingError, match="ended before the end of its gzip data"):
            await anext(parts)


@pytest.mark.parametrize(
    ("names", "make", "words"),
    [
        (("gzip",), lambda: b"\x1f\x8c" + encoded("gzip")[2:], "not valid gzip data"),
        (("gzip",), lambda: SMALL, "not valid gzip data"),
        (("deflate",), lambda: b"\x78\x00" + encoded("deflate")[2:], "not valid deflate data"),
        (("br",), lambda: b"\xff" * 100, "not valid br data"),
        (("zstd",), lambda: b"\xff" * 100, "not valid zstd data"),
        (("gzip",), lambda: encoded("gzip")[:-8] + bytes(8), "not valid gzip data"),  # checksum and length
        (("deflate",), lambda: encoded("deflate")[:-4] + bytes(4), "not valid deflate data"),
        (("gzip",), lambda: encoded("gzip") + b"garbage", "goes on after the end of its gzip data"),
        (("deflate",), lambda: encoded("deflate") + b"garbage", "goes on after the end of its deflate data"),
        (("br",), lambda: encoded("br") + b"garbage", "br data"),
        (("zstd",), lambda: encoded("zstd") + b"garbage", "zstd data"),
        # i_flush: every layer has an end of its own.
        (("br", "gzip"), lambda: gzip.compress(encoded("br")[:-1]), "before the end of its br data"),
        (("deflate", "zstd", "gzip"), lambda: encoded("zstd", "gzip", data=encoded("deflate")[:-1]), "its deflate"),
    ],
    ids=[
        "gzip head", "not gzip", "deflate head", "not br", "not zstd", "gzip checksum", "deflate checksum",
        "after gzip", "after deflate", "after br", "after zstd", "inner br", "innermost deflate",
    ],
)  # fmt: skip
async def test_i_corrupt_data_is_a_decoding_error_that_says_what_is_wrong(
    world: World, names: tuple[str, ...], make: Callable[[], bytes], words: str
) -> None:
    http = world.pool()
    with answering(make(), b", ".join(map(coding, names))) as peer:
        with pytest.raises(DecodingError, match=words) as caught:
            await http.request("GET", f"{peer.origin}/path?token=hunter2")
        assert f"(decoding the body, {peer.authority}, after " in str(caught.value)
        assert http.stats().active == 0
        assert (await http.request("GET", peer.url, decompress=False)).body == make()


async def test_a_large_body_that_is_corrupt_at_its_beginning_is_not_downloaded_to_its_end(world: World) -> None:
    def script(conn: Conn) -> None:
        conn.read_request()
        conn.send(
            b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 1000000000000\r\n\r\n" + b"x" * 100_000
        )
        assert conn.wait_closed()

    http = world.pool()
    with ScriptedPeer(script, expect_disconnect=True) as peer:
        with pytest.raises(DecodingError, match="not valid gzip data"):
            await http.request("GET", peer.url)
        assert http.connections == []
        await world.until(lambda: peer.open_connections == 0)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (gzip.compress(b"one") + gzip.compress(b"two"), b"onetwo"),
        (gzip.compress(b"one") + bytes(1000), b"one"),
        (gzip.compress(b"one") * 1000, b"one" * 1000),
        # FEXTRA, FNAME and FCOMMENT of 60 kB each.
        (
            b"\x1f\x8b\x08\x1c\0\0\0\0\0\xff\x60\xea" + b"x" * 60_000 + b"n" * 60_000 + b"\0" + b"c" * 60_000 + b"\0"
            + gzip.compress(b"one")[10:],
            b"one",
        ),
    ],
    ids=["i_multi", "i_trail padding", "i_multi 1000", "i_head"],
)  # fmt: skip
@pytest.mark.parametrize("chunked", [False, True])
async def test_i_gzip_however_it_is_written(world: World, body: bytes, expected: bytes, chunked: bool) -> None:
    http = world.pool()
    pieces = 7 if len(body) < 10_000 else len(body)
    with answering(body, b"gzip", chunked=chunked and pieces == 7) as peer:
        assert (await http.request("GET", peer.url)).body == expected


async def test_i_te_gzip_a_transfer_coding_that_was_not_asked_for_is_refused(world: World, engine: str) -> None:
    for value in (b"gzip, chunked", b"gzip"):

        def script(conn: Conn, value: bytes = value) -> None:
            conn.read_request()
            conn.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: %b\r\n\r\n0\r\n\r\n" % value)
            conn.wait_closed()

        http = world.pool(http1_engine=engine)
        with ScriptedPeer(script, expect_disconnect=True) as peer:
            with pytest.raises(RemoteProtocolError, match=r"(?i)transfer-encoding"):
                await http.request("GET", peer.url)
            assert http.connections == []


# Bombs


MANY = 70 * 1024 * 1024
"""Zeros beyond what a body may grow to before it is looked at how much it has grown."""


@pytest.fixture(scope="module")
def bomb() -> bytes:
    return gzip.compress(bytes(MANY))


async def test_i_bomb_read_a_body_that_is_read_whole_may_only_grow_so_much(world: World, bomb: bytes) -> None:
    http = world.pool()
    with answering(bomb, b"gzip") as peer:
        with pytest.raises(DecodingError, match=r"more than 200 times its size: stream it, .*decoding the body"):
            await http.request("GET", peer.url)
        with pytest.raises(DecodingError, match=r"more than 900\.5 times its size"):
            await http.request("GET", peer.url, extensions={"max_decoded_ratio": 900.5})
        assert http.stats().active == 0
        assert (await http.request("GET", peer.url, decompress=False)).body == bomb


@pytest.mark.parametrize("limit", [2000, None])
async def test_i_bomb_read_unless_the_caller_says_more(world: World, bomb: bytes, limit: int | None) -> None:
    http = world.pool()
    with answering(bomb, b"gzip") as peer:
        response = await http.request("GET", peer.url, extensions={"max_decoded_ratio": limit})
        assert len(response.body) == MANY


async def test_p56_a_high_ratio_alone_is_no_error(world: World) -> None:
    http = world.pool()
    with answering(brotli.compress(bytes(10_000_000)), b"br") as peer:
        assert (await http.request("GET", peer.url)).body == bytes(10_000_000)


@pytest.mark.parametrize("name", ["gzip", "br", "zstd"])
async def test_i_bomb_stream_each_step_is_small(world: World, name: str) -> None:
    http = world.pool()
    with answering(encoded(name, data=bytes(20_000_000)), coding(name)) as peer:
        response = await http.request("GET", peer.url, stream=True)
        received = largest = 0
        async for part in response.stream():
            received += len(part)
            largest = max(largest, len(part))
        assert received == 20_000_000
        assert largest <= 64 * 1024


@pytest.mark.parametrize("kind", ["sync", "asyncio"])
def test_p56_zeros_without_end_stream_in_a_few_megabytes(kind: str) -> None:
    megabyte = gzip.compress(bytes(1_000_000))
    body = megabyte * 300

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.respond(body=body, headers=[(b"content-encoding", b"gzip")])
        conn.wait_closed()

    programs = {
        "sync": """
def main(url):
    with httpcore.SyncConnectionPool() as http, http.request("GET", url, stream=True) as response:
        measure(sum(len(part) for part in begin(response.stream())))
main(sys.argv[1])
""",
        "asyncio": """
import asyncio
async def main(url):
    async with httpcore.ConnectionPool() as http, await http.request("GET", url, stream=True) as response:
        size = 0
        async for part in response.stream():
            if not size:
                begin(None)
            size += len(part)
        measure(size)
asyncio.run(main(sys.argv[1]))
""",
    }
    code = """
import resource, sys, httpcore
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1)
def begin(parts):
    global before
    before = peak()
    return parts
def measure(size):
    print(size, peak() - before)
"""
    with ScriptedPeer(script) as peer:
        command = [sys.executable, "-c", code + programs[kind], peer.url]
        said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=50).stdout
    size, kilobytes = map(int, said.split())
    assert size == 300_000_000
    assert kilobytes < 8_000


async def test_i_bomb_close_closing_does_not_decode_what_nobody_wants(world: World) -> None:
    """A nested bomb of ten gigabytes: to decode it would take a minute."""
    inner = gzip.compress(bytes(10_000_000), 9) * 1000
    body = gzip.compress(inner, 1)
    http = world.pool()
    with answering(body, b"gzip, gzip") as peer:
        began = time.monotonic()
        response = await http.request("GET", peer.url, stream=True)
        assert await anext(response.stream()) == bytes(64 * 1024)
        await response.aclose()
        assert time.monotonic() - began < 10
        assert http.stats().active == 0


async def test_i_bomb_slow_members_of_nothing_cost_no_more_than_their_bytes(world: World) -> None:
    few, many = (answering(gzip.compress(b"") * count, b"gzip") for count in (5_000, 50_000))
    http = world.pool()

    async def seconds(peer: ScriptedPeer) -> float:
        began = time.thread_time()  # of the thread that decodes; the peer's is another
        assert (await http.request("GET", peer.url)).body == b""
        return time.thread_time() - began

    best_few, best_many = math.inf, math.inf
    with few as peer_of_few, many as peer_of_many:
        # Ten times as many: linear is a factor of 10, quadratic one of 100. A busy machine spoils a try or two.
        for _ in range(5):
            best_few, best_many = min(best_few, await seconds(peer_of_few)), min(best_many, await seconds(peer_of_many))
            if best_many < 40 * best_few:
                break
    assert best_many < 40 * best_few


async def test_i_bomb_window_a_giant_window_is_refused(world: World) -> None:
    # A zstd frame that says that its window has 128 MiB (RFC 8878, 3.1.1.1.2), and one raw block.
    frame = b"\x28\xb5\x2f\xfd\x00" + bytes([17 << 3]) + b"\x09\x00\x00" + b"x"
    http = world.pool()
    with answering(frame, b"zstd") as peer, pytest.raises(DecodingError, match="not valid zstd data"):
        await http.request("GET", peer.url)
