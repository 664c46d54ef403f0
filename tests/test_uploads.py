"""Requests with bodies, and peers that answer before, during and instead of reading them; interim answers; upgrades."""

from __future__ import annotations

import gc
import io
import os
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import pytest

import httpcore
from httpcore import Network, Timeout
from httpcore._bodies import BodyTypes
from tests.support.cost import assert_quick
from tests.support.invariants import Peers, assert_holds, assert_still_works, error_of, one_slot, serve
from tests.support.peer import Conn, Gate, ScriptedPeer
from tests.support.tls import CertificateAuthority
from tests.support.ways import every_way, only_over
from tests.support.worlds import World, can_cancel_worlds, only_worlds

pytestmark = every_way

MEGABYTE = 1_000_000
EXPECT = {"Expect": "100-continue"}
# So that a peer that does not read is noticed after some hundred kilobytes, not after what the kernel would take.
SMALL_BUFFERS = Network(socket_options=((socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536),))


class Source:
    """A body part by part, that knows how far it was read and whether it was closed.

    Args:
        parts: bytes, or the type of an exception to be raised in their place.
    """

    def __init__(self, parts: Iterable[bytes | type[Exception]]) -> None:
        self._parts = parts
        self.taken = 0
        self.is_closed = False

    def plain(self) -> Iterator[bytes]:
        try:
            for part in self._parts:
                if isinstance(part, type):
                    raise part("of the caller's body")
                self.taken += 1
                yield part
        finally:
            self.is_closed = True

    async def asynchronous(self) -> AsyncIterator[bytes]:
        try:
            for part in self._parts:
                if isinstance(part, type):
                    raise part("of the caller's body")
                self.taken += 1
                yield part
        finally:
            self.is_closed = True


Body = Callable[[Source], Iterator[bytes] | AsyncIterator[bytes]]


def kinds(world: World) -> list[Body]:
    """Generators that the world can read."""
    return [Source.plain] if world.name == "blocking" else [Source.plain, Source.asynchronous]


def endless() -> Iterator[bytes]:
    while True:
        yield b"x" * 65_536


def read_until_gone(conn: Conn) -> bytes:
    """Everything that the client sends until it ends or resets the connection."""
    received: list[bytes] = []
    while data := conn.recv():
        received.append(data)
    return b"".join(received)


def read_one(conn: Conn) -> None:
    conn.read_request()


def read_a_head(conn: Conn) -> None:
    conn.read_head()


def say_nothing(conn: Conn) -> None:
    conn.wait_closed()


# P58: what a body may be, and how its length is told


class Plain:
    """An iterable that is no iterator, so that it can be read again."""

    def __iter__(self) -> Iterator[bytes]:
        return iter([b"he", b"llo"])


class Unseekable(io.RawIOBase):
    """A file that can only be read: a pipe, say."""

    def __init__(self) -> None:
        self._data = io.BytesIO(b"hello")

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._data.read(min(size, 2))


def in_the_middle() -> io.BytesIO:
    file = io.BytesIO(b"0123hello")
    file.seek(4)
    return file


@pytest.mark.parametrize(
    ("make", "framing"),
    [
        (lambda: b"hello", (b"content-length", b"5")),
        (lambda: bytearray(b"hello"), (b"content-length", b"5")),
        (lambda: memoryview(b"-hello-")[1:-1], (b"content-length", b"5")),
        (lambda: "hello", (b"content-length", b"5")),
        (lambda: io.BytesIO(b"hello"), (b"content-length", b"5")),
        (in_the_middle, (b"content-length", b"5")),
        (lambda: [b"hel", b"", b"lo"], (b"content-length", b"5")),
        (lambda: (b"hello",), (b"content-length", b"5")),
        (Unseekable, (b"transfer-encoding", b"chunked")),
        (Plain, (b"transfer-encoding", b"chunked")),
        (lambda: iter([b"he", b"", b"llo"]), (b"transfer-encoding", b"chunked")),
        (lambda: (part for part in (b"h", bytearray(b"el"), b"lo")), (b"transfer-encoding", b"chunked")),
    ],
    ids=[
        "bytes", "bytearray", "memoryview", "str", "file", "file_in_the_middle", "list", "tuple", "pipe", "iterable",
        "iterator", "generator",
    ],
)  # fmt: skip
async def test_p58_bodies_are_sent_with_their_length_where_it_is_known(
    world: World, engine: str, make: Callable[[], BodyTypes], framing: tuple[bytes, bytes]
) -> None:
    """d_body_get: with any method there is a framing header, so that nobody mistakes a body for the next request."""
    with Peers(serve) as peers:
        http = one_slot(world, http1_engine=engine)
        for method in ("POST", "GET", "DELETE"):
            assert (await http.request(method, peers.url, body=make())).status_code == 200
            request = peers.faulty.requests[-1]
            assert request.body == b"hello"
            assert [pair for pair in request.headers if pair[0] in (b"content-length", b"transfer-encoding")] == [
                framing
            ]
        await assert_holds(world, http, peers, idle=1)
        assert peers.accepted == 1


@pytest.mark.parametrize("body", [b"", "", [], (), io.BytesIO()], ids=["bytes", "str", "list", "tuple", "file"])
@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_p58_an_empty_body_has_the_length_0(world: World, engine: str, method: str, body: BodyTypes) -> None:
    with Peers(serve) as peers:
        http = one_slot(world, http1_engine=engine)
        assert (await http.request(method, peers.url, body=body)).status_code == 200
        assert peers.faulty.requests[-1].header(b"content-length") == b"0"
        await assert_still_works(world, http, peers)


async def test_p58_no_body_says_so_only_where_one_is_expected(world: World, engine: str) -> None:
    with Peers(serve) as peers:
        http = one_slot(world, http1_engine=engine)
        for method, length in (("GET", None), ("HEAD", None), ("DELETE", None), ("POST", b"0"), ("PUT", b"0")):
            await http.request(method, peers.url)
            assert peers.faulty.requests[-1].header(b"content-length") == length
            assert peers.faulty.requests[-1].header(b"transfer-encoding") is None
        await assert_still_works(world, http, peers)


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_p58_a_file_is_sent_to_its_end_byte_by_byte(
    world: World, engine: str, tmp_path: Path, is_chunked: bool
) -> None:
    content = os.urandom(3 * MEGABYTE + 7)
    path = tmp_path / "file"
    path.write_bytes(content)
    with Peers(serve) as peers, path.open("rb") as file:
        http = one_slot(world, http1_engine=engine)
        headers = {"transfer-encoding": "chunked"} if is_chunked else {}
        assert (await http.request("PUT", peers.url, headers=headers, body=file)).status_code == 200
        request = peers.faulty.requests[-1]
        assert request.body == content
        assert request.header(b"content-length") == (None if is_chunked else b"3000007")
        assert not file.closed
        await assert_still_works(world, http, peers)


