"""The answers of a SOCKS5 proxy: to the handshake alone, and to a pool whose tunnel then carries what follows."""

from __future__ import annotations

from collections.abc import Iterator

import httpcore
from httpcore._socks import handshake
from httpcore.testing import Peer, Script

from .cutting import pieces
from .memory_pool import Ending, play, serve

__all__ = ["check", "seeds"]

_AUTH = (b"user", b"password")
_HAS_AUTH = 0x04
_RESPONSE = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"
_BOUND = (b"\x01\x7f\0\0\x01", b"\x04" + bytes(16), b"\x03\x04name", b"\x03\x00", b"\x02")
# Two replies of two bytes, a head, a length, an address.
_MOST_STEPS = 6


def seeds() -> Iterator[bytes]:
    for code in (0, 1, 5, 9):
        for bound in _BOUND:
            answer = bytes([5, code, 0]) + bound + b"\x1f\x90" + _RESPONSE
            yield b"\x00\x02\x05\x00" + answer
            yield b"\x04\x02\x05\x02\x01\x00" + answer
    yield b"\x00\x02\x05\xff"
    yield b"\x00\x02HTTP/1.1 400 Bad Request\r\n\r\n"


def check(data: bytes) -> None:
    if len(data) < 2:
        return
    choices, wire = data[0], data[2:]
    auth = _AUTH if choices & _HAS_AUTH else None
    _shake_hands(wire, auth)
    proxy = httpcore.Proxy("socks5h://proxy.example", auth=auth)
    play(_get, pieces(wire, data[1]), Ending(choices % 3), others=_serve_behind_socks, proxy=proxy)


def _shake_hands(wire: bytes, auth: tuple[bytes, bytes] | None) -> None:
    steps, position = handshake("example.org", 80, auth), 0
    _, wanted = next(steps)
    try:
        for _ in range(_MOST_STEPS):
            assert 0 < wanted <= 257, wanted
            reply = wire[position : position + wanted]
            if len(reply) < wanted:
                return
            position += wanted
            _, wanted = steps.send(reply)
    except (StopIteration, httpcore.ProxyError):
        return
    raise AssertionError("the handshake goes on")


async def _get(http: httpcore.ConnectionPool) -> object:
    return (await http.request("GET", "http://example.org/")).status_code


def _serve_behind_socks(peer: Peer) -> Script:
    """A good proxy, for whoever has a password and whoever has none, and the origin behind it."""
    greeting = yield from peer.read_exactly(3)
    peer.send(b"\x05" + greeting[2:])
    if greeting[2] == 2:
        for _ in range(2):
            length = yield from peer.read_exactly(2 if _ == 0 else 1)
            yield from peer.read_exactly(length[-1])
        peer.send(b"\x01\x00")
    head = yield from peer.read_exactly(5)
    yield from peer.read_exactly(head[4] + 2)
    peer.send(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x1f\x90")
    yield from serve(peer)
