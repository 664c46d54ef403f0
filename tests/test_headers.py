"""P28, P30 and FAULTS J: headers go out and come in as they are, and nothing can be injected through them."""

from __future__ import annotations

import contextlib
import re
from collections import OrderedDict
from types import MappingProxyType
from typing import Any

import pytest

import httpcore
from httpcore import Headers, LocalProtocolError
from httpcore._headers import encode_headers
from tests.support.cost import assert_cheaper, cpu_seconds
from tests.support.peer import Conn, ScriptedPeer
from tests.support.worlds import World

HELLO = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
TOKEN_CHARS = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


# What may be sent


@pytest.mark.parametrize(
    "headers",
    [
        {"a": "1", "B": "2"},
        {b"a": b"1", b"B": b"2"},
        {"a": b"1", "B": b"2"},
        OrderedDict(a="1", B="2"),
        MappingProxyType({"a": "1", "B": "2"}),
        [("a", "1"), ("B", "2")],
        [(b"a", "1"), ("B", b"2")],
        [["a", "1"], ["B", "2"]],
        (("a", "1"), ("B", "2")),
        iter([("a", "1"), ("B", "2")]),
        {"a": "1", "B": "2"}.items(),
        Headers([(b"a", b"1"), (b"B", b"2")]),
    ],
    ids=lambda headers: type(headers).__name__,
)
def test_headers_are_a_mapping_or_pairs_of_str_or_bytes(headers: Any) -> None:
    assert encode_headers(headers) == [(b"a", b"1"), (b"B", b"2")]


async def test_p30_headers_are_sent_in_their_order_and_spelling_with_duplicates(world: World) -> None:
    sent = [("X-B", "2"), ("x-a", "1"), ("X-B", "3"), ("Accept", "a, b"), ("x-a", ""), ("X-Quoted", 'a "b\\" \tc')]
    with ScriptedPeer.answering(HELLO) as peer:
        await world.pool(decompress=False).request("GET", peer.url, headers=sent)
        expected = b"".join(f"{name}: {value}\r\n".encode() for name, value in sent)
        assert peer.requests[0].raw_head == b"GET / HTTP/1.1\r\nhost: %b\r\n%b\r\n" % (
            peer.authority.encode(),
            expected,
        )


async def test_p30_a_received_header_is_kept_byte_by_byte(world: World, engine: str) -> None:
    received = [
        (b"X-B", b"2"),
        (b"x-a", b"1"),
        (b"X-B", b"3"),
        (b"Set-Cookie", b"a"),
        (b"Set-Cookie", b"b"),
        (b"E", b""),
    ]
    received += [(b"X-8bit", bytes(range(0x80, 0x100))), (b"X-Tab", b"a\tb  c"), (b"content-length", b"0")]

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.send(b"HTTP/1.1 200 OK\r\n" + b"".join(b"%b: \t %b \t\r\n" % pair for pair in received) + b"\r\n")

    with ScriptedPeer(script) as peer:
        response = await world.pool(http1_engine=engine).request("GET", peer.url)
    assert response.headers == tuple((name.lower(), value) for name, value in received)


async def test_received_headers_can_be_sent_on_as_they_are(world: World) -> None:
    """What a gateway does, with values that are not ASCII too."""
    answer = b"HTTP/1.1 200 OK\r\nX-Name: \xe9\xff\r\ncontent-length: 0\r\n\r\n"
    with ScriptedPeer.answering(answer) as peer:
        http = world.pool()
        first = await http.request("GET", peer.url)
        kept = [pair for pair in first.headers if pair[0] != b"content-length"]
        await http.request("GET", peer.url, headers=kept)
        assert peer.requests[1].header(b"x-name") == b"\xe9\xff"


# What may not: P28 and j_header


def around(code: int) -> list[bytes]:
    """A byte alone, at the end, at the beginning and in the middle."""
    char = bytes([code])
    return [char, b"a" + char, char + b"a", b"a" + char + b"a"]


def test_p28_a_header_name_is_a_token_and_nothing_else() -> None:
    for code in range(256):
        for name in around(code):
            if code in TOKEN_CHARS:
                assert encode_headers([(name, b"v")]) == [(name, b"v")]
                assert encode_headers({name.decode(): "v"}) == [(name, b"v")]
                continue
            for given in (name, name.decode("latin-1")):
                with pytest.raises(LocalProtocolError, match="header name"):
                    encode_headers([(given, b"v")])