async def test_p58_an_async_iterable_is_sent_in_its_own_parts(world: World, engine: str) -> None:
    if world.name == "blocking":
        http = one_slot(world)
        with pytest.raises(TypeError, match="sync pool cannot read"):
            await http.request("POST", "http://127.0.0.1:1/", body=Source([b"a"]).asynchronous())
        return
    with Peers(serve) as peers:
        http = one_slot(world, http1_engine=engine)
        body = Source([b"a", b"", b"bc", b"def"]).asynchronous()
        assert (await http.request("POST", peers.url, body=body)).status_code == 200
        assert peers.faulty.requests[-1].chunks == [b"a", b"bc", b"def"]
        await assert_still_works(world, http, peers)


async def test_p58_a_caller_may_say_the_length_of_an_iterable(world: World, engine: str) -> None:
    with Peers(*(serve,) * 2) as peers:
        http = one_slot(world, http1_engine=engine)
        for body in kinds(world):
            source = Source([b"he", b"llo"])
            await http.request("POST", peers.url, headers={"Content-Length": "5"}, body=body(source))
            assert peers.faulty.requests[-1].body == b"hello"
            assert peers.faulty.requests[-1].chunks == []
            assert source.is_closed
        await assert_still_works(world, http, peers)


# A body that disagrees with its length


@only_over("forwarded", reason="over TLS the script of a busy peer at times times out, and why is not known")
@pytest.mark.parametrize(
    ("parts", "sent"),
    [
        ([b"ab", b"c"], b"ab"),
        ([b"abc"], b""),
        ([b"a", b"bc"], b"a"),
        ([b"a", b"", b"b", b"c"], b"ab"),
    ],
)
async def test_d_body_long_no_byte_too_many_leaves(world: World, engine: str, parts: list[bytes], sent: bytes) -> None:
    for body in kinds(world):
        received: list[bytes] = []

        def script(conn: Conn, received: list[bytes] = received) -> None:
            conn.read_head()
            received.append(read_until_gone(conn))

        with Peers(script, expect_disconnect=True) as peers:
            http = one_slot(world, http1_engine=engine)
            source = Source(parts)
            headers = {"content-length": "2"}
            error = await error_of(partial(http.request, "POST", peers.url, headers, body(source)))
            assert isinstance(error, httpcore.LocalProtocolError)
            assert "longer than its content-length, 2 bytes" in str(error)
            assert source.is_closed
            await world.until(lambda: received)  # noqa: B023
            assert received == [sent]
            await assert_holds(world, http, peers, idle=0)
            await assert_still_works(world, http, peers)


async def test_d_body_short_is_no_body(world: World, engine: str) -> None:
    for body in kinds(world):
        with Peers(read_one, expect_disconnect=True) as peers:
            http = one_slot(world, http1_engine=engine)
            headers = {"content-length": "5"}
            error = await error_of(partial(http.request, "POST", peers.url, headers, body(Source([b"abc"]))))
            assert isinstance(error, httpcore.LocalProtocolError)
            assert "2 bytes short of its content-length" in str(error)
            await assert_holds(world, http, peers, idle=0)
            await assert_still_works(world, http, peers)


async def test_d_body_long_is_refused_before_connecting_where_the_length_is_known(world: World) -> None:
    http = one_slot(world)
    for body in (b"abc", "abc", [b"ab", b"c"], io.BytesIO(b"abc"), b"", b"a"):
        with pytest.raises(httpcore.LocalProtocolError, match="content-length announces 2 bytes, but the body has"):
            await http.request("POST", "http://127.0.0.1:1/", headers={"content-length": "2"}, body=body)
    assert http.stats().opened == http.stats().opening == 0


async def test_d_body_long_a_file_that_grows_is_sent_as_announced(world: World, tmp_path: Path) -> None:
    """And one that shrinks is an error, as what was announced cannot be sent any more."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * 200_000)

    for size in (300_000, 100_000):
        path.write_bytes(b"x" * 200_000)

        def script(conn: Conn, size: int = size) -> None:
            head = conn.read_head()
            path.write_bytes(b"x" * size)  # before anything of it went up
            conn.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            conn.respond(body=b"%d" % len(conn.read_body(head).body))
            serve(conn)

        with Peers(script, expect_disconnect=True) as peers, path.open("rb") as file:
            http = one_slot(world)

            async def send() -> httpcore.Response:
                return await http.request("PUT", peers.url, headers=EXPECT, body=file)  # noqa: B023

            if size > 200_000:
                assert (await send()).body == b"200000"
                await assert_holds(world, http, peers, idle=1)
            else:
                error = await error_of(send)
                assert isinstance(error, httpcore.LocalProtocolError)
                assert "100000 bytes short" in str(error)
                await assert_holds(world, http, peers, idle=0)
            await assert_still_works(world, http, peers)


# Bodies that fail


class Mine(Exception):
    """An exception of the caller's."""


async def test_d_body_exc_the_exception_of_a_body_comes_through_unchanged(world: World, engine: str) -> None:
    """And nothing that the peer has got looks like a complete body."""
    for body in kinds(world):
        received: list[bytes] = []

        def script(conn: Conn, received: list[bytes] = received) -> None:
            conn.read_head()
            received.append(read_until_gone(conn))

        with Peers(script, expect_disconnect=True) as peers:
            http = one_slot(world, http1_engine=engine)
            source = Source([b"hello", Mine])
            with pytest.raises(Mine, match=r"^of the caller's body$"):
                await http.request("POST", peers.url, body=body(source))
            assert source.is_closed
            await world.until(lambda: received)  # noqa: B023
            assert received == [b"5\r\nhello\r\n"]
            await assert_holds(world, http, peers, idle=0)
            await assert_still_works(world, http, peers)


async def test_d_body_exc_before_the_first_part(world: World, engine: str) -> None:
    class Broken:
        def __iter__(self) -> Iterator[bytes]:
            raise Mine("no parts")

    with Peers(say_nothing, expect_disconnect=True) as peers:
        http = one_slot(world, http1_engine=engine)
        with pytest.raises(Mine, match="no parts"):
            await http.request("POST", peers.url, body=Broken())
        await assert_holds(world, http, peers, idle=0)
        await assert_still_works(world, http, peers)


