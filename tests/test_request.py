"""P28, P58 and FAULTS J: what a caller asks for is valid HTTP, or it is refused with a word before a byte is sent."""

from __future__ import annotations

import dataclasses
import io
import math
import os
import re
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import httpcore
from httpcore import Limits, LocalProtocolError, Network, Request, SSLConfig, StreamConsumed, Timeout
from tests.support.peer import Conn, ScriptedPeer
from tests.support.worlds import World, only_worlds

HELLO = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
NO_BODY = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


async def refuse(world: World, error: type[Exception], words: str, *requests: dict[str, Any]) -> None:
    """Requests with these arguments are refused with these words, nothing is sent, and the next request works."""
    http = world.pool()
    with ScriptedPeer.answering(HELLO) as peer:
        for arguments in requests:
            try:
                await http.request(**{"method": "POST", "url": peer.url, **arguments})
            except error as exc:
                exc.add_note(f"of {arguments!r:.200}")
                caught: Exception = exc
            else:
                pytest.fail(f"{arguments!r:.200} was not refused")
            if re.search(words, str(caught)) is None or getattr(caught, "request_sent", False):
                raise caught
            assert (peer.accepted, http.connections, http.stats().waiting) == (0, [], 0)
        assert (await http.request("GET", peer.url)).body == b"hello"


# j_method

BAD_METHODS: list[Any] = [
    "",
    " ",
    "GET ",
    " GET",
    "G ET",
    "GET\r\n",
    "GET\n",
    "G\rET",
    "GET\0",
    "GÉT",
    "G\tET",
    "GET/",
    "G:ET",
]
BAD_METHODS += [b"", b"GET\xff", b"GET / HTTP/1.1\r\nx: y\r\n\r\n", "GET\x7f", "\ud800", "G(ET", "é" * 1000]


async def test_j_method_what_is_not_a_token_is_refused(world: World) -> None:
    requests = [{"method": method} for method in BAD_METHODS]
    await refuse(world, LocalProtocolError, r"the method .* is not a token such as GET or POST", *requests)


async def test_a_method_of_another_type_is_a_type_error(world: World) -> None:
    requests = [{"method": method} for method in (None, 5, ["GET"], bytearray(b"GET"), object())]
    await refuse(world, TypeError, "method", *requests)


@pytest.mark.parametrize("method", ["get", "Get", "PATCH", "M-SEARCH", "!#$%&'*+-.^_`|~09azAZ", b"get", "QUERY"])
async def test_j_method_a_token_is_sent_unchanged(world: World, method: str | bytes) -> None:
    sent = method if isinstance(method, bytes) else method.encode()
    with ScriptedPeer.answering(HELLO) as peer:
        response = await world.pool().request(method, peer.url)
        assert (peer.requests[0].method, response.request.method) == (sent, sent)


# j_target, j_abs_form

BAD_TARGETS = [
    b"",
    b"/a b",
    b"/a\r\nx: y",
    b"/\n",
    b"/\0",
    b"/\t",
    b"/\xff",
    b"/\x7f",
    b" /",
    b"/ ",
    b"/ HTTP/1.0\r\n\r\n",
]


async def test_j_target_what_is_not_visible_ascii_is_refused(world: World) -> None:
    requests = [{"extensions": {"target": target}} for target in BAD_TARGETS]
    await refuse(world, LocalProtocolError, "the target has .* at offset", *requests)
    await refuse(world, TypeError, "target is bytes", *({"extensions": {"target": target}} for target in ("/", 5)))


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("OPTIONS", b"*"),
        ("GET", b"http://other.example/path?query"),
        ("GET", b"/%zz?a\\b|c"),
        ("GET", b"?"),
        ("GET", b"no-slash"),
        ("GET", b"/" + b"a" * 8000),
    ],
)
async def test_j_abs_form_a_target_of_the_callers_is_sent_exactly_as_given(
    world: World, method: str, target: bytes
) -> None:
    with ScriptedPeer.answering(HELLO) as peer:
        await world.pool().request(method, f"{peer.origin}/not-this", extensions={"target": target})
        assert (peer.requests[0].target, peer.requests[0].header(b"host")) == (target, peer.authority.encode())