def test_p28_a_header_value_holds_no_control_character_and_no_blank_at_its_ends() -> None:
    words = r"'x-name' holds a control character .* or begins or ends with"
    for code in range(256):
        is_control = (code < 0x20 and code != 9) or code == 0x7F
        for value in around(code):
            if is_control or value.strip(b" \t") != value:
                with pytest.raises(LocalProtocolError, match=words):
                    encode_headers([(b"x-name", value)])
            else:
                assert encode_headers([(b"x-name", value)]) == [(b"x-name", value)]


@pytest.mark.parametrize("value", ["é", "a\u2028b", "\u010d\u010a", "\uff41", "\ud800", "\x85", "\xa0"])
def test_p28_a_str_beyond_ascii_is_refused_instead_of_encoded_by_a_guess(value: str) -> None:
    with pytest.raises(LocalProtocolError, match=r"of 'x-name' holds .* not ASCII; pass bytes"):
        encode_headers([("x-name", value)])
    with pytest.raises(LocalProtocolError, match="not ASCII"):
        encode_headers([(value, "v")])


@pytest.mark.parametrize(
    "headers",
    [
        "x: y", b"x: y", 5, True, print, [("a",)], [("a", "b", "c")], ["ab"], [b"ab"], [("a", 5)], [("a", None)],
        [(5, "a")], [(None, "a")], [5], [{"a": "b"}], {"a": 5}, {"a": ["b"]}, {"a": None}, {5: "a"},
        [("a", bytearray(b"b"))], "", b"", 0, False,
    ],
    ids=repr,
)  # fmt: skip
async def test_what_is_not_headers_is_a_type_error_and_the_pool_works_as_before(world: World, headers: Any) -> None:
    http = world.pool()
    with ScriptedPeer.answering(HELLO) as peer:
        with pytest.raises(TypeError, match="header"):
            await http.request("GET", peer.url, headers=headers)
        assert peer.accepted == 0
        assert (await http.request("GET", peer.url)).body == b"hello"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x\r\ny", "v"), ("x", "v\r\ny: z"), ("x", "v\n"), ("x", "\rv"), ("x", "v\0"), ("", "v"), ("a:b", "v"),
        ("a b", "v"), ("é", "v"), ("x", " v"), ("x", "v\t"), (b"x\n", b"v"), (b"x", b"v\r\n\r\nGET / HTTP/1.1"),
        (b"x", b"v\x7f"), (" x", "v"), ("x ", "v"), (":authority", "v"), ("x", "v\x0b"),
    ],
)  # fmt: skip
async def test_p28_not_a_byte_is_sent_of_a_request_that_could_inject_and_the_pool_works_as_before(
    world: World, name: str | bytes, value: str | bytes
) -> None:
    http = world.pool()
    with ScriptedPeer.answering(HELLO) as peer:
        ways: list[dict[str, Any]] = [
            {"headers": [(name, value)]},
            {"body": [b"a"], "extensions": {"trailers": [(name, value)]}},
            {"body": b"a", "extensions": {"trailers": [(name, value)]}},
        ]
        for options in ways:
            with pytest.raises(LocalProtocolError) as caught:
                await http.request("POST", peer.url, **options)
            assert not caught.value.request_sent
        assert (peer.accepted, http.connections) == (0, [])
        assert (await http.request("GET", peer.url)).body == b"hello"


@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding", "Host", "TE", "Trailer", "content-encoding"])
async def test_a_trailer_cannot_say_what_must_be_known_before_the_body(world: World, name: str) -> None:
    http = world.pool()
    with ScriptedPeer.answering(HELLO) as peer:
        with pytest.raises(LocalProtocolError, match=re.escape(repr(name))):
            await http.request("POST", peer.url, body=[b"a"], extensions={"trailers": {name: "1"}})
        assert peer.accepted == 0


async def test_bad_trailers_of_a_function_end_the_connection_and_never_reach_the_peer(world: World) -> None:
    def script(conn: Conn) -> None:
        if conn.index == 0:
            conn.read_head()
            assert conn.recv_until(b"b\r\n").endswith(b"b\r\n")
            assert conn.recv() == b""
        else:
            conn.read_request()
            conn.send(HELLO)

    http = world.pool()
    with ScriptedPeer(script, expect_disconnect=True) as peer:
        extensions = {"trailers": lambda: [("x", "\r\n")]}
        with pytest.raises(LocalProtocolError, match="'x'"):
            await http.request("POST", peer.url, body=iter([b"a", b"b"]), extensions=extensions)
        assert (await http.request("GET", peer.url)).body == b"hello"