async def test_d_body_exc_a_part_that_is_not_bytes(world: World, engine: str) -> None:
    for part in ("text", 5, None):
        with Peers(say_nothing, expect_disconnect=True) as peers:
            http = one_slot(world, http1_engine=engine)
            source = Source([b"bytes", part])  # type: ignore[list-item]
            with pytest.raises(TypeError, match="the parts of a body are bytes, not"):
                await http.request("POST", peers.url, body=source.plain())
            assert source.is_closed
            await assert_holds(world, http, peers, idle=0)
            await assert_still_works(world, http, peers)


async def test_d_body_replay_a_generator_is_sent_once(world: World, engine: str) -> None:
    """The second request with it is refused before anything is sent: an empty body would be a lie."""
    with Peers(serve) as peers:
        http = one_slot(world, http1_engine=engine)
        for body in kinds(world):
            generator = body(Source([b"hello"]))
            assert (await http.request("POST", peers.url, body=generator)).status_code == 200
            sent = len(peers.faulty.requests)
            with pytest.raises(httpcore.StreamConsumed, match="already been read"):
                await http.request("POST", peers.url, body=generator)
            assert len(peers.faulty.requests) == sent
        await assert_holds(world, http, peers, idle=1)
        await assert_still_works(world, http, peers)


def dying_on_second(conn: Conn) -> None:
    conn.read_request()
    conn.respond()
    conn.read_request()


async def test_d_body_replay_a_retry_sends_the_same_body_or_is_not_made(world: World, engine: str) -> None:
    def again() -> io.BytesIO:
        return in_the_middle()

    for body, is_sent_again in ((b"hello", True), (again(), True), (Plain(), True), (iter([b"hello"]), False)):
        with Peers(dying_on_second) as peers:
            http = one_slot(world, http1_engine=engine)
            assert (await http.request("GET", peers.url)).status_code == 200

            async def put() -> httpcore.Response:
                return await http.request("PUT", peers.url, body=body)  # noqa: B023

            if is_sent_again:
                assert (await put()).status_code == 200
                assert [request.body for request in peers.faulty.requests] == [b"", b"hello", b"hello"]
            else:
                error = await error_of(put)
                assert isinstance(error, httpcore.RemoteProtocolError)
                assert error.request_sent
                assert peers.accepted == 1
            await assert_still_works(world, http, peers)


# Peers that answer early


def answer_early(response: bytes, is_kept_open: bool) -> Callable[[Conn], None]:
    """Reads the head and a little of the body, answers, and reads no more."""

    def script(conn: Conn) -> None:
        conn.read_head()
        conn.recv_exactly(1000)
        conn.send(response)
        if is_kept_open:
            while conn.is_open:
                time.sleep(0.001)

    return script


EARLY_413 = b"HTTP/1.1 413 Content Too Large\r\nconnection: close\r\ncontent-length: 9\r\n\r\ntoo large"
EARLY_413_KEPT = EARLY_413.replace(b"connection: close", b"connection: keep-alive")


@pytest.mark.parametrize("is_kept_open", [False, True], ids=["closing", "open"])
async def test_p21_full_duplex_an_early_413_is_returned_while_50_mb_go_up(
    world: World, engine: str, is_kept_open: bool
) -> None:
    """d_early_413: whether the peer goes on listening or breaks the connection with what it has not read."""
    content = bytes(50 * MEGABYTE)

    async def seconds(body: BodyTypes) -> float:
        with Peers(answer_early(EARLY_413, is_kept_open), expect_disconnect=True) as peers:
            http = one_slot(world, http1_engine=engine)
            return await seconds_until_413(world, http, peers, body)

    await assert_quick(lambda: seconds(content), within=0.3)
    for body in kinds(world):
        await assert_quick(lambda body=body: seconds(body(Source(endless()))), within=0.3)  # type: ignore[misc]


async def seconds_until_413(world: World, http: httpcore.ConnectionPool, peers: Peers, body: BodyTypes) -> float:
    begun = time.monotonic()
    response = await http.request("POST", peers.url, body=body)
    seconds = time.monotonic() - begun
    assert (response.status_code, response.body) == (413, b"too large")
    await assert_holds(world, http, peers, idle=0)
    await assert_still_works(world, http, peers)
    return seconds


async def test_p21_full_duplex_over_tls(world: World, ca: CertificateAuthority) -> None:
    content = bytes(50 * MEGABYTE)

    async def seconds() -> float:
        script = answer_early(EARLY_413, is_kept_open=True)
        with Peers(script, tls=ca.server_context(), expect_disconnect=True) as peers:
            return await seconds_until_413(world, one_slot(world, ssl=ca.client_context()), peers, content)

    await assert_quick(seconds, within=0.3)


async def test_d_early_413_that_says_nothing_of_closing_is_never_followed_by_another_request(
    world: World, engine: str
) -> None:
    """What is left of the body would be read as the next request."""
    for body in kinds(world):
        with Peers(answer_early(EARLY_413_KEPT, is_kept_open=True), expect_disconnect=True) as peers:
            http = one_slot(world, http1_engine=engine)
            source = Source(endless())
            response = await http.request("POST", peers.url, body=body(source))
            assert (response.status_code, response.body) == (413, b"too large")
            assert source.is_closed
            await assert_holds(world, http, peers, idle=0)
            await assert_still_works(world, http, peers)


async def test_d_early_200_stops_the_upload(world: World, engine: str) -> None:
    """A complete answer needs no more of the body; and what was begun can be followed by nothing."""
    early = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nearly"
    for body in kinds(world):
        with Peers(answer_early(early, is_kept_open=True), expect_disconnect=True) as peers:
            http = one_slot(world, http1_engine=engine)
            source = Source(endless())
            response = await http.request("POST", peers.url, body=body(source))
            assert (response.status_code, response.body) == (200, b"early")
            assert source.is_closed
            await assert_holds(world, http, peers, idle=0)
            await assert_still_works(world, http, peers)


