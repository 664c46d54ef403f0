"""Content codings: what a body is unpacked with, as it comes and never more of it in memory than a step.

A thousand bytes of body may fit into one (zeros do that, and so do bombs), so nothing here asks for all there is.
Every call names the most that may come out, and is made when somebody wants the next part: to stop asking is to stop
decoding. Codings can be stacked; each is a layer, a generator over the parts of the one before it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from math import inf
from typing import Protocol

from ._errors import DecodingError

__all__ = ["Decoder", "accept_encoding", "make_decoder", "supported_codings"]

# How much comes out of a layer, and goes into a library, at once; 256 KiB were no faster. zlib copies the input that it
# has not used, for each part that comes out and each gzip member that ends: in larger pieces bombs cost time squared.
_MAX_PART = 64 * 1024
_MAX_PIECE = 32 * 1024

# A layer costs memory and time. curl and urllib3 stop at five as well, and two are seen in the wild.
_MAX_CODINGS = 5

# What comes out of one layer may have cost a thousandth to send, so the next ones do not swallow it without end (empty
# members, padding) before they give out anything. A first layer may: there it costs the peer what it costs us.
_MAX_IDLE = 1024 * 1024

# Of a zstd frame, at most: magic number, descriptor, window, dictionary and size of its content (RFC 8878, 3.1.1).
_ZSTD_HEAD = 18

# RFC 9659: a zstd frame of a response has a window of at most 8 MB. A decoder holds a whole window in memory.
_MAX_ZSTD_WINDOW_LOG = 23

_ALIASES = {"x-gzip": "gzip", "x-deflate": "deflate"}

# What data may go on with after its end: one more gzip member, one more zstd or skippable frame (RFC 8878, 3.1).
_FURTHER_MEMBERS = {"gzip": b"\x1f", "zstd": bytes([0x28, *range(0x50, 0x60)])}

_ZSTD = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"


@cache
def supported_codings() -> tuple[str, ...]:
    """The codings that can be decoded here, in the order in which they are offered. To ask loads brotli, not zstd."""
    from importlib.util import find_spec

    codings = ["gzip", "deflate"]
    with suppress(ImportError):
        import brotli

        # Before 1.2 it cannot be told to stop. Loading it took 0.5 ms, reading its version from its metadata 40.
        if hasattr(brotli.Decompressor, "can_accept_more_data"):
            codings.append("br")
    with suppress(ModuleNotFoundError):
        # Loading zstd took 4 ms, looking for it 0.2. Python 3.14 may have been built without what `_zstd` needs.
        if find_spec("_zstd" if sys.version_info >= (3, 14) else _ZSTD) is not None:
            codings.append("zstd")
    return tuple(codings)


@cache
def accept_encoding() -> bytes:
    """The header value that offers all of them."""
    return ", ".join(supported_codings()).encode("ascii")


def make_decoder(content_encodings: Sequence[bytes]) -> Decoder | None:
    """A decoder for a body, by the values of all its content-encoding headers.

    Returns: None where the body is to be left, and its headers too: nothing was applied to it, or something that is not
        known here. To undo only the codings after the unknown one would leave a body that no header describes.
    Raises: DecodingError where there are more codings than anybody has a reason for.
    """
    listed = [item.strip(" \t") for item in b",".join(content_encodings).decode("latin-1").lower().split(",")]
    codings = [_ALIASES.get(item, item) for item in listed if item not in ("", "identity")]
    if len(codings) > _MAX_CODINGS:
        raise DecodingError(f"the body has {len(codings)} content codings, and {_MAX_CODINGS} is the most we undo")
    if not codings or not set(codings).issubset(supported_codings()):
        return None
    return Decoder(codings)


class Decoder:
    """Unpacks one body, by its codings in the order in which they were applied: `decode` what comes, then `finish`.

    A decoder that has failed stays so. It has failed, too, where an iterator was left before its end: data is missing.

    Attributes:
        received: bytes taken in so far.
        produced: bytes given out so far.
    """

    __slots__ = ("_is_whole", "_layers", "produced", "received")

    def __init__(self, codings: Sequence[str]) -> None:
        self._layers = [_Layer(coding, _MAX_IDLE if depth else inf) for depth, coding in enumerate(reversed(codings))]
        self._is_whole = True
        self.received = self.produced = 0

    def decode(self, data: bytes) -> Iterator[bytes]:
        """What `data` adds to the body, in parts of 1 byte to 64 KiB, each decoded when it is asked for. Take all.

        Raises: DecodingError. The parts before it are right.
        """
        self._check_whole()
        self._is_whole = False
        self.received += len(data)
        parts: Iterator[bytes] = iter((data,))
        for layer in self._layers:
            parts = layer.decode(parts)
        for part in parts:
            self.produced += len(part)
            yield part
        self._is_whole = True

    def finish(self) -> Iterator[bytes]:
        """Check that the body may end here. A body without a byte may: servers announce codings of nothing.

        Returns: an iterator as `decode` does, over the rest of the body. There is none, as no coding holds data back.
        Raises: DecodingError where a coding has not come to its end.
        """
        self._check_whole()
        self._is_whole = False
        if self.received:
            for layer in self._layers:
                layer.check_end()
        self._is_whole = True
        return iter(())

    def _check_whole(self) -> None:
        if not self._is_whole:
            raise DecodingError("the body cannot be decoded any further: an earlier step failed or was left unfinished")


class _Member(Protocol):
    """Data with a head and an end. The interface is that of the standard library's decompressors for bz2 and zstd."""

    eof: bool
    needs_input: bool
    unused_data: bytes

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Layer:
    """One coding: takes parts, gives parts. All layers together hold no more than a part, a piece and a window each."""

    __slots__ = ("_coding", "_idle", "_max_idle", "_member")

    def __init__(self, coding: str, max_idle: float) -> None:
        self._coding = coding
        self._member: _Member | None = None
        self._idle = 0  # bytes taken for which not even half as many came out
        self._max_idle = max_idle

    def decode(self, parts: Iterator[bytes]) -> Iterator[bytes]:
        for part in parts:
            self._idle += len(part)
            if self._idle > self._max_idle:
                raise DecodingError(f"the body packs {self._coding} data that decodes to nothing")
            for start in range(0, len(part), _MAX_PIECE):
                yield from self._decode_piece(part[start : start + _MAX_PIECE])

    def _decode_piece(self, data: bytes) -> Iterator[bytes]:
        member = self._member
        while True:
            if member is None or member.eof:
                if member is not None and self._coding == "gzip":
                    data = data.lstrip(b"\0")  # What tapes and block devices pad with; Python's gzip does this, too.
                if not data:
                    return
                if member is not None and data[0] not in _FURTHER_MEMBERS.get(self._coding, b""):
                    raise DecodingError(f"the body goes on after the end of its {self._coding} data")
                member = self._member = _open(self._coding, data[0])
            if part := self._decompress(member, data):
                self._idle = max(0, self._idle - 2 * len(part))
                yield part
            if not member.eof and member.needs_input:
                return
            data = member.unused_data  # b"" until the end: go on with what it has

    def _decompress(self, member: _Member, data: bytes) -> bytes:
        try:
            return member.decompress(data, _MAX_PART)
        except MemoryError:
            raise
        except Exception as exc:  # Each library has an exception of its own, and is not loaded for its name.
            raise DecodingError(f"the body is not valid {self._coding} data: {exc}") from exc

    def check_end(self) -> None:
        if self._member is None or not self._member.eof:
            raise DecodingError(f"the body ended before the end of its {self._coding} data")


