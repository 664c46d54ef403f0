"""A request body on its way to the peer, and what both protocols keep to while it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from ._bodies import BodyReader
from ._clock import Clock
from ._errors import LocalProtocolError, WriteTimeout
from ._headers import Pair
from ._request import Request
from ._streams import Backend

__all__ = [
    "CONTINUE_SECONDS",
    "LARGEST_PART",
    "LAST_WORDS_SECONDS",
    "PARTS_IN_A_ROW",
    "SMALL_BODY",
    "BodyFraming",
    "Upload",
]

# A body up to this size goes out with its head in one write.
SMALL_BODY = 64 * 1024
# curl and Go wait as long for 100 Continue before they send the body all the same.
CONTINUE_SECONDS = 1.0
# How long an answer may take to come out of a connection that takes no more bytes.
LAST_WORDS_SECONDS = 1.0
# Small parts seldom have to wait for anything: after so many of them the event loop gets its turn all the same.
PARTS_IN_A_ROW = 16
# A body in one piece is sent in parts of this size, with an ear for the peer between them.
LARGEST_PART = 256 * 1024


class BodyFraming(Protocol):
    """How the parts of a body look on the wire."""

    def send_data(self, data: bytes) -> bytes:
        """The bytes that carry a part; never empty for a part that is not."""

    def send_end(self, trailers: Sequence[Pair]) -> bytes:
        """The bytes that end the body, with its trailers."""


class Upload:
    """A request body on its way: its reader, and the count that it is held to."""

    __slots__ = (
        "_framing", "_is_exact", "_reader", "_remaining", "_request", "_rest", "is_async", "is_read", "read_count",
    )  # fmt: skip

    def __init__(self, request: Request, framing: BodyFraming) -> None:
        assert request.body is not None
        self._request = request
        self._framing = framing
        self._rest: memoryview | None = None
        self._reader: BodyReader = request.body.parts()
        self._remaining = None if request.is_chunked else request.length
        self._is_exact = request.body.length is not None
        self.is_async = self._reader.is_async
        self.is_read = False
        self.read_count = 0

    async def read(self) -> bytes:
        """The bytes to send next; empty is possible, and `is_read` says that they are the last.

        Raises: LocalProtocolError where the body is not as long as its content-length says.
        """
        part = await self._next_part()
        self.read_count += 1
        if part is None:
            if self._remaining:
                raise LocalProtocolError(f"the body ended {self._remaining} bytes short of its content-length")
            self.is_read = True
            return self._framing.send_end(self._request.encoded_trailers())
        if self._remaining is not None:
            if len(part) > self._remaining:
                raise LocalProtocolError(f"the body is longer than its content-length, {self._request.length} bytes")
            self._remaining -= len(part)
            self.is_read = self._is_exact and not self._remaining
        return self._framing.send_data(part) if part else b""

    async def read_in_time(self, clock: Clock, backend: Backend) -> bytes:
        """`read`, which may take its time where the body is async, but no more than the request as a whole has.

        Raises: WriteTimeout, and as `read`.
        """
        if clock.total == math.inf or not self.is_async:
            return await self.read()
        try:
            return await backend.until(self.read(), clock.total)
        except TimeoutError as exc:
            if not clock.is_over:
                raise  # the caller's own
            raise WriteTimeout("the caller's body gave no further part in time") from exc

    async def _next_part(self) -> bytes | None:
        """Large parts are cut, so that the peer is listened to between the pieces and none is held twice."""
        if self._rest is None:
            part = await self._reader.read()
            if part is None or len(part) <= LARGEST_PART:
                return part
            self._rest = memoryview(part)
        piece, rest = self._rest[:LARGEST_PART], self._rest[LARGEST_PART:]
        self._rest = rest if rest else None
        return bytes(piece)

    async def aclose(self) -> None:
        await self._reader.aclose()