# j_host_dup

BAD_HOSTS = [
    "a b",
    "user:hunter2@a",
    "@a",
    "a/b",
    "a?b",
    "a#b",
    "a:b",
    "a:80:80",
    "[::1",
    "::1",
    "[::1]x",
    "a\\b",
    "a,b c",
    '"a"',
]


async def test_j_host_dup_a_host_header_is_host_and_port_without_credentials(world: World) -> None:
    words = "(?s)^(?!.*hunter2).*host header is not host"
    await refuse(world, LocalProtocolError, words, *({"headers": {"Host": host}} for host in BAD_HOSTS))


async def test_j_host_dup_two_hosts_are_refused(world: World) -> None:
    twice = {"headers": [("host", "a"), ("Host", "a")]}
    await refuse(world, LocalProtocolError, "'host' is there more than once", twice)


@pytest.mark.parametrize("host", ["example.org", "example.org:81", "[::1]:81", "a_b", "", "xn--bcher-kva.example"])
async def test_a_host_of_the_callers_is_sent_instead_of_ours(world: World, host: str) -> None:
    with ScriptedPeer.answering(HELLO) as peer:
        await world.pool().request("GET", peer.url, headers=[("A", "b"), ("HOST", host)])
        assert peer.requests[0].headers[:2] == [(b"A", b"b"), (b"HOST", host.encode())]
        assert peer.requests[0].header_list(b"host") == [host.encode()]


# j_cl_te, j_te_custom


CONTRADICTIONS: list[tuple[list[tuple[str, Any]], Any, str]] = [
    ([("content-length", "1"), ("Transfer-Encoding", "chunked")], b"a", "exclude each other"),
    ([("content-length", "1"), ("Content-Length", "1")], b"a", "more than once"),
    ([("content-length", "1"), ("Content-Length", "2")], b"a", "more than once"),
    ([("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")], b"a", "more than once"),
    ([("content-length", "1, 1")], b"a", "not a number of bytes"),
    ([("content-length", "+1")], b"a", "not a number of bytes"),
    ([("content-length", "-1")], b"a", "not a number of bytes"),
    ([("content-length", "0x1")], b"a", "not a number of bytes"),
    ([("content-length", "1_0")], b"a" * 10, "not a number of bytes"),
    ([("content-length", "")], b"", "not a number of bytes"),
    ([("content-length", b"\xb2")], b"aa", "not a number of bytes"),
    ([("content-length", "9" * 5000)], b"a", "not a number of bytes"),
    ([("content-length", "2")], b"a", "announces 2 bytes, but the body has 1"),
    ([("content-length", "1")], b"aa", "announces 1 bytes, but the body has 2"),
    ([("content-length", "1")], None, "no body"),
    ([("content-length", "1")], [b"a", b"b"], "announces 1 bytes, but the body has 2"),
    ([("content-length", "4")], io.BytesIO(b"abc"), "announces 4 bytes, but the body has 3"),
    ([("transfer-encoding", "chunked")], None, "there is none"),
    ([("transfer-encoding", "gzip, chunked")], b"a", "only chunked is"),
    ([("transfer-encoding", "gzip")], b"a", "only chunked is"),
    ([("transfer-encoding", "identity")], b"a", "only chunked is"),
    ([("transfer-encoding", "xchunked")], b"a", "only chunked is"),
    ([("transfer-encoding", "")], b"a", "only chunked is"),
]


@pytest.mark.parametrize(("headers", "body", "words"), CONTRADICTIONS)
def test_j_cl_te_framing_that_contradicts_itself_is_refused(headers: Any, body: Any, words: str) -> None:
    with pytest.raises(LocalProtocolError, match=words):
        Request("POST", "http://x/", headers, body)