def _open(coding: str, first: int) -> _Member:
    """A member of data that begins with the byte `first`."""
    if coding == "gzip":
        return _Inflate(31)
    if coding == "deflate":
        # The name means zlib's format (RFC 9110, 8.4.1.2), yet some servers have always sent bare deflate data (-15).
        # The first byte of zlib's ends in 8: as bare data that is a stored block with padding which nobody writes.
        return _Inflate(15 if first & 0x0F == 8 else -15)
    if coding == "br":
        return _Brotli()
    return _Zstd()


class _Inflate:
    """zlib as a `_Member`."""

    __slots__ = ("_zlib", "eof", "needs_input", "unused_data")

    def __init__(self, window_bits: int) -> None:
        import zlib

        self._zlib = zlib.decompressobj(window_bits)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        part = self._zlib.decompress(data or self._zlib.unconsumed_tail, max_length)
        self.eof, self.unused_data = self._zlib.eof, self._zlib.unused_data
        # A tail is not the sign to look for: of a match of up to 258 bytes, the rest may come when all input is used.
        self.needs_input = len(part) < max_length
        return part


class _Brotli:
    """brotli as a `_Member`. What follows its end is an error of its own, so there is never unused data."""

    __slots__ = ("_brotli", "eof", "needs_input")

    unused_data = b""

    def __init__(self) -> None:
        import brotli

        self._brotli = brotli.Decompressor()

    def decompress(self, data: bytes, max_length: int) -> bytes:
        # Its buffer grows by 32 KiB, by 64 KiB and so on until it reaches the limit: this one it reaches at once.
        limit = max_length // 4
        part: bytes = self._brotli.process(data, output_buffer_limit=limit)
        self.eof: bool = self._brotli.is_finished()
        self.needs_input: bool = len(part) < limit and self._brotli.can_accept_more_data()
        return part


class _Zstd:
    """A frame. libzstd compares its length with the one that it announces only where it has all of it in one piece, or
    where the last block is not empty. We do always, so that a frame means the same however the network has cut it."""

    __slots__ = ("_head", "_library", "_produced", "_size", "_zstd", "eof", "needs_input", "unused_data")

    def __init__(self) -> None:
        self._library = zstd = import_module(_ZSTD)
        self._zstd = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _MAX_ZSTD_WINDOW_LOG})
        self._head = b""
        self._size: int | None = None
        self._produced = 0

    def decompress(self, data: bytes, max_length: int) -> bytes:
        if len(self._head) < _ZSTD_HEAD:
            self._head += data[: _ZSTD_HEAD - len(self._head)]
        part: bytes = self._zstd.decompress(data, max_length)
        self.eof, self.needs_input, self.unused_data = self._zstd.eof, self._zstd.needs_input, self._zstd.unused_data
        if part or self.eof:
            self._check_size(len(part))
        return part

    def _check_size(self, length: int) -> None:
        if not self._produced:
            self._size = self._library.get_frame_info(self._head).decompressed_size
        self._produced += length
        if self._size is not None and (self._produced > self._size or (self.eof and self._produced < self._size)):
            has = "more" if self._produced > self._size else "less"
            raise ValueError(f"a frame that announces {self._size} bytes has {has}")
