"""Coded bodies, by every coding and by stacks of them: decoded the same however they are cut, in bounded parts."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator

import brotli

from httpcore._decoders import Decoder, make_decoder, supported_codings
from httpcore._errors import DecodingError
from tests.support.app import zstd_compress

from .cutting import BYTEWISE, WHOLE, pieces

__all__ = ["check", "seeds"]

_CODINGS = ("gzip", "deflate", "br", "zstd")
_ENCODERS = {"gzip": gzip.compress, "deflate": zlib.compress, "br": brotli.compress, "zstd": zstd_compress}
_TEXT = b"".join(b"%d bottles of beer on the wall, %x\n" % (i, i * i * 2654435761) for i in range(20))
_MAX_PART = 64 * 1024
# A bomb is as long as it likes; who asks for no more gets no more.
_MOST = 1024 * 1024


def seeds() -> Iterator[bytes]:
    for stack in range(256):
        for text in (b"", _TEXT, bytes(5000)):
            data = text
            for coding in _stack(stack):
                data = _ENCODERS[coding](data)
            yield bytes([stack, 2]) + data


def check(data: bytes) -> None:
    if len(data) < 2 or not set(_stack(data[0])).issubset(supported_codings()):
        return
    stack, cut, wire = _stack(data[0]), data[1], data[2:]
    whole = _decoded(stack, pieces(wire, WHOLE))
    for way in (BYTEWISE, cut):
        found = _decoded(stack, pieces(wire, way))
        assert found == whole, (stack, way, wire)


def _stack(choice: int) -> list[str]:
    """One to three codings, as they were applied."""
    depth = 1 + (choice >> 6) % 3
    return [_CODINGS[(choice >> 2 * place) & 0x03] for place in range(depth)]


def _decoded(stack: list[str], said: list[bytes]) -> bytes | None:
    """The body, or as much of it as is asked for; None where it is refused."""
    decoder = make_decoder([coding.encode() for coding in stack])
    assert decoder is not None
    body = bytearray()
    try:
        for part in _parts(decoder, said):
            assert 0 < len(part) <= _MAX_PART, len(part)
            body += part
            if len(body) >= _MOST:
                return bytes(body[:_MOST])
    except DecodingError as exc:
        assert str(exc)
        return None
    return bytes(body)


def _parts(decoder: Decoder, said: list[bytes]) -> Iterator[bytes]:
    for piece in said:
        yield from decoder.decode(piece)
    yield from decoder.finish()