async def test_d_early_half_close_the_answer_counts_and_the_rest_is_not_sent(world: World, engine: str) -> None:
    """P26: the peer ends its side after its answer, and would go on reading."""

    def script(conn: Conn) -> None:
        conn.read_head()
        conn.send(b"HTTP/1.1 200 OK\r\n\r\nearly")
        conn.fin()
        conn.wait_closed()

    with Peers(script, expect_disconnect=True) as peers:
        http = one_slot(world, http1_engine=engine)
        source = Source(endless())
        response = await http.request("POST", peers.url, body=source.plain())
        assert (response.status_code, response.body) == (200, b"early")
        assert source.is_closed
        await assert_holds(world, http, peers, idle=0)
        await assert_still_works(world, http, peers)


async def test_p21_full_duplex_an_echo_larger_than_every_buffer(world: World, engine: str) -> None:
    """The peer sends back each part at once and reads no more before that is taken: one has to do both at a time."""
    parts = [os.urandom(65_536) for _ in range(300)]

    def script(conn: Conn) -> None:
        conn.read_head()
        conn.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            size = int(conn.recv_until(b"\r\n"), 16)
            data = conn.recv_exactly(size + 2)
            conn.send(b"%x\r\n%b" % (size, data))
            if not size:
                break
        serve(conn)

    for body in kinds(world):
        with Peers(script) as peers:
            http = one_slot(world, http1_engine=engine)
            response = await http.request("POST", peers.url, body=body(Source(parts)), stream=True)
            received = [part async for part in response.stream()]
            assert b"".join(received) == b"".join(parts)
            # Where the last bytes cross, nobody knows here that the peer has taken all: then the connection is closed.
            await assert_holds(world, http, peers, idle=len(http.connections))
            await assert_still_works(world, http, peers)


class Slow:
    """An async body that gives one part, and the next when it is told to."""

    def __init__(self, world: World) -> None:
        self.may_go_on = world.event()
        self.is_closed = False

    async def parts(self) -> AsyncIterator[bytes]:
        try:
            yield b"x" * 2000
            await self.may_go_on.wait()
            yield b"y" * 2000
        finally:
            self.is_closed = True


@can_cancel_worlds
@pytest.mark.parametrize("is_secure", [False, True], ids=["clear", "tls"])
@pytest.mark.parametrize("status", [413, 200])
async def test_p21_full_duplex_an_early_answer_is_heard_while_the_next_part_is_awaited(
    world: World, ca: CertificateAuthority, status: int, is_secure: bool
) -> None:
    """d_early_413, d_early_200, n_gw_early: the caller's body would keep us waiting for ever."""
    early = b"HTTP/1.1 %d Early\r\ncontent-length: 5\r\n\r\nearly" % status
    tls = ca.server_context() if is_secure else None
    with Peers(answer_early(early, is_kept_open=True), tls=tls, expect_disconnect=True) as peers:
        http = one_slot(world, ssl=ca.client_context())
        body = Slow(world)
        response = await http.request("POST", peers.url, body=body.parts(), timeout=2)
        assert (response.status_code, response.body) == (status, b"early")
        assert body.is_closed
        await assert_holds(world, http, peers, idle=0)
        await assert_still_works(world, http, peers)


def echo_parts(conn: Conn) -> None:
    """Sends each chunk back as it comes, then serves."""
    conn.read_head()
    conn.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        size = int(conn.recv_until(b"\r\n"), 16)
        conn.send(b"%x\r\n%b" % (size, conn.recv_exactly(size + 2)))
        if not size:
            break
    serve(conn)


@can_cancel_worlds
@pytest.mark.parametrize("is_secure", [False, True], ids=["clear", "tls"])
async def test_p21_full_duplex_a_body_may_depend_on_the_response_to_it(
    world: World, engine: str, ca: CertificateAuthority, is_secure: bool
) -> None:
    """A conversation: each part answers what was received. The read timeout is none of the caller's own time."""
    with Peers(echo_parts, tls=ca.server_context() if is_secure else None) as peers:
        http = one_slot(world, http1_engine=engine, ssl=ca.client_context())
        heard = [world.event() for _ in range(20)]

        async def talk() -> AsyncIterator[bytes]:
            for number, event in enumerate(heard):
                yield b"%d." % number
                await event.wait()

        timeout = httpcore.Timeout(5, read=0.2)
        async with await http.request("POST", peers.url, body=talk(), stream=True, timeout=timeout) as response:
            said = b""
            async for part in response.stream():
                said += part
                if said.endswith(b"9."):
                    await world.sleep(0.3)
                heard[said.count(b".") - 1].set()
        assert said == b"".join(b"%d." % number for number in range(20))
        await assert_holds(world, http, peers, idle=1)
        await assert_still_works(world, http, peers)


@can_cancel_worlds
async def test_p21_full_duplex_the_read_timeout_begins_when_the_body_has_gone_up(world: World) -> None:
    def script(conn: Conn) -> None:
        conn.read_request()
        conn.wait_closed()

    with Peers(script, expect_disconnect=True) as peers:
        http = one_slot(world)
        body = Slow(world)
        timeout = httpcore.Timeout(5, read=0.1)
        async with world.tasks() as tasks:
            request = tasks.start(lambda: http.request("POST", peers.url, body=body.parts(), timeout=timeout))
            await world.sleep(0.4)
            assert not request.is_done
            body.may_go_on.set()
            await request.finished()
            assert isinstance(request.error, httpcore.ReadTimeout)
            assert "waiting for the response" in str(request.error)
            assert request.error.request_sent
        await assert_holds(world, http, peers, idle=0)
        await assert_still_works(world, http, peers)
    del request, tasks
    gc.collect()  # the generator, to which the tracebacks refer


@can_cancel_worlds
async def test_p21_full_duplex_a_body_that_fails_while_the_peer_is_listened_to_fails_the_request(world: World) -> None:
    with Peers(say_nothing_at_all, expect_disconnect=True) as peers:
        http = one_slot(world)

        async def fail_later() -> AsyncIterator[bytes]:
            yield b"x"
            await world.sleep(0.05)
            raise Mine("of the caller's body")

        with pytest.raises(Mine, match=r"^of the caller's body$"):
            await http.request("POST", peers.url, body=fail_later())
        await assert_holds(world, http, peers, idle=0)
        await assert_still_works(world, http, peers)


@can_cancel_worlds
async def test_p21_full_duplex_a_cancelled_request_ends_its_body(world: World) -> None:
    """The part that was awaited is, when the request has ended: nothing of the caller's goes on behind its back."""
    with Peers(say_nothing_at_all, expect_disconnect=True) as peers:
        http = one_slot(world)
        body = Slow(world)
        is_cancelled = await world.cancel_when(
            lambda: bool(peers.faulty.requests), lambda: http.request("POST", peers.url, body=body.parts())
        )
        assert is_cancelled
        assert body.is_closed
        await assert_holds(world, http, peers, idle=0)
        await assert_still_works(world, http, peers)
    gc.collect()  # the generator, to which the tracebacks refer