def test_i9_an_error_about_a_header_never_shows_its_value() -> None:
    for value in ("Bearer hunter2\r\n", b"Bearer hunter2\0", "Bearer hunter2 ", "Bearer hunter2 é"):
        with pytest.raises(LocalProtocolError) as caught:
            encode_headers([("authorization", value)])
        assert "hunter2" not in f"{caught.value} {caught.value!r}"
    with pytest.raises(TypeError) as wrong_type:
        encode_headers([("authorization", ["hunter2"])])  # type: ignore[list-item]
    assert "hunter2" not in str(wrong_type.value)


# j_huge_hdr


async def test_j_huge_hdr_a_head_over_a_mebibyte_is_refused_before_a_byte_is_sent(world: World) -> None:
    http = world.pool()
    with ScriptedPeer.answering(HELLO) as peer:
        for headers in (
            [("x", "a" * 10_000_000)],
            [("x", "a" * 1000)] * 2000,
            [(f"x{i}", "a") for i in range(200_000)],
        ):
            with pytest.raises(LocalProtocolError, match="more than 1048576"):
                await http.request("GET", peer.url, headers=headers)
        assert peer.accepted == 0
        assert (await http.request("GET", peer.url, headers=[("x", "a" * 60_000)])).body == b"hello"
        assert peer.requests[0].header(b"x") == b"a" * 60_000


@pytest.mark.parametrize(
    "value",
    [b"a" * 999, b"a " * 500, b" " * 998 + b"a", b"\t" * 999, b"a\t \t" * 250, b"a" * 999 + b"\0", b"a " * 9],
    ids=["letters", "words", "blanks", "tabs", "mixed", "bad end", "words and bad end"],
)
def test_checking_a_value_takes_linear_time(value: bytes) -> None:
    def seconds(times: int) -> float:
        long = value * times if b"\0" not in value else value[:-1] * times + b"\0"

        def check() -> None:
            with contextlib.suppress(LocalProtocolError):
                encode_headers([(b"x", long)])

        return cpu_seconds(check)

    # A hundred times as long: linear is a factor of 100, quadratic one of 10,000.
    assert_cheaper(lambda: seconds(1000), 1000, lambda: seconds(10), at_least=2e-5)


def test_many_values_of_one_name_take_linear_time() -> None:
    def seconds(count: int) -> float:
        headers = [("x", "a")] * count
        return cpu_seconds(lambda: httpcore.Request("GET", "http://x/", headers))

    assert_cheaper(lambda: seconds(100_000), 1000, lambda: seconds(1000), at_least=2e-5)


# Headers, as received


def test_headers_are_looked_up_in_any_case() -> None:
    headers = Headers([(b"a", b"1"), (b"b", b"2"), (b"a", b"3")])
    assert headers.get("A") == headers.get(b"a") == b"1"
    assert headers.get_list("A") == headers.get_list(b"A") == [b"1", b"3"]
    assert headers.get("c") is None
    assert headers.get("c", b"d") == b"d"
    assert headers.get_list("c") == []
    assert headers.get("é") is None


def test_headers_are_an_immutable_sequence_of_pairs() -> None:
    pairs = ((b"a", b"1"), (b"b", b"2"))
    headers = Headers(pairs)
    assert headers == pairs
    assert (list(headers), len(headers), headers[1]) == (list(pairs), 2, pairs[1])
    assert hash(headers) == hash(pairs)
    with pytest.raises(TypeError):
        headers[0] = (b"x", b"y")  # type: ignore[index]
    with pytest.raises(AttributeError):
        headers.x = 1  # type: ignore[attr-defined]


def test_i9_the_repr_of_headers_shows_no_credentials_and_no_cookies() -> None:
    secret = [(name, b"hunter2") for name in (b"authorization", b"proxy-authorization", b"cookie", b"set-cookie")]
    headers = Headers([*secret, (b"Authorization", b"hunter2"), (b"x", b"y")])
    for shown in (repr(headers), str(headers), f"{headers}", repr([headers])):
        assert "hunter2" not in shown
        assert "(b'x', b'y')" in shown
    assert headers.get("cookie") == b"hunter2"
