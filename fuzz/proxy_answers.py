"""The answers of an HTTP proxy: to CONNECT, and to requests that it is to forward, challenges among them."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import httpcore
from tests.support.http11_rows import BAD, GOOD

from .cutting import pieces
from .memory_pool import Ending, play

__all__ = ["check", "seeds"]

_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
_URLS = ("https://example.org/", "http://example.org/")
_MORE = (
    b"HTTP/1.1 200 Connection established\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n\x16\x03\x01\x02\x00",
    b"HTTP/1.1 407 Who\r\nproxy-authenticate: Basic\r\ncontent-length: 2\r\n\r\nhi" * 3,
    b"HTTP/1.1 407 Who\r\nproxy-authenticate: Negotiate\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 403 No\r\n\r\nuntil the end",
)


def seeds() -> Iterator[bytes]:
    for number, wire in enumerate((*_MORE, *(row.wire for row in (*GOOD, *BAD) if not row.is_large))):
        yield bytes([number % 12, number % 256]) + wire
        if b"\r\n" in wire:
            yield bytes([number % 12, number % 256]) + b"HTTP/1.1 407 Who\r\n" + wire.split(b"\r\n", 1)[1]


def check(data: bytes) -> None:
    if len(data) < 2:
        return
    choices = data[0]
    url, has_hook = _URLS[choices % 2], bool(choices & 0x02)
    proxy = httpcore.Proxy("http://proxy.example", on_challenge=_answer if has_hook else None)

    async def get(http: httpcore.ConnectionPool) -> object:
        return (await http.request("GET", url)).status_code

    play(get, pieces(data[2:], data[1]), Ending((choices >> 2) % 3), proxy=proxy, ssl=_TLS)


def _answer(error: httpcore.ProxyError) -> list[tuple[bytes, bytes]]:
    assert error.status_code == 407
    assert len(error.body) <= 64 * 1024
    return [(b"proxy-authorization", b"Basic dTpw")]