def say_nothing_at_all(conn: Conn) -> None:
    conn.read_head()
    conn.wait_closed()


@can_cancel_worlds
async def test_p21_full_duplex_the_whole_body_is_read_by_one_task(world: World) -> None:
    """As a generator may hold what belongs to its task, a timeout say, from one part to the next."""
    with Peers(serve) as peers:
        http = one_slot(world)

        async def bounded() -> AsyncIterator[bytes]:
            async with world.timeout(10):
                for _ in range(5):
                    yield b"x"
                    await world.sleep(0.001)

        response = await http.request("POST", peers.url, body=bounded())
        assert response.status_code == 200
        assert peers.faulty.requests[0].body == b"xxxxx"


async def test_a_response_that_is_closed_while_its_request_goes_up_closes_the_body(world: World, engine: str) -> None:
    def script(conn: Conn) -> None:
        conn.read_head()
        conn.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
        conn.wait_closed()

    for body in kinds(world):
        with Peers(script, expect_disconnect=True) as peers:
            http = one_slot(world, http1_engine=engine)
            source = Source(endless())
            response = await http.request("POST", peers.url, body=body(source), stream=True)
            await response.aclose()
            assert source.is_closed
            await assert_holds(world, http, peers, idle=0)
            await assert_still_works(world, http, peers)


@pytest.mark.parametrize("end", [Conn.close, Conn.rst])
async def test_an_upload_that_breaks_while_the_response_is_read_does_not_end_the_reading(
    world: World, engine: str, end: Callable[[Conn], None]
) -> None:
    """What the peer has said before it broke the connection is delivered."""
    content = os.urandom(20_000)  # little enough to be on our side when the connection breaks

    def script(conn: Conn) -> None:
        conn.read_head()
        conn.send(b"HTTP/1.1 200 OK\r\ncontent-length: 20000\r\n\r\n")
        conn.recv_exactly(10_000)
        conn.send(content)
        end(conn)

    for body in kinds(world):
        with Peers(script, expect_disconnect=True) as peers:
            http = one_slot(world, http1_engine=engine)
            source = Source(endless())
            response = await http.request("POST", peers.url, body=body(source), stream=True)
            assert await response.read() == content
            assert source.is_closed
            await assert_holds(world, http, peers, idle=0)
            await assert_still_works(world, http, peers)


async def test_a_body_that_fails_while_the_response_is_read_fails_the_reading(world: World, engine: str) -> None:
    def script(conn: Conn) -> None:
        conn.read_head()
        conn.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
        conn.wait_closed()

    for body in kinds(world):
        with Peers(script, expect_disconnect=True) as peers:
            http = one_slot(world, http1_engine=engine)

            def fail_later() -> Iterator[bytes | type[Exception]]:
                while not is_streaming.is_set():  # noqa: B023
                    yield b"x" * 1000
                yield Mine

            is_streaming = threading.Event()
            source = Source(fail_later())
            response = await http.request("POST", peers.url, body=body(source), stream=True)
            is_streaming.set()
            with pytest.raises(Mine, match=r"^of the caller's body$"):
                await response.read()
            assert source.is_closed
            await assert_holds(world, http, peers, idle=0)
            await assert_still_works(world, http, peers)


# Peers that do not read, or break


async def test_d_write_stall_is_a_write_timeout(world: World, engine: str) -> None:
    def script(conn: Conn) -> None:
        while conn.is_open:
            time.sleep(0.001)

    for body in kinds(world):
        with Peers(script, expect_disconnect=True) as peers:
            http = one_slot(world, http1_engine=engine, network=SMALL_BUFFERS, timeout=Timeout(5, write=0.1))
            source = Source(endless())
            begun = time.monotonic()
            error = await error_of(partial(http.request, "POST", peers.url, body=body(source)))
            assert isinstance(error, httpcore.WriteTimeout)
            assert error.request_sent
            assert 0.09 < time.monotonic() - begun < 3
            assert source.is_closed
            await assert_holds(world, http, peers, idle=0)
            await assert_still_works(world, http, peers)


async def test_d_write_rst_closes_the_body(world: World, engine: str) -> None:
    def script(conn: Conn) -> None:
        conn.read_head()
        conn.recv_exactly(1000)
        conn.rst()

    for body in kinds(world):
        with Peers(script) as peers:
            http = one_slot(world, http1_engine=engine)
            source = Source(endless())
            error = await error_of(partial(http.request, "POST", peers.url, body=body(source)))
            assert isinstance(error, (httpcore.WriteError, httpcore.ReadError))
            assert error.request_sent
            assert isinstance(error.__cause__, OSError)
            assert source.is_closed
            await assert_holds(world, http, peers, idle=0)
            await assert_still_works(world, http, peers)


async def test_b_eof_rst_upload_a_reset_that_a_write_meets_is_no_end_of_the_response(world: World, engine: str) -> None:
    """The kernel tells of a reset once: who writes first hears of it, and who reads then would see an end."""

    def script(conn: Conn) -> None:
        conn.read_head()
        conn.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
        assert is_read is not None
        is_read.wait()
        conn.rst()
        assert is_reset is not None
        is_reset.open()

    for body in kinds(world):
        is_read = is_reset = None
        with Peers(script, expect_disconnect=True) as peers:
            is_read, is_reset = peers.faulty.gate(), peers.faulty.gate()
            http = one_slot(world, http1_engine=engine)
            source = Source(endless())
            response = await http.request("POST", peers.url, body=body(source), stream=True)
            parts = aiter(response.raw())
            assert await anext(parts) == b"hello"
            is_read.open()
            await world.until(is_reset.is_open)
            error = await error_of(partial(anext, parts))
            assert isinstance(error, httpcore.NetworkError)
            assert source.is_closed
            await assert_holds(world, http, peers, idle=0)
            await assert_still_works(world, http, peers)


async def test_d_write_fin_closes_the_body(world: World, engine: str) -> None:
    """A peer that closes in the middle of the upload without an answer."""

    def script(conn: Conn) -> None:
        conn.read_head()
        conn.recv_exactly(1000)

    for body in kinds(world):
        with Peers(script) as peers:
            http = one_slot(world, http1_engine=engine)
            source = Source(endless())
            error = await error_of(partial(http.request, "POST", peers.url, body=body(source)))
            assert isinstance(error, (httpcore.NetworkError, httpcore.RemoteProtocolError))
            assert error.request_sent
            assert source.is_closed
            await assert_holds(world, http, peers, idle=0)
            await assert_still_works(world, http, peers)