async def test_j_cl_te_nothing_is_sent_of_a_request_whose_framing_contradicts_itself(world: World) -> None:
    requests = [{"headers": headers, "body": body} for headers, body, _ in CONTRADICTIONS]
    await refuse(world, LocalProtocolError, "content-length|transfer-encoding", *requests)


async def test_a_method_that_has_no_body_gets_none(world: World) -> None:
    requests = [{"method": method, "body": body} for method in ("TRACE", "CONNECT") for body in (b"a", [b"a"])]
    await refuse(world, LocalProtocolError, "a (TRACE|CONNECT) request has no body", *requests)


async def test_trailers_need_chunks(world: World) -> None:
    extensions = {"trailers": {"a": "b"}}
    without_chunks = {"body": b"a", "headers": {"content-length": "1"}, "extensions": extensions}
    await refuse(world, LocalProtocolError, "follow a body", {"extensions": extensions}, without_chunks)


@pytest.mark.parametrize(
    ("method", "body", "headers", "framing"),
    [
        ("GET", None, {}, []),
        ("HEAD", None, {}, []),
        ("DELETE", None, {}, []),
        ("POST", None, {}, [(b"content-length", b"0")]),
        ("PUT", None, {}, [(b"content-length", b"0")]),
        ("PATCH", None, {}, [(b"content-length", b"0")]),
        ("POST", None, {"Content-Length": "0"}, [(b"Content-Length", b"0")]),
        ("POST", b"", {}, [(b"content-length", b"0")]),
        ("POST", b"abc", {}, [(b"content-length", b"3")]),
        # d_body_get: a body is always framed, or a peer would read it as the next request.
        ("GET", b"abc", {}, [(b"content-length", b"3")]),
        ("DELETE", iter([b"abc"]), {}, [(b"transfer-encoding", b"chunked")]),
        ("POST", b"abc", {"Content-Length": "3"}, [(b"Content-Length", b"3")]),
        ("POST", b"abc", {"content-length": "003"}, [(b"content-length", b"003")]),
        ("POST", b"abc", {"Transfer-Encoding": "Chunked"}, [(b"Transfer-Encoding", b"Chunked")]),
        ("POST", iter([b"abc"]), {"content-length": "3"}, [(b"content-length", b"3")]),
    ],
)
def test_the_body_is_framed_as_the_caller_chose_or_as_is_best(
    method: str, body: Any, headers: Any, framing: list[tuple[bytes, bytes]]
) -> None:
    request = Request(method, "http://x/", headers, body)
    found = [pair for pair in request.headers if pair[0].lower() in (b"content-length", b"transfer-encoding")]
    assert found == framing


# Bodies: P58