# P22: Expect: 100-continue


def watch_for_silence(conn: Conn) -> None:
    """Nothing but the head has come."""
    conn.socket.sock.settimeout(0.05)
    with pytest.raises(TimeoutError):
        conn.recv(1)
    conn.socket.sock.settimeout(5)


async def test_p22_expect_100_continue_holds_the_body_until_100(world: World, engine: str) -> None:
    def script(conn: Conn) -> None:
        for _ in range(2):
            head = conn.read_head()
            assert head.header(b"expect") == b"100-continue"
            watch_for_silence(conn)
            conn.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            conn.respond(body=conn.read_body(head).body)
        serve(conn)

    with Peers(script) as peers:
        http = one_slot(world, http1_engine=engine)
        for body in (b"hello", Source([b"hel", b"lo"]).plain()):
            assert (await http.request("PUT", peers.url, headers=EXPECT, body=body)).body == b"hello"
        await assert_holds(world, http, peers, idle=1)
        await assert_still_works(world, http, peers)
        assert peers.accepted == 1


@pytest.mark.parametrize("status", [417, 200, 302, 500])
async def test_p22_expect_100_continue_a_final_answer_is_instead_of_the_body(
    world: World, engine: str, status: int
) -> None:
    """d_expect_417: the body is not sent, and so nothing may follow on the connection."""
    received: list[bytes] = []

    def script(conn: Conn) -> None:
        conn.read_head()
        conn.respond(status, body=b"no")
        received.append(read_until_gone(conn))

    with Peers(script) as peers:
        http = one_slot(world, http1_engine=engine)
        source = Source([b"hello"])
        response = await http.request("PUT", peers.url, headers=EXPECT, body=source.plain())
        assert (response.status_code, response.body) == (status, b"no")
        assert source.taken == 0
        await world.until(lambda: received)
        assert received == [b""]
        await assert_holds(world, http, peers, idle=0)
        await assert_still_works(world, http, peers)


async def test_p22_expect_100_continue_d_expect_none_holds_the_body_for_a_second_at_most(world: World) -> None:
    with Peers(serve) as peers:
        http = one_slot(world)
        begun = time.monotonic()
        response = await http.request("PUT", peers.url, headers=EXPECT, body=b"hello")
        assert response.status_code == 200
        assert 0.9 < time.monotonic() - begun < 4
        assert peers.faulty.requests[0].body == b"hello"
        await assert_holds(world, http, peers, idle=1)


async def test_p22_expect_100_continue_other_interim_answers_do_not_let_the_body_go(world: World, engine: str) -> None:
    def script(conn: Conn) -> None:
        head = conn.read_head()
        conn.send(b"HTTP/1.1 102 Processing\r\n\r\n")
        watch_for_silence(conn)
        conn.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        conn.respond(body=conn.read_body(head).body)
        serve(conn)

    with Peers(script) as peers:
        http = one_slot(world, http1_engine=engine)
        assert (await http.request("PUT", peers.url, headers=EXPECT, body=b"hello")).body == b"hello"
        await assert_still_works(world, http, peers)


async def test_p22_expect_100_continue_ends_with_the_connection(world: World, engine: str) -> None:
    with Peers(read_a_head) as peers:
        http = one_slot(world, http1_engine=engine)
        source = Source([b"hello"])
        error = await error_of(lambda: http.request("PUT", peers.url, headers=EXPECT, body=source.plain()))
        assert isinstance(error, httpcore.RemoteProtocolError)
        assert source.taken == 0
        await assert_holds(world, http, peers, idle=0)
        await assert_still_works(world, http, peers)


async def test_d_1xx_rst_behind_100_is_a_read_error(world: World, engine: str) -> None:
    """The body may have been processed: nothing is sent a second time."""

    def script(conn: Conn) -> None:
        conn.read_head()
        conn.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        conn.recv_exactly(4)
        conn.rst()

    with Peers(script) as peers:
        http = one_slot(world, http1_engine=engine)
        headers = {"expect": "100-continue"}
        error = await error_of(lambda: http.request("PUT", peers.url, headers=headers, body=b"body"))
        assert isinstance(error, httpcore.NetworkError)
        assert error.request_sent
        assert (peers.accepted, http.stats().retried) == (1, 0)
        await assert_holds(world, http, peers, idle=0)
        await assert_still_works(world, http, peers)


# P23: interim responses


async def test_p23_103_early_hints_reach_a_callback_before_the_response(world: World, engine: str) -> None:
    seen: list[tuple[int, bytes | None]] = []
    gate = Gate()

    def on_informational(status: int, headers: httpcore.Headers) -> None:
        seen.append((status, headers.get("link")))
        gate.open()

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.send(b"HTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\nlink: </b>\r\n\r\n")
        gate.wait()
        conn.send(b"HTTP/1.1 102 Processing\r\n\r\n" + b"HTTP/1.1 100 Continue\r\n\r\n")
        conn.respond(body=b"final")
        serve(conn)

    events: list[httpcore.TraceEvent] = []
    with Peers(script) as peers:
        http = one_slot(world, http1_engine=engine, trace=events.append)
        extensions = {"on_informational": on_informational}
        response = await http.request("GET", peers.url, extensions=extensions)
        assert (response.status_code, response.body) == (200, b"final")
        assert seen == [(103, b"</a>; rel=preload"), (102, None), (100, None)]
        statuses = [event.status_code for event in events if isinstance(event, httpcore.InformationalReceived)]
        assert statuses == [103, 102, 100]
        await assert_holds(world, http, peers, idle=1)
        await assert_still_works(world, http, peers)
        assert len(seen) == 3
        assert peers.accepted == 1


async def test_p23_a_callback_that_raises_ends_the_request(world: World, engine: str) -> None:
    def script(conn: Conn) -> None:
        conn.read_request()
        conn.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        conn.wait_closed()

    def on_informational(status: int, headers: httpcore.Headers) -> None:
        raise Mine(status)

    with Peers(script, expect_disconnect=True) as peers:
        http = one_slot(world, http1_engine=engine)
        with pytest.raises(Mine, match="103"):
            await http.request("GET", peers.url, extensions={"on_informational": on_informational})
        await assert_holds(world, http, peers, idle=0)
        await assert_still_works(world, http, peers)


async def test_p23_a_flood_of_interim_responses_is_refused(world: World, engine: str) -> None:
    """However it is cut, and though each of them shows that the peer is alive."""

    def script(conn: Conn) -> None:
        conn.read_request()
        for _ in range(100_000):
            conn.send(b"HTTP/1.1 102 Processing\r\n\r\n")

    with Peers(script, expect_disconnect=True) as peers:
        http = one_slot(world, http1_engine=engine)
        error = await error_of(lambda: http.request("GET", peers.url))
        assert isinstance(error, httpcore.RemoteProtocolError)
        assert "more than 100 interim responses" in str(error)
        await assert_holds(world, http, peers, idle=0)
        await assert_still_works(world, http, peers)


async def test_p23_interim_responses_during_an_upload_are_no_answer(world: World, engine: str) -> None:
    def script(conn: Conn) -> None:
        head = conn.read_head()
        for _ in range(3):
            conn.send(b"HTTP/1.1 102 Processing\r\n\r\n")
        conn.respond(body=b"%d" % len(conn.read_body(head).body))
        serve(conn)

    for body in kinds(world):
        with Peers(script) as peers:
            http = one_slot(world, http1_engine=engine)
            source = Source([b"x" * 50_000] * 100)
            response = await http.request("POST", peers.url, body=body(source))
            assert response.body == b"5000000"
            await assert_holds(world, http, peers, idle=1)
            await assert_still_works(world, http, peers)
            assert peers.accepted == 1


# P24: trailers


async def test_p24_trailers_of_a_response_come_after_its_body_and_beside_its_headers(world: World, engine: str) -> None:
    gate = Gate()

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nx-sum: head\r\n\r\n5\r\nhello\r\n")
        gate.wait()
        conn.send(b"0\r\nX-Sum: foot\r\nx-more: 1\r\nX-More: 2\r\ncontent-length: 9\r\n\r\n")
        serve(conn)

    with Peers(script) as peers:
        http = one_slot(world, http1_engine=engine)
        response = await http.request("GET", peers.url, stream=True)
        with pytest.raises(httpcore.ResponseNotRead, match="trailers follow the body"):
            _ = response.trailers
        gate.open()
        assert await response.read() == b"hello"
        assert tuple(response.trailers) == ((b"x-sum", b"foot"), (b"x-more", b"1"), (b"x-more", b"2"))
        assert response.headers.get_list("x-sum") == [b"head"]
        assert response.headers.get("x-more") is None
        await assert_holds(world, http, peers, idle=1)
        await assert_still_works(world, http, peers)


@pytest.mark.parametrize("size", [5, 500_000])
async def test_p24_trailers_of_a_request_follow_its_body(world: World, engine: str, size: int) -> None:
    """Asked for when the body has been sent, so that they can be made of it."""
    with Peers(serve) as peers:
        http = one_slot(world, http1_engine=engine)
        source = Source([b"x" * size] * 2)
        bodies: list[BodyTypes] = [b"x" * size * 2, source.plain()]
        for body in bodies:
            trailers = [("X-Sum", "abc"), ("x-taken", str(source.taken))]
            made = trailers if isinstance(body, bytes) else lambda: {"x-taken": str(source.taken)}
            await http.request("POST", peers.url, headers={"TE": "trailers"}, body=body, extensions={"trailers": made})
        first, second = peers.faulty.requests
        assert first.body == second.body == b"x" * size * 2
        assert first.trailers == [(b"X-Sum", b"abc"), (b"x-taken", b"0")]
        assert second.trailers == [(b"x-taken", b"2")]
        await assert_holds(world, http, peers, idle=1)
        await assert_still_works(world, http, peers)


@pytest.mark.parametrize(("count", "size"), [(100, 1), (101, 1), (10, 2000)])
async def test_p24_trailers_have_bounds_of_their_own(world: World, engine: str, count: int, size: int) -> None:
    """100 fields and 16 KiB, whatever `Limits.max_header_count` says of the head."""
    trailers = [(b"x", b"y" * size)] * count

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.respond_chunked([b"hello"], trailers=trailers)
        conn.wait_closed()

    with Peers(script, expect_disconnect=True) as peers:
        http = one_slot(world, http1_engine=engine, limits=httpcore.Limits(max_connections=1, max_header_count=5))
        if count * size <= 100:
            assert (await http.request("GET", peers.url)).trailers == tuple(trailers)
        else:
            error = await error_of(lambda: http.request("GET", peers.url))
            assert "the trailers are longer than 16384 bytes or 100 fields" in str(error)


@can_cancel_worlds
async def test_p24_trailers_of_an_async_body_follow_its_last_part(world: World, engine: str) -> None:
    with Peers(serve) as peers:
        http = one_slot(world, http1_engine=engine)
        told: list[str] = []

        async def body() -> AsyncIterator[bytes]:
            yield b"hello"
            await world.sleep(0.01)
            told.append("5 bytes")

        extensions = {"trailers": lambda: [("x-told", told[0])]}
        assert (await http.request("POST", peers.url, body=body(), extensions=extensions)).status_code == 200
        assert peers.faulty.requests[0].body == b"hello"
        assert (b"x-told", b"5 bytes") in peers.faulty.requests[0].trailers
        await assert_holds(world, http, peers, idle=1)


async def test_p24_trailers_that_fail_fail_the_request(world: World, engine: str) -> None:
    def fail() -> dict[str, str]:
        raise Mine("no sum")

    for trailers in (fail, lambda: {"bad\r\n": "x"}):
        with Peers(read_one, expect_disconnect=True) as peers:
            http = one_slot(world, http1_engine=engine)
            body = Source([b"hello"]).plain()
            with pytest.raises((Mine, httpcore.LocalProtocolError)):
                await http.request("POST", peers.url, body=body, extensions={"trailers": trailers})
            await assert_holds(world, http, peers, idle=0)
            await assert_still_works(world, http, peers)


# P25: upgrade and CONNECT


def talk(conn: Conn) -> None:
    """What is spoken after HTTP: lines, sent back in capitals, until the other side ends."""
    while True:
        line = conn.recv_until(b"\n")
        conn.send(line.upper())
        if line == b"bye\n":
            return


async def read_line(stream: httpcore.NetworkStream) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        data = await stream.read(timeout=5)
        assert data
        line += data
    return line