class Chunks:
    """Can be iterated over again and again."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    def __iter__(self) -> Iterator[Any]:
        return iter(self.parts)


class AsyncChunks:
    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    async def __aiter__(self) -> AsyncIterator[Any]:
        for part in self.parts:
            yield part


class OnlyReads:
    """As little of a file as there can be."""

    def __init__(self, content: bytes) -> None:
        self.read = io.BytesIO(content).read


LARGE = os.urandom(1_000_000)


@pytest.mark.parametrize(
    ("make", "received", "is_length_known"),
    [
        (lambda: b"abc", b"abc", True),
        (lambda: bytearray(b"abc"), b"abc", True),
        (lambda: memoryview(b"abc")[1:], b"bc", True),
        (lambda: "äbc", "äbc".encode(), True),
        (lambda: "", b"", True),
        (lambda: io.BytesIO(b"abc"), b"abc", True),
        (lambda: io.BytesIO(), b"", True),
        (lambda: OnlyReads(b"abc"), b"abc", False),
        (lambda: [b"a", b"", b"bc"], b"abc", True),
        (lambda: (b"a", b"bc"), b"abc", True),
        (lambda: [], b"", True),
        (lambda: iter([b"a", b"", b"bc"]), b"abc", False),
        (lambda: (part for part in [b"a", bytearray(b"b"), memoryview(b"c")]), b"abc", False),
        (lambda: Chunks(b"a", b"", b"bc"), b"abc", False),
        (lambda: Chunks(), b"", False),
        (lambda: {b"abc": 1}.keys(), b"abc", False),
        (lambda: LARGE, LARGE, True),
        (lambda: io.BytesIO(LARGE), LARGE, True),
        (lambda: Chunks(LARGE, b"abc"), LARGE + b"abc", False),
    ],
    ids=[
        "bytes", "bytearray", "memoryview", "str", "empty str", "file", "empty file", "what reads", "list", "tuple",
        "empty list", "iterator", "generator", "iterable", "empty iterable", "dict keys", "large bytes", "large file",
        "large iterable",
    ],
)  # fmt: skip
async def test_p58_bodies_are_sent_with_their_length_where_it_is_known(
    world: World, make: Callable[[], Any], received: bytes, is_length_known: bool
) -> None:
    with ScriptedPeer.answering(NO_BODY) as peer:
        await world.pool().request("POST", peer.url, body=make())
        (request,) = peer.requests
        assert request.body == received
        length = b"%d" % len(received) if is_length_known else None
        assert request.header(b"content-length") == length
        assert request.header(b"transfer-encoding") == (None if is_length_known else b"chunked")


@only_worlds("asyncio", "uvloop", "trio")
@pytest.mark.parametrize("make", [lambda: AsyncChunks(b"a", b"", b"bc"), lambda: aiter(AsyncChunks(b"a", b"bc"))])
async def test_p58_async_iterables_are_sent_in_chunks(world: World, make: Callable[[], Any]) -> None:
    with ScriptedPeer.answering(NO_BODY) as peer:
        await world.pool().request("POST", peer.url, body=make())
        assert peer.requests[0].chunks == [b"a", b"bc"]


@only_worlds("blocking")
@pytest.mark.parametrize("make", [lambda: AsyncChunks(b"a"), lambda: aiter(AsyncChunks(b"a"))])
async def test_an_async_iterable_in_the_sync_pool_is_a_clear_error(world: World, make: Callable[[], Any]) -> None:
    body = make()
    await refuse(
        world, TypeError, r"async iterable \(\w+\), which the sync pool cannot read: .*ConnectionPool", {"body": body}
    )
    with ScriptedPeer.answering(HELLO) as peer, httpcore.SyncConnectionPool() as http:
        with pytest.raises(TypeError, match="async iterable"):
            http.request("POST", peer.url, body=body)
        assert http.request("GET", peer.url).body == b"hello"


async def test_p58_a_file_is_sent_from_where_it_stands(world: World, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    with ScriptedPeer.answering(NO_BODY) as peer, path.open("rb") as file:
        file.seek(4)
        await world.pool().request("POST", peer.url, body=file)
        assert peer.requests[0].body == b"456789"
        assert peer.requests[0].header(b"content-length") == b"6"
        file.seek(100)  # beyond its end
        await world.pool().request("POST", peer.url, body=file)
        assert peer.requests[1].header(b"content-length") == b"0"


async def test_p58_a_pipe_has_no_length_and_goes_in_chunks(world: World) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"abc")
    os.close(writer)
    with ScriptedPeer.answering(NO_BODY) as peer, os.fdopen(reader, "rb") as file:
        await world.pool().request("POST", peer.url, body=file)
        assert (peer.requests[0].body, peer.requests[0].header(b"transfer-encoding")) == (b"abc", b"chunked")


class ChangesWhileSent(io.BytesIO):
    """A file of which somebody else writes, or cuts off, something once its length was announced."""

    def __init__(self, content: bytes, changed: bytes) -> None:
        super().__init__(content)
        self._changed: bytes | None = changed

    def read(self, size: int | None = -1, /) -> bytes:
        if self._changed is not None:
            at, changed, self._changed = self.tell(), self._changed, None
            self.seek(0)
            self.truncate()
            self.write(changed)
            self.seek(at)
        return super().read(size)


async def test_p58_of_a_file_that_grows_no_more_is_sent_than_was_announced(world: World) -> None:
    with ScriptedPeer.answering(NO_BODY) as peer:
        http = world.pool()
        for _ in range(2):
            await http.request("POST", peer.url, body=ChangesWhileSent(b"abc", b"abcdef"))
        assert [request.body for request in peer.requests] == [b"abc", b"abc"]
        assert peer.accepted == 1


def reads_until_the_client_leaves(conn: Conn) -> None:
    """For what is broken off: on the first connection, remember what came; on the next, answer."""
    if conn.index:
        conn.read_request()
        conn.send(HELLO)
        return
    conn.read_head()
    conn.peer.received = b"".join(iter(conn.recv, b""))  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("make", "length", "words", "at_most"),
    [
        (lambda: iter([b"ab"]), 3, "1 bytes short", b"ab"),
        (lambda: iter([b"ab", b"c"]), 2, "longer than its content-length, 2 bytes", b"ab"),
        (lambda: iter([b"abc"]), 2, "longer than its content-length, 2 bytes", b""),
        (lambda: iter([]), 1, "1 bytes short", b""),
        (lambda: Chunks(b"abc"), 0, "longer than its content-length, 0 bytes", b""),
        (lambda: ChangesWhileSent(b"a" * 200_000, b"abc"), 200_000, "199997 bytes short", b"abc"),
    ],
)
async def test_p58_a_body_that_disagrees_with_its_length_is_refused_and_the_connection_with_it(
    world: World, make: Callable[[], Any], length: int, words: str, at_most: bytes
) -> None:
    http = world.pool()
    with ScriptedPeer(reads_until_the_client_leaves, expect_disconnect=True) as peer:
        with pytest.raises(LocalProtocolError, match=words):
            await http.request("POST", peer.url, headers={"content-length": str(length)}, body=make())
        await world.until(lambda: hasattr(peer, "received"))
        assert at_most.startswith(peer.received)  # type: ignore[attr-defined]
        assert http.connections == []
        assert (await http.request("GET", peer.url)).body == b"hello"


async def test_what_is_no_body_is_a_type_error(world: World) -> None:
    requests: list[dict[str, Any]] = [{"body": body} for body in (5, 5.0, True, object(), {"a": "b"}, type, len)]
    await refuse(world, TypeError, r"a body is bytes, .* or an \(async\) iterable of bytes, not", *requests)


async def test_a_file_that_was_opened_for_text_is_refused(world: World, tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("abc")
    with path.open() as file:
        texts: list[dict[str, Any]] = [{"body": file}, {"body": io.StringIO("abc")}]
        await refuse(world, TypeError, "opened for text: open it with mode 'rb'", *texts)


@pytest.mark.parametrize("part", ["abc", 5, None, [b"a"]], ids=lambda part: type(part).__name__)
async def test_a_part_that_is_not_bytes_is_a_type_error_and_no_end_of_the_body_is_sent(world: World, part: Any) -> None:
    http = world.pool()
    with ScriptedPeer(reads_until_the_client_leaves, expect_disconnect=True) as peer:
        with pytest.raises(TypeError, match=f"parts of a body are bytes, not {type(part).__name__}"):
            await http.request("POST", peer.url, body=Chunks(b"ab", part), timeout=1)
        await world.until(lambda: hasattr(peer, "received"))
        assert b"2\r\nab\r\n".startswith(peer.received)  # type: ignore[attr-defined]
        assert (await http.request("GET", peer.url)).body == b"hello"


class OfTheCaller(Exception):
    pass


async def test_d_body_exc_what_the_bodys_iterable_raises_comes_through_and_no_end_is_sent(world: World) -> None:
    is_closed = world.event()

    def parts() -> Iterator[bytes]:
        try:
            yield b"ab"
            raise OfTheCaller("as it is")
        finally:
            is_closed.set()

    http = world.pool()
    with ScriptedPeer(reads_until_the_client_leaves, expect_disconnect=True) as peer:
        with pytest.raises(OfTheCaller, match=r"^as it is$"):
            await http.request("POST", peer.url, body=parts())
        assert is_closed.is_set()
        await world.until(lambda: hasattr(peer, "received"))
        assert b"2\r\nab\r\n".startswith(peer.received)  # type: ignore[attr-defined]
        assert http.connections == []
        assert (await http.request("GET", peer.url)).body == b"hello"


async def test_d_body_replay_a_generator_that_was_read_is_never_sent_as_an_empty_body(world: World) -> None:
    body = (part for part in [b"ab"])
    http = world.pool()
    with ScriptedPeer.answering(HELLO) as peer:
        await http.request("POST", peer.url, body=body)
        with pytest.raises(StreamConsumed, match="already been read"):
            await http.request("POST", peer.url, body=body)
        assert len(peer.requests) == 1


# Options


def wrong_seconds() -> list[tuple[Any, type[Exception]]]:
    values: list[tuple[Any, type[Exception]]] = [(-1, ValueError), (-0.001, ValueError), (math.nan, ValueError)]
    values += [
        (-math.inf, ValueError),
        ("5", TypeError),
        (True, TypeError),
        ([5], TypeError),
        (b"5", TypeError),
        (5j, TypeError),
    ]
    return values


@pytest.mark.parametrize("name", ["timeout", "connect", "read", "write", "pool", "total"])
@pytest.mark.parametrize(("value", "error"), wrong_seconds(), ids=repr)
def test_a_timeout_that_is_no_time_is_refused(name: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=rf"timeout '{'connect' if name == 'timeout' else name}'.*{re.escape(repr(value))}"):
        Timeout(**{name: value})


def test_a_timeout_is_the_same_for_the_four_and_none_is_for_ever() -> None:
    assert Timeout() == Timeout(5) == Timeout(connect=5, read=5.0, write=5, pool=5)
    assert dataclasses.astuple(Timeout(10, read=None, total=math.inf)) == (10.0, None, 10.0, 10.0, None)
    assert dataclasses.astuple(Timeout(None, pool=0)) == (None, None, None, 0.0, None)


async def test_a_bad_timeout_of_a_request_is_refused_before_anything_is_sent(world: World) -> None:
    for error in (TypeError, ValueError):
        requests = [{"timeout": value} for value, expected in wrong_seconds() if expected is error]
        await refuse(world, error, "the timeout 'connect' is", *requests)


WHOLE = ["max_connections", "max_connections_per_origin", "max_requests_per_connection", "max_keepalive_connections"]


@pytest.mark.parametrize("name", [*WHOLE, "max_header_bytes", "max_header_count"])
@pytest.mark.parametrize(
    ("value", "error"), [(-1, ValueError), (1.5, TypeError), ("5", TypeError), (True, TypeError), ([], TypeError)]
)
def test_a_limit_that_is_no_number_is_refused(name: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=f"limit '{name}'.*{re.escape(repr(value))}"):
        Limits(**{name: value})


@pytest.mark.parametrize("name", ["keepalive_expiry", "max_connection_age"])
@pytest.mark.parametrize(("value", "error"), wrong_seconds(), ids=repr)
def test_a_limit_of_time_that_is_no_time_is_refused(name: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=f"'{name}'.*{re.escape(repr(value))}"):
        Limits(**{name: value})


def test_limits_that_would_let_nothing_through_are_refused() -> None:
    for name in ("max_connections", "max_connections_per_origin", "max_requests_per_connection", "max_header_count"):
        with pytest.raises(ValueError, match=f"'{name}' is 0"):
            Limits(**{name: 0})
    with pytest.raises(TypeError, match="max_header_bytes"):
        Limits(max_header_bytes=None)  # type: ignore[arg-type]
    assert Limits(max_connections=None, max_keepalive_connections=0, keepalive_expiry=0).max_keepalive_connections == 0


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"verify": None}, TypeError, "verify is True, False or a path, not NoneType"),
        ({"verify": 1}, TypeError, "verify .* not int"),
        ({"verify": b"ca.pem"}, TypeError, "verify .* not bytes"),
        ({"verify": ssl.CERT_NONE}, TypeError, "verify"),
        ({"cert": 5}, TypeError, "cert is a path, .* not of int"),
        ({"cert": b"client.pem"}, TypeError, "cert is a path, .* not of bytes"),
        ({"cert": ["a", "b"]}, TypeError, "cert is a path, .* not of list"),
        ({"cert": ("a",)}, ValueError, "cert is .* not 1 parts"),
        ({"cert": ("a", "b", "c", "d")}, ValueError, "cert is .* not 4 parts"),
        ({"cert": ("a", "b", None)}, TypeError, "cert is a path, .* not of NoneType"),
        ({"cert": ("a", "b", b"hunter2")}, TypeError, "cert is a path, .* not of bytes"),
        ({"truststore": "yes"}, TypeError, "truststore is True or False, not str"),
        ({"truststore": True, "verify": False}, ValueError, "leave verify=True"),
    ],
)
def test_bad_tls_options_are_refused(options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        SSLConfig(**options)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"local_address": 5}, TypeError, "local_address .* not 5"),
        ({"local_address": ("127.0.0.1",)}, TypeError, "local_address .* not "),
        ({"local_address": ("127.0.0.1", "80")}, TypeError, "local_address .* not "),
        ({"local_address": "eth0"}, ValueError, "local_address 'eth0' is not an IP address"),
        ({"local_address": "localhost"}, ValueError, "local_address 'localhost'"),
        ({"local_address": "127.1"}, ValueError, "local_address '127.1'"),
        ({"uds": 5}, TypeError, "uds is a path, not int"),
        ({"uds": b"/tmp/x"}, TypeError, "uds is a path, not bytes"),
        ({"uds": "/tmp/x", "local_address": "127.0.0.1"}, ValueError, "exclude each other"),
        ({"socket_options": 5}, TypeError, "socket_options .* not 5"),
        ({"socket_options": "ab"}, TypeError, "socket_options .* not 'ab'"),
        ({"socket_options": (6, 1, 1)}, TypeError, "socket_options is 6"),
        ({"socket_options": [(6, 1)]}, TypeError, r"socket_options is \(6, 1\)"),
        ({"socket_options": [(6, 1, "1")]}, TypeError, r"socket_options is \(6, 1, '1'\)"),
        ({"resolver": "1.1.1.1"}, TypeError, "resolver is a callable .* not str"),
    ],
)
def test_bad_network_options_are_refused(options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        Network(**options)


def test_network_options_are_values_however_they_were_given() -> None:
    given = Network(socket_options=[[6, 1, 1]], uds=Path("/tmp/x"))  # type: ignore[arg-type]
    assert given == Network(socket_options=((6, 1, 1),), uds="/tmp/x")
    assert hash(given) == hash(Network(socket_options=((6, 1, 1),), uds="/tmp/x"))


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"ssl": 5}, TypeError, "ssl is an SSLConfig, .* not int"),
        ({"ssl": "ca.pem"}, TypeError, "ssl is an SSLConfig, .* not str"),
        ({"ssl": SSLConfig(verify="/nonexistent/ca.pem")}, OSError, "does not exist: '/nonexistent/ca.pem'"),
        ({"ssl": SSLConfig(cert="/nonexistent/client.pem")}, OSError, "No such file"),
        ({"timeout": "5"}, TypeError, "'5'"),
        ({"timeout": -1}, ValueError, "-1"),
        ({"limits": 100}, TypeError, "limits is a Limits, not int"),
        ({"limits": Timeout()}, TypeError, "limits is a Limits, not Timeout"),
        ({"http1": False, "http2": False}, ValueError, "leave nothing to speak"),
        ({"http1_engine": "zork"}, ValueError, "http1_engine 'zork' is unknown: it is one of auto, h11"),
        ({"http2_engine": "zttp"}, ValueError, "http2_engine 'zttp' is not supported: zttp 0.0.35 gives"),
        ({"http1_engine": None}, ValueError, "http1_engine None"),
        ({"http2_engine": "zork"}, ValueError, "http2_engine 'zork' is unknown"),
        ({"proxy": 5}, TypeError, "proxy is a Proxy, a URL"),
        ({"retries": -1}, ValueError, "retries is -1"),
        ({"retries": 1.5}, ValueError, "retries is 1.5"),
        ({"retries": "1"}, ValueError, "retries is '1'"),
        ({"retries": True}, ValueError, "retries is True"),
        ({"decompress": "yes"}, TypeError, "decompress is None, True or False, not 'yes'"),
        ({"network": "eth0"}, TypeError, "network is a Network, not str"),
        ({"trace": "print"}, TypeError, "trace is a callable, not str"),
    ],
)
def test_bad_options_of_a_pool_are_refused(options: dict[str, Any], error: Any, words: str) -> None:
    for pool in (httpcore.ConnectionPool, httpcore.SyncConnectionPool):
        with pytest.raises(error, match=words):
            pool(**options)


def test_an_unknown_world_is_refused() -> None:
    with pytest.raises(ValueError, match=r"backend 'curio' is unknown: it is None, .*asyncio, anyio, trio, blocking"):
        httpcore.ConnectionPool(backend="curio")


def test_the_sync_pool_has_one_world() -> None:
    with ScriptedPeer.answering(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello") as peer:
        for backend in (None, "blocking"):
            with httpcore.SyncConnectionPool(backend=backend) as http:
                assert http.request("GET", peer.url).body == b"hello"
    with pytest.raises(ValueError, match="None or 'blocking', not 'asyncio'"):
        httpcore.SyncConnectionPool(backend="asyncio")


async def test_bad_options_of_a_request_are_refused_and_the_pool_works_as_before(world: World) -> None:
    rows: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"ssl": 5}, TypeError, "ssl is an SSLConfig, .* not int"),
        ({"ssl": SSLConfig(verify="/nonexistent/ca.pem")}, OSError, "/nonexistent/ca.pem"),
        ({"extensions": 5}, TypeError, "extensions are a mapping, not int"),
        ({"extensions": ["target"]}, TypeError, "extensions are a mapping, not list"),
        ({"extensions": {"timeout": 5}}, ValueError, r"unknown extensions \['timeout'\]; known are"),
        ({"extensions": {5: 5, "x": 5}}, ValueError, "unknown extensions"),
        ({"extensions": {"on_informational": 5}}, TypeError, "on_informational is a callable, not int"),
        ({"extensions": {"max_decoded_ratio": "5"}}, ValueError, "max_decoded_ratio is '5'"),
        ({"extensions": {"max_decoded_ratio": 0}}, ValueError, "max_decoded_ratio is 0"),
        ({"extensions": {"max_decoded_ratio": True}}, ValueError, "max_decoded_ratio is True"),
        ({"extensions": {"max_decoded_ratio": math.nan}}, ValueError, "max_decoded_ratio is nan"),
        ({"extensions": {"sni_hostname": b"x"}}, TypeError, "sni_hostname is a str, not bytes"),
        ({"extensions": {"sni_hostname": ""}}, httpcore.InvalidURL, "sni_hostname ''"),
        ({"extensions": {"sni_hostname": "a b"}}, httpcore.InvalidURL, "sni_hostname 'a b'"),
        ({"extensions": {"sni_hostname": "bücher"}}, httpcore.InvalidURL, "sni_hostname 'bücher'"),
        ({"extensions": {"sni_hostname": "a\r\nb"}}, httpcore.InvalidURL, "sni_hostname"),
        ({"body": [b"a"], "extensions": {"trailers": 5}}, TypeError, "headers are a mapping or pairs"),
    ]
    for options, error, words in rows:
        await refuse(world, error, words, options)


def test_a_request_says_what_it_asks_for_and_nothing_secret() -> None:
    request = Request(
        "GET", "http://user:hunter2@x/path?token=hunter2", {"authorization": "hunter2", "cookie": "hunter2"}
    )
    assert repr(request) == "<Request GET http://x/path>"