async def check_conversation(world: World, response: httpcore.Response, greeting: bytes) -> None:
    stream = response.extensions["network_stream"]
    assert isinstance(stream, httpcore.NetworkStream)
    assert await read_line(stream) == greeting
    await stream.write(b"hello\n")
    assert await read_line(stream) == b"HELLO\n"
    await stream.write(b"bye\n")
    assert await read_line(stream) == b"BYE\n"
    assert await stream.read() == b""
    await stream.aclose()
    with pytest.raises(httpcore.StreamClosed):
        await stream.read()


UPGRADE = {"Connection": "upgrade", "Upgrade": "shouting"}


@pytest.mark.parametrize("is_one_segment", [True, False])
async def test_p25_upgrade_hands_over_the_stream_with_every_byte_already_read(
    world: World, engine: str, is_one_segment: bool
) -> None:
    """d_101_data: the first bytes of the other protocol are not lost, not parsed as HTTP, and never go to the pool."""

    def script(conn: Conn) -> None:
        conn.read_request()
        head = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: shouting\r\n\r\n"
        if is_one_segment:
            conn.send(head + b"HTTP/1.1 200 OK\r\n")
        else:
            conn.send(head)
            conn.send(b"HTTP/1.1 200 OK\r\n")
        talk(conn)

    with Peers(script) as peers:
        http = one_slot(world, http1_engine=engine)
        response = await http.request("GET", peers.url, headers=UPGRADE)
        assert (response.status_code, response.body) == (101, b"")
        assert http.stats().active == 1
        await check_conversation(world, response, b"HTTP/1.1 200 OK\r\n")
        await assert_holds(world, http, peers, idle=0)
        await assert_still_works(world, http, peers)


async def test_p25_upgrade_is_read_in_the_sizes_that_are_asked_for(world: World, engine: str) -> None:
    def script(conn: Conn) -> None:
        conn.read_request()
        conn.send(b"HTTP/1.1 101 S\r\nconnection: upgrade\r\nupgrade: shouting\r\n\r\nabcde")
        conn.wait_closed()

    with Peers(script, expect_disconnect=True) as peers:
        http = one_slot(world, http1_engine=engine)
        response = await http.request("GET", peers.url, headers=UPGRADE)
        stream = response.extensions["network_stream"]
        assert isinstance(stream, httpcore.NetworkStream)
        assert [await stream.read(max_bytes=2) for _ in range(3)] == [b"ab", b"cd", b"e"]
        with pytest.raises(httpcore.ReadTimeout):
            await stream.read(timeout=0.01)
        await response.aclose()
        await assert_holds(world, http, peers, idle=0)
        await assert_still_works(world, http, peers)


@only_over("TLS", "CONNECT", reason="a proxy forwards what comes later, and opened a tunnel for this")
async def test_p25_upgrade_that_is_declined_is_a_normal_response(world: World, engine: str) -> None:
    """d_426_upgrade, and a server that knows nothing of it."""

    def script(conn: Conn) -> None:
        for status in (426, 200):
            conn.read_request()
            conn.respond(status, body=b"no", headers=[(b"upgrade", b"shouting"), (b"connection", b"upgrade")])
        serve(conn)

    with Peers(script) as peers:
        http = one_slot(world, http1_engine=engine)
        for status in (426, 200):
            response = await http.request("GET", peers.url, headers=UPGRADE)
            assert (response.status_code, response.body) == (status, b"no")
            assert "network_stream" not in response.extensions
            await assert_holds(world, http, peers, idle=1)
        await assert_still_works(world, http, peers)
        assert peers.accepted == 1


@only_over(reason="what asks for a tunnel is not sent through another")
async def test_p25_connect_hands_over_the_tunnel_with_every_byte_already_read(world: World, engine: str) -> None:
    """h_200_cl: what the head says of a body is not believed, there is none."""

    def script(conn: Conn) -> None:
        request = conn.read_request()
        assert (request.method, request.target) == (b"CONNECT", peers.faulty.authority.encode())
        assert request.header(b"host") == peers.faulty.authority.encode()
        conn.send(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nwelcome\n")
        talk(conn)

    with Peers(script) as peers:
        http = one_slot(world, http1_engine=engine)
        response = await http.request("CONNECT", peers.url)
        assert (response.status_code, response.body) == (200, b"")
        await check_conversation(world, response, b"welcome\n")
        await assert_holds(world, http, peers, idle=0)
        await assert_still_works(world, http, peers)


@only_over(reason="what asks for a tunnel is not sent through another")
async def test_p25_connect_that_is_refused_is_a_normal_response(world: World, engine: str) -> None:
    def script(conn: Conn) -> None:
        conn.read_request()
        conn.respond(403, body=b"no tunnel")
        serve(conn)

    with Peers(script) as peers:
        http = one_slot(world, http1_engine=engine)
        response = await http.request("CONNECT", peers.url)
        assert (response.status_code, response.body) == (403, b"no tunnel")
        await assert_holds(world, http, peers, idle=1)
        await assert_still_works(world, http, peers)


async def test_p25_upgrade_over_tls(world: World, ca: CertificateAuthority) -> None:
    def script(conn: Conn) -> None:
        conn.read_request()
        conn.send(b"HTTP/1.1 101 S\r\nconnection: upgrade\r\nupgrade: shouting\r\n\r\nwelcome\n")
        talk(conn)

    with Peers(script, tls=ca.server_context()) as peers:
        http = one_slot(world, ssl=ca.client_context())
        await check_conversation(world, await http.request("GET", peers.url, headers=UPGRADE), b"welcome\n")
        await assert_holds(world, http, peers, idle=0)
        await assert_still_works(world, http, peers)


@only_over(reason="the pool is none of the world's")
@only_worlds("blocking")
async def test_p25_upgrade_in_the_sync_pool(world: World, engine: str) -> None:
    def script(conn: Conn) -> None:
        conn.read_request()
        conn.send(b"HTTP/1.1 101 S\r\nconnection: upgrade\r\nupgrade: shouting\r\n\r\n")
        talk(conn)

    with ScriptedPeer(script) as peer, httpcore.SyncConnectionPool(http1_engine=engine) as http:
        response = http.request("GET", peer.url, headers=UPGRADE)
        stream = response.extensions["network_stream"]
        assert isinstance(stream, httpcore.SyncNetworkStream)
        stream.write(b"bye\n")
        assert stream.read() == b"BYE\n"
        assert stream.read(timeout=5) == b""
        stream.close()
        assert http.stats().active == 0
